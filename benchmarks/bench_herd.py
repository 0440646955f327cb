"""Does a herd of small experts beat one larger generalist? The nano herd on held-out prompts.

    python benchmarks/bench_herd.py                         recorded answers, latency measured now
    python benchmarks/bench_herd.py --live                  asks the shipped models again instead
    python benchmarks/bench_herd.py --folds                 settings on folds of the training split alone
    python benchmarks/bench_herd.py --rehearse              the tables on a third of the training split
    python benchmarks/bench_herd.py --train-references DIR  trains the references anew (about half an hour on
                                                            two quiet cores; needs torch), then the tables

Accuracy is the share of answers that are exactly right, in percent, with the 95% interval of a bootstrap over
prompts. Active parameters are summed over the models asked, in thousands. What is asked in the test split was
in no training item in any words, but for requests to decline in the family chat: most name only one of the
two words by which they are held out, so some stand in the generalists' training too. The router learns from
the folder's training split, whose prompts no model was trained on either. Settings are those
that were best on folds of it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import herdwise
from herd_references import ADAPTED, NEWCOMER, skill_rows, train_references
from herdwise.backends.nano.model import NanoModel
from herdwise.core.decision import Goals
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.evaluation.recorded import records_of
from herdwise.evaluation.replay import Replay, replay
from herdwise.experts.families import EXPERT_FAMILIES, HELD_OUT_FAMILY
from herdwise.experts.nano_profile import MAX_ANSWER_TOKENS, ask_all, joined
from herdwise.experts.recipe import GENERALIST_NAME
from herdwise.routing.base import Policy, Situation
from herdwise.routing.cascade import Cascade
from herdwise.routing.router import Router
from herdwise.routing.single import Single
from herdwise.storage.outcomes import read_outcomes

NANO = Path(herdwise.__file__).parent / "data" / "nano"
REFERENCES = ("generalist-brief", "generalist-whole", "generalist-large", "generalist-large-whole")
FOLDS, TIMED = 4, 100


@dataclass(frozen=True)
class Way:
    """A policy with its goals."""

    name: str
    policy: Policy
    goals: Goals


ROUTED = [
    Way(f"single, cost_weight {w:g}", Single(), Goals(cost_weight=w, cost_kind="active_params"))
    for w in (0.0, 10.0, 50.0, 200.0)
]
CASCADES = [
    Way(
        f"cascade by {order}, {t:g}, at most {most}",
        Cascade(threshold=t, order=order, most=most),
        Goals(cost_kind="active_params"),
    )
    for order, most in (("utility", 2), ("utility", 3), ("climb", 3))
    for t in (0.3, 0.6, 0.9)
]


class Ground:
    """A router and rows that it has not seen.

    Args:
        router: of the table's herd.
        table: outcomes of every candidate on every row.
    """

    def __init__(self, router: Router, table: OutcomeTable) -> None:
        self.router, self.table = router, table
        self.queries = table.queries()
        self.estimates = router.estimate(self.queries)
        self.quality = table.matrix("quality").astype(np.float64)
        unknown = np.full(self.quality.shape, np.nan)
        self.records = records_of(table, router, "quality", unknown, unknown)
        self.active_b: np.ndarray = table.herd.column(lambda c: c.active_params_b)

    def opening(self, row: int, goals: Goals) -> Situation:
        """Before anybody was asked."""
        query, estimates = self.queries[row], self.estimates.row(row)
        situation = self.router.situation(query, goals, estimates)
        return replace(situation, belief=self.router.belief(query, estimates))

    def course(self, way: Way) -> Replay:
        """What a way does on every row."""
        return replay(way.policy, lambda row: self.opening(row, way.goals), self.records)

    def earned(self, course: Replay) -> np.ndarray:
        """Quality of the returned answers; nobody's is wrong."""
        return np.asarray(np.nan_to_num(course.quality(self.quality)))


