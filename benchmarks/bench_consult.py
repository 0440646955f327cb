"""What looking at the answers is worth: fusion and consultation on mmlu_pro's held-out split.

    python benchmarks/bench_consult.py            the table; settings chosen on folds of the training split
    python benchmarks/bench_consult.py --folds    on folds of the training split alone, with cascade and vote
    python benchmarks/bench_consult.py --live     the 400 questions with full texts over HTTP, beside replay

Quality is the recorded quality of a candidate that gave the returned answer, in percent, with the 95%
interval of a paired bootstrap over the questions. Active parameters are billions, summed over those asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.core.decision import Goals
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.evaluation.confidence import accuracy_at_coverage, auroc
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.evaluation.metrics import expected_calibration_error
from herdwise.evaluation.recorded import evidences
from herdwise.evaluation.replay import Records, Replay, replay
from herdwise.prediction.votes import Votes
from herdwise.routing.base import Policy, Situation
from herdwise.routing.cascade import Cascade
from herdwise.routing.consult import Consult
from herdwise.routing.hearing import hear, read_value
from herdwise.routing.router import Router
from herdwise.routing.vote import Vote
from herdwise.storage.outcomes import read_outcomes, read_texts

REFERENCE, LARGE, LARGER = "gpt-4o-2024-05", "Qwen1.5-110B", "Meta-Llama-3-70B"
FOLDS, FOLDS_USED = 6, 2


@dataclass(frozen=True)
class Setting:
    """A way to consult: weight per billion active parameters, doubt that goes on, order."""

    weight: float
    until: float
    by: str = "gain"

    def policy(self) -> Consult:
        """The policy; cost is weighed by the goals."""
        return Consult(min_gain=0.0, until=self.until, by=self.by)

    def goals(self) -> Goals:
        """Goals that weigh active parameters."""
        return Goals(cost_weight=self.weight, cost_kind="active_params")

    def __str__(self) -> str:
        return f"cost_weight {self.weight:g}, until {self.until:g}, by {self.by}"


OPEN = [Setting(0.0, u) for u in (0.0, 0.5, 0.65)] + [Setting(w, 0.0) for w in (1e-4, 3e-4)]
OPEN += [Setting(w, 0.0, "ratio") for w in (0.0, 1e-4)]
SMALL = [Setting(0.0, u) for u in (0.0, 0.5, 0.7)] + [Setting(w, 0.0) for w in (5e-4, 2e-3, 5e-3)]
SMALL += [Setting(w, 0.0, "ratio") for w in (5e-4, 2e-3)]


class Ground:
    """A router and rows that it has not seen.

    Args:
        router: of the herd.
        table: the rows, of the same herd; gaps are failures to answer.
        read: answers instead of the recorded ones.
        texts: (query id, candidate) -> full text, whose signals count.
    """

    def __init__(
        self,
        router: Router,
        table: OutcomeTable,
        read: np.ndarray | None = None,
        texts: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self.router, self.table = router, table
        # A prompt on record was taken: its length removes nobody.
        self.queries = [replace(query, chars=0) for query in table.queries()]
        estimates = router.estimate(table.queries())
        self.predicted = estimates.quality
        self.estimates = [estimates.row(i) for i in range(len(self.queries))]
        self.beliefs = [
            router.belief(query, row) for query, row in zip(self.queries, self.estimates, strict=True)
        ]
        quality = table.matrix("quality").astype(np.float64)
        self.quality = np.nan_to_num(quality)
        self.answers = table.answer_matrix() if read is None else read
        unknown = np.full(quality.shape, np.nan)
        # What is known of an answer's signals moves the belief live, and so here.
        evidence = evidences(table, router, texts)
        self.records = Records(np.isfinite(quality), self.answers, unknown, unknown, evidence)
        self.active_b: np.ndarray = table.herd.column(lambda c: c.active_params_b)

    def opening(self, row: int, goals: Goals) -> Situation:
        """Before anybody was asked."""
        situation = self.router.situation(self.queries[row], goals, self.estimates[row])
        return replace(situation, belief=self.beliefs[row])

    def consult(self, setting: Setting) -> Replay:
        """Replay one setting."""
        return self.replayed(setting.policy(), setting.goals())

    def replayed(self, policy: Policy, goals: Goals) -> Replay:
        """Replay a policy."""
        return replay(policy, lambda row: self.opening(row, goals), self.records)

    def earned(self, course: Replay) -> np.ndarray:
        """Quality of the returned answers; nobody's is wrong."""
        return np.asarray(np.nan_to_num(course.quality(self.quality)))

    def active(self, course: Replay) -> np.ndarray:
        """Active parameters asked per query."""
        return np.asarray(course.asks @ self.active_b)

    def fused(self) -> tuple[np.ndarray, np.ndarray]:
        """Quality and confidence of the likeliest answer once everybody was asked."""
        if self.router.fusion is None:
            raise SystemExit("the router learned no fusion")
        asked = np.where(self.records.ran, self.quality, np.nan)
        votes = Votes.of(self.answers, asked, self.table.texts)
        said = self.router.fusion.posteriors(votes, self.predicted)[:, :-1]
        best = said.argmax(axis=1)
        rows = np.arange(len(best))
        earned = np.array([self.quality[i][votes.said[i] == best[i]].max(initial=0.0) for i in rows])
        return earned, said[rows, best]