def folds(train: OutcomeTable) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and to choose on."""
    fold = np.random.default_rng(0).permutation(train.n_queries) % FOLDS
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def on_folds(train: OutcomeTable, ways: Sequence[Way]) -> list[tuple[float, float]]:
    """(accuracy, active parameters in billions) of each way."""
    found: list[list[np.ndarray]] = [[] for _ in ways]
    for learn, held in folds(train):
        ground = Ground(Router.fit(train.take(learn), keep_texts=False), train.take(held))
        for way, parts in zip(ways, found, strict=True):
            course = ground.course(way)
            parts.append(np.stack([ground.earned(course), course.asks @ ground.active_b]))
    means = [np.concatenate(parts, axis=1).mean(axis=1) for parts in found]
    return [(float(quality), float(active)) for quality, active in means]


def best(train: OutcomeTable, ways: Sequence[Way]) -> Way:
    """The most accurate on the folds; within a tenth of a point, the smaller."""
    figures = on_folds(train, ways)
    most = max(quality for quality, _ in figures)
    good = [i for i, (quality, _) in enumerate(figures) if quality >= most - 0.001]
    return ways[min(good, key=lambda i: figures[i][1])]


def percent(values: np.ndarray) -> str:
    """Mean in percent, 95%."""
    draws = resampled_means(values[:, None], ["all"] * len(values), "micro", seed=0)[:, 0]
    low, high = interval(draws)
    return f"{100 * values.mean():5.1f} ({100 * low:.1f} to {100 * high:.1f})"


def latencies(table: OutcomeTable, folders: dict[str, Path]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each candidate on some rows, asked alone on one thread: rows, and ``(len(rows), m)``."""
    rows = np.linspace(0, table.n_queries - 1, TIMED).astype(int)
    models = [NanoModel.load(folders[name]) for name in table.herd.names]
    taken = np.zeros((len(rows), len(models)))
    with threadpool_limits(limits=1):
        for i, row in enumerate(rows):
            for j, model in enumerate(models):
                prompt = model.tokens.encode_prompt(table.texts[row])
                began = time.perf_counter()
                for _ in model.generate(prompt, MAX_ANSWER_TOKENS):
                    pass
                taken[i, j] = time.perf_counter() - began
    return rows, taken


def decision_s(ground: Ground, way: Way) -> float:
    """Median seconds to estimate and decide for one query."""
    taken = []
    with threadpool_limits(limits=1):
        for query in ground.queries[:TIMED]:
            began = time.perf_counter()
            estimates = ground.router.estimate_one(query)
            way.policy.step(ground.router.situation(query, way.goals, estimates))
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def line(name: str, right: np.ndarray, active_b: float, latency_s: float | None) -> None:
    """One system."""
    took = "" if latency_s is None else f"{1e3 * latency_s:6.1f}"
    print(f"{name:44} {percent(right):24} {1e6 * active_b:8.0f}  {took}", flush=True)


def founding_table(herd: OutcomeTable, references: OutcomeTable | None) -> None:
    """Every system on the test split, then by family."""
    train, test = herd.split("train"), herd.split("test")
    ground = Ground(Router.fit(train, keep_texts=False), test)
    routed, cascade = best(train, ROUTED), best(train, CASCADES)
    rows, taken = latencies(test, {name: NANO / name for name in herd.herd.names})
    print(
        f"\n{test.n_queries} held-out prompts, {train.n_queries} to learn routing from, "
        f"{len(herd.herd)} models, {1e6 * ground.active_b.sum():.0f} thousand parameters in all"
    )
    print(f"\n{'system':44} {'accuracy %, 95%':24} {'active k':>8}  ms p50")
    columns: dict[str, np.ndarray] = {}
    for j, name in enumerate(herd.herd.names):
        columns[name] = ground.quality[:, j]
        line(name, columns[name], ground.active_b[j], float(np.median(taken[:, j])))
    if references is not None:
        beside = references.take(positions(references, test.query_ids))
        for name in REFERENCES:
            j = beside.herd.index(name)
            columns[name] = beside.matrix()[:, j].astype(float)
            size = beside.herd[j].active_params_b or float("nan")
            line(name, columns[name], size, latency_of(beside, j))
    for title, way in (("routed herd", routed), ("cascade", cascade)):
        course = ground.course(way)
        columns[title] = ground.earned(course)
        each = (course.asks[rows] * taken).sum(axis=1)
        active_b = float((course.asks @ ground.active_b).mean())
        line(
            f"{title} ({way.name})",
            columns[title],
            active_b,
            float(np.median(each)) + decision_s(ground, way),
        )
    oracle = ground.quality.max(axis=1)
    line("oracle (hindsight)", oracle, float("nan"), None)
    print("\ndifferences, points")
    others = [GENERALIST_NAME, *(REFERENCES if references is not None else ())]
    for title in ("routed herd", "cascade"):
        for other in others:
            print(f"  {title} - {other:32} {percent(columns[title] - columns[other])}")
    by_family(test, columns, [*others, "routed herd", "cascade"], oracle)


def by_family(
    test: OutcomeTable, columns: dict[str, np.ndarray], names: Sequence[str], oracle: np.ndarray
) -> None:
    """Accuracy in each family, its own expert's first."""
    print(
        f"\n{'family, accuracy %':22} {'expert':>8} "
        + " ".join(f"{n.removeprefix(GENERALIST_NAME + '-'):>12}" for n in (*names, "oracle"))
    )
    benchmarks = np.array(test.benchmarks)
    for family in dict.fromkeys(sorted(test.benchmarks)):
        rows = benchmarks == family
        own = f"{100 * columns[family][rows].mean():8.1f}" if family in EXPERT_FAMILIES else f"{'-':>8}"
        shown = [columns[name][rows].mean() for name in names] + [oracle[rows].mean()]
        print(f"{family:22} {own} " + " ".join(f"{100 * value:12.1f}" for value in shown))