def herd_of(table: OutcomeTable, most_b: float | None) -> OutcomeTable:
    """The open-weight candidates, up to a total size."""
    names = [
        c.name for c in table.herd if c.open_weights and (most_b is None or (c.params_b or 1e9) <= most_b)
    ]
    return table.restrict(names)


def folds(train: OutcomeTable) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and to choose on; equal texts stay together."""
    texts = sorted(set(train.texts))
    number = dict(zip(texts, np.random.default_rng(7).permutation(len(texts)) % FOLDS, strict=True))
    fold = np.array([number[text] for text in train.texts])
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS_USED)]


@dataclass(frozen=True)
class Tried:
    """What a setting reached on the folds; qualities are means, sizes per query."""

    setting: Setting
    quality: float
    calls: float
    active_b: float


def choose(
    train: OutcomeTable, whole: OutcomeTable, settings: Sequence[Setting]
) -> tuple[list[Tried], float, dict[str, float]]:
    """Every setting on the folds, full fusion there, and the references' quality on the same rows."""
    found: dict[Setting, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {s: [] for s in settings}
    full: list[np.ndarray] = []
    beside: dict[str, list[np.ndarray]] = {LARGE: [], LARGER: []}
    for learn, held in folds(train):
        ground = Ground(Router.fit(train.take(learn), keep_texts=False), train.take(held))
        full.append(ground.fused()[0])
        for name, values in beside.items():
            values.append(np.nan_to_num(whole.take(held).matrix()[:, whole.herd.index(name)]))
        for setting in settings:
            course = ground.consult(setting)
            found[setting].append((ground.earned(course), course.calls, ground.active(course)))
    tried = [
        Tried(setting, *(float(np.concatenate(column).mean()) for column in zip(*parts, strict=True)))
        for setting, parts in found.items()
    ]
    means = {name: float(np.concatenate(values).mean()) for name, values in beside.items()}
    return tried, float(np.concatenate(full).mean()), means


def cheapest(tried: Sequence[Tried], at_least: float, cost: Callable[[Tried], float]) -> Tried | None:
    """The cheapest setting that reached a quality on the folds."""
    good = [t for t in tried if t.quality >= at_least]
    return min(good, key=cost) if good else None


def mean_and_interval(values: np.ndarray) -> str:
    """Percent, 95%."""
    draws = resampled_means(values[:, None], ["all"] * len(values), "micro", seed=0)[:, 0]
    low, high = interval(draws)
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def row(what: str, value: str, target: str = "") -> None:
    """One line of the table."""
    print(f"{what:<66} {value:<34} {target}", flush=True)


def measure(name: str, most_b: float | None, settings: Sequence[Setting], whole: OutcomeTable) -> None:
    """The table of one herd."""
    table = herd_of(whole, most_b)
    train, test = table.split("train"), table.split("test")
    tried, full_on_folds, references = choose(train, whole.split("train"), settings)
    ground = Ground(Router.fit(train, keep_texts=False), test)
    earned, sure = ground.fused()
    m, total_b = table.n_candidates, float(ground.active_b.sum())
    # The best single candidate by training mean, among those that ran (nearly) everything.
    means = np.where(train.coverage() >= 0.95, np.nanmean(train.matrix(), axis=0), -1.0)
    alone = np.nan_to_num(test.matrix()[:, int(means.argmax())])
    print(f"\n{name}: {m} candidates, {test.n_queries} held-out questions, {train.n_queries} to learn from")
    row("best single candidate", mean_and_interval(alone))
    row("full fusion", mean_and_interval(earned), "70.0" if most_b is None else "53.0")
    row("  over best single, points", mean_and_interval(earned - alone))
    if most_b is None:
        row("  AUROC of its confidence", f"{auroc(sure, earned):.3f}", "0.82")
        row(
            "  accuracy on the most confident half",
            f"{100 * (accuracy_at_coverage(sure, earned) or 0):.1f}",
            "90",
        )
        row("  ECE of its confidence", f"{expected_calibration_error(sure, earned):.3f}", "0.03")
        gpt = whole.split("test").matrix()[:, whole.herd.index(REFERENCE)]
        missed = np.isfinite(gpt) & (gpt < 0.9)
        row(f"  {REFERENCE} alone", mean_and_interval(gpt[np.isfinite(gpt)]))
        row(
            f"  of its {missed.sum()} misses, share that is right",
            mean_and_interval(earned[missed] > 0.95),
            "(40)",
        )

    def greater_share(t: Tried) -> float:
        return max(t.active_b / total_b, t.calls / m)

    def size_of(t: Tried) -> float:
        return t.active_b

    def line(what: str, chosen: Tried | None, against: np.ndarray, target: str) -> None:
        if chosen is None:
            row(what, "no setting reaches it on the folds", target)
            return
        course = ground.consult(chosen.setting)
        got, size = ground.earned(course), float(ground.active(course).mean())
        row(
            what,
            f"{size:.1f} B, {100 * size / total_b:.0f}%; {100 * course.calls.mean() / m:.0f}% of calls",
            target,
        )
        row("  quality", mean_and_interval(got))
        row("  difference, points", mean_and_interval(got - against))
        if course.confidence is not None:
            confidence = np.nan_to_num(course.confidence)
            row(
                "  AUROC, ECE of its confidence",
                f"{auroc(confidence, got):.3f}, {expected_calibration_error(confidence, got):.3f}",
            )
        row("  setting", str(chosen.setting))

    line(
        "consult, 1 point under full fusion on the folds",
        cheapest(tried, full_on_folds - 0.01, greater_share),
        earned,
        "35% of both",
    )
    for reference, target in ((LARGE, "30 B"), (LARGER, "under 70 B")) if most_b is not None else ():
        other = np.nan_to_num(whole.split("test").matrix()[:, whole.herd.index(reference)])
        line(
            f"consult, as good as {reference} ({100 * other.mean():.1f})",
            cheapest(tried, references[reference], size_of),
            other,
            target,
        )
    overhead(ground, Setting(0.0, 0.65))
    print(
        f"  on the folds, where full fusion reaches {100 * full_on_folds:.1f}: "
        + "; ".join(
            f"{t.setting}: {100 * t.quality:.1f} at {t.active_b:.1f} B, {t.calls:.1f} calls" for t in tried
        )
    )


def on_folds(name: str, most_b: float | None, settings: Sequence[Setting], whole: OutcomeTable) -> None:
    """Print what settings and other policies reach on the folds, and how true their confidence is there."""
    train = herd_of(whole, most_b).split("train")
    ways: dict[str, tuple[Policy, Goals]] = {str(s): (s.policy(), s.goals()) for s in settings}
    for threshold in (0.6, 0.8):
        ways[f"cascade, threshold {threshold}"] = (Cascade(threshold=threshold), settings[0].goals())
    for k in (3, 5, 9):
        ways[f"vote, k {k}"] = (Vote(k=k), settings[0].goals())
    parts: dict[str, list[np.ndarray]] = {}
    for learn, held in folds(train):
        ground = Ground(Router.fit(train.take(learn), keep_texts=False), train.take(held))
        earned, sure = ground.fused()
        everybody = np.broadcast_to(float(ground.active_b.sum()), sure.shape)
        calls = np.broadcast_to(float(len(ground.active_b)), sure.shape)
        parts.setdefault("everybody", []).append(np.stack([earned, sure, calls, everybody]))
        for what, (policy, goals) in ways.items():
            course = ground.replayed(policy, goals)
            trust = np.zeros(len(course.answered)) if course.confidence is None else course.confidence
            sure = np.nan_to_num(trust)
            told = np.stack([ground.earned(course), sure, course.calls, ground.active(course)])
            parts.setdefault(what, []).append(told)
    print(f"\n{name}, {FOLDS_USED} folds")
    print(f"{'':48}right             calls  active  AUROC  half   ECE")
    for what, found in parts.items():
        earned, sure, calls, active = np.concatenate(found, axis=1)
        half = 100 * (accuracy_at_coverage(sure, earned) or 0.0)
        print(
            f"{what:46}{mean_and_interval(earned):22}{calls.mean():5.1f} {active.mean():7.1f}"
            f"  {auroc(sure, earned):.3f}  {half:.1f}  {expected_calibration_error(sure, earned):.3f}",
            flush=True,
        )


def overhead(ground: Ground, setting: Setting, n: int = 200) -> None:
    """Microseconds of one step: hear an answer, and decide."""
    taken: list[float] = []
    policy, goals = setting.policy(), setting.goals()
    with threadpool_limits(limits=1):
        for number in range(min(n, len(ground.queries))):
            situation = ground.opening(number, goals)
            answers: list[Any] = []
            failures: list[Any] = []
            for ask in range(len(ground.active_b)):
                step = policy.step(situation)
                candidates = getattr(step, "candidates", None)
                if candidates is None:
                    break
                value = ground.answers[number, candidates[0]]
                began = time.perf_counter_ns()
                told, belief = hear(
                    situation.belief,
                    answers,
                    ask,
                    candidates[0],
                    value=value,
                    missing="" if value else "unreadable",
                )
                (answers if value else failures).append(told)
                situation = replace(
                    situation, answers=tuple(answers), failures=tuple(failures), belief=belief
                )
                policy.step(situation)
                taken.append((time.perf_counter_ns() - began) / 1e3)
    p50, p99 = statistics.median(taken), float(np.percentile(taken, 99))
    row("fusion and stopping, one step, microseconds p50 / p99", f"{p50:.0f} / {p99:.0f}", "1000")


def texts_ground() -> tuple[Ground, Ground, list[str]]:
    """Of the questions with full texts: by answers read from the texts, by recorded ones; the questions."""
    texts = read_texts("mmlu_pro")
    whole = read_outcomes("mmlu_pro")
    names = sorted({candidate for _, candidate in texts})
    table = whole.restrict(names)
    router = Router.fit(table.split("train"), keep_texts=False)
    ids = {query_id for query_id, _ in texts}
    test = table.take(np.array([i for i, query_id in enumerate(table.query_ids) if query_id in ids]))
    read = np.full((test.n_queries, test.n_candidates), None, dtype=object)
    for i, (query_id, question) in enumerate(zip(test.query_ids, test.texts, strict=True)):
        for j, name in enumerate(test.herd.names):
            text = texts.get((query_id, name))
            read[i, j] = None if text is None else read_value(Query(question), text, "stop")[0]
    by_text = Ground(router, test, read, texts)
    by_text.records.ran[:] &= np.array([[(q, name) in texts for name in names] for q in test.query_ids])
    return by_text, Ground(router, test, None, texts), list(test.texts)


async def live(setting: Setting) -> None:
    """Every question with full texts through ``auto/consult`` over HTTP, beside its replay."""
    import aiohttp
    import uvicorn

    from herdwise.backends.recorded import Recorded
    from herdwise.serving.app import create_app
    from herdwise.serving.service import Service, Settings

    ground, recorded, questions = texts_ground()
    expected, by_record = ground.consult(setting), recorded.consult(setting)
    service = Service(
        ranker=ground.router,
        backends={name: Recorded(name) for name in ground.router.herd.names},
        policies={"consult": setting.policy()},
        default_policy="consult",
        goals=setting.goals(),
        settings=Settings(max_attempts=len(ground.router.herd)),
    )
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(service), log_config=None, access_log=False, lifespan="on")
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/chat/completions"
    names = ground.router.herd.names
    same_answer = same_course = same_as_recorded = 0
    async with aiohttp.ClientSession() as session:
        for i, question in enumerate(questions):
            body = {"model": "auto/consult", "messages": [{"role": "user", "content": question}]}
            async with session.post(url, json=body, headers={"x-herdwise-explain": "1"}) as reply:
                told = json.loads(await reply.read())
            if reply.status != 200:
                raise SystemExit(f"question {i}: {reply.status} {told}")
            asked = [names.index(attempt["candidate"]) for attempt in told["herdwise"]["attempts"]]
            same_answer += names.index(told["model"]) == expected.answered[i]
            same_course += sorted(asked) == np.flatnonzero(expected.asks[i]).tolist()
            same_as_recorded += names.index(told["model"]) == by_record.answered[i]
    server.should_exit = True
    await serving
    n = len(questions)
    print(f"{n} questions through auto/consult over HTTP ({setting}), {expected.calls.mean():.2f} calls each")
    row(
        "the same candidate's answer as in replay (letters read from the texts)",
        f"{same_answer} of {n}",
        "all",
    )
    row("the same candidates asked", f"{same_course} of {n}", "all")
    row("the same answer as in replay of the recorded letters", f"{same_as_recorded} of {n}")
    row("accuracy", mean_and_interval(ground.earned(expected)))


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--live", action="store_true", help="over HTTP, beside replay")
    parser.add_argument("--folds", action="store_true", help="on folds of the training split alone")
    parser.add_argument("--herd", choices=("open", "small"), help="only this herd's part of the table")
    options = parser.parse_args()
    if options.live:
        asyncio.run(live(Setting(1e-3, 0.5)))
        return
    whole = read_outcomes("mmlu_pro")
    if options.folds:
        if options.herd != "small":
            on_folds("Open weights", None, OPEN, whole)
        if options.herd != "open":
            on_folds("Open weights, 13B or less", 13.0, SMALL, whole)
        return
    row("what", "held out", "target")
    if options.herd != "small":
        measure("Open weights", None, OPEN, whole)
    if options.herd != "open":
        measure("Open weights, 13B or less", 13.0, SMALL, whole)


if __name__ == "__main__":
    main()