def experts_alone(herd: OutcomeTable, references: OutcomeTable | None) -> None:
    """The experts without a generalist, where each prompt has an expert: equal compute on both sides."""
    experts = [name for name in herd.herd.names if name != GENERALIST_NAME]
    print(f"\nthe {len(experts)} experts without a generalist against one whose compute is theirs together;")
    print("accuracy % on prompts of their families")
    at_equal_compute("", herd, experts, GENERALIST_NAME)
    longer = [f"{name}-longer" for name in experts]
    if references is not None and set(longer) < set(references.herd.names):
        at_equal_compute(", twice the steps", references, longer, "generalist-whole")


def at_equal_compute(suffix: str, table: OutcomeTable, experts: Sequence[str], generalist: str) -> None:
    """Routed experts against one generalist."""
    rows = table.take(np.flatnonzero(np.isin(np.array(table.benchmarks), EXPERT_FAMILIES)))
    test = rows.split("test")
    ground = Ground(
        Router.fit(rows.restrict(experts).split("train"), keep_texts=False), test.restrict(experts)
    )
    routed = ground.earned(ground.course(ROUTED[0]))
    single = test.matrix()[:, test.herd.index(generalist)].astype(float)
    for title, right in (
        (generalist, single),
        (f"routed experts{suffix}", routed),
        (f"routed experts{suffix} - {generalist}", routed - single),
        (f"oracle of the experts{suffix}", ground.quality.max(axis=1)),
    ):
        print(f"{title:54} {percent(right)}")


def skill_table(herd: OutcomeTable, references: OutcomeTable) -> None:
    """A new family: an adapter on the generalist against a new expert in the herd."""
    whole = joined([herd, references.restrict([*herd.herd.names, NEWCOMER, ADAPTED])])
    test = whole.split("test")
    new, old = skill_rows(test)
    quality = test.matrix().astype(float)
    print(
        f"\na new family, {HELD_OUT_FAMILY}: {len(new)} prompts, and {len(old)} of the old ones; accuracy %"
    )
    print(f"{'':44} {'new family':24} old families")
    for name in (GENERALIST_NAME, ADAPTED, NEWCOMER):
        right = quality[:, whole.herd.index(name)]
        print(f"{name:44} {percent(right[new]):24} {percent(right[old])}")
    for title, names in (
        ("routed herd before", herd.herd.names),
        ("routed herd with the new expert", [*herd.herd.names, NEWCOMER]),
    ):
        part = whole.restrict(names)
        train = part.split("train")
        if NEWCOMER not in names:
            train = train.take(skill_rows(train)[1])
        ground = Ground(Router.fit(train, keep_texts=False), part.split("test"))
        right = ground.earned(ground.course(ROUTED[0]))
        print(f"{title:44} {percent(right[new]):24} {percent(right[old])}")


def rehearsal(herd: OutcomeTable) -> OutcomeTable:
    """The training split alone, a third of it as the test split."""
    train = herd.split("train")
    return replace(
        train, splits=["test" if i % 3 == 0 else "train" for i in range(train.n_queries)], _cache={}
    )


def positions(table: OutcomeTable, query_ids: Sequence[str]) -> np.ndarray:
    """Where these queries are in a table."""
    place = {query_id: i for i, query_id in enumerate(table.query_ids)}
    return np.array([place[query_id] for query_id in query_ids])


def latency_of(table: OutcomeTable, column: int) -> float:
    """Median of what was recorded, in seconds."""
    return float(np.nanmedian(table.matrix("latency_s")[:, column]))


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--live", action="store_true", help="ask the shipped models again")
    parser.add_argument("--folds", action="store_true", help="settings on folds of the training split alone")
    parser.add_argument("--rehearse", action="store_true", help="on a third of the training split")
    parser.add_argument("--train-references", type=Path, metavar="DIR", help="train the references anew")
    given = parser.parse_args()
    herd = read_outcomes("nano")
    if given.folds:
        ways = ROUTED + CASCADES
        for way, (quality, active_b) in zip(ways, on_folds(herd.split("train"), ways), strict=True):
            print(f"{way.name:36} {100 * quality:5.1f}%  {1e6 * active_b:6.0f} thousand active")
        return
    if given.live:
        herd = ask_all({name: NANO / name for name in herd.herd.names}, herd)
    if given.rehearse:
        herd = rehearsal(herd)
    print(f"the herd: {'asked now' if given.live else 'recorded answers of the shipped models'}")
    recorded: OutcomeTable | None = None
    if given.rehearse:
        print("rehearsal: a third of the training split stands for the test split; no references")
    elif given.train_references is not None:
        recorded = train_references(given.train_references, NANO, herd)
        print(f"references: trained in {given.train_references}")
    elif (NANO / "references").is_dir():
        recorded = read_outcomes(NANO / "references")
        print("references: recorded answers that ship; their latency is that of the recording")
    else:
        print("references: none are recorded; --train-references DIR trains them")
    founding_table(herd, recorded)
    experts_alone(herd, recorded)
    if recorded is not None:
        skill_table(herd, recorded)


if __name__ == "__main__":
    main()
