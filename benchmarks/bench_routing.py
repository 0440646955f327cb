"""Routing by the query alone: the targets on held-out splits, and routers of the literature beside ours.

    make bench-routing                               the table, on the test splits
    python benchmarks/bench_routing.py --rehearse    the same on a quarter of `train` held out of it

Every figure has a 95% interval, by paired bootstrap against the best single candidate of the training rows.
`mmlu_pro` ships with the package; the other folders are taken from ../shared/outcomes, and left out where
that does not exist. The weight on cost and the margin for leaving the best single are chosen (`cost_targets`)
on training rows by cross-validation, as `herdwise tune` does; the picks are those of the policy `single`.
Peers learn from the same vectors and the same split (peers.py);
they are not the published code: matrix factorisation is solved in closed form, and no encoder is fine-tuned.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cost_targets import best_single, cost_table, picked
from herdwise.core.decision import Goals
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.averages import Average, mean
from herdwise.evaluation.decision_time import decision_times_us
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.prediction.base import PREDICTORS
from herdwise.routing.base import POLICIES
from herdwise.routing.router import Router
from herdwise.storage.outcomes import read_outcomes
from peers import PEERS, Learner

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
_COVERAGE = 0.95
_COLD = """
import resource, sys, time
started = time.perf_counter()
from dataclasses import replace
from herdwise.routing.router import Router
from herdwise.storage.outcomes import read_outcomes
table = read_outcomes("mmlu_pro").split("train")
if sys.argv[1] == "without answers":
    table = replace(table, answers=None)
Router.fit(table)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
taken = f"{time.perf_counter() - started:.1f} s, {time.process_time():.1f} of processor; peak {peak:.0f} MB"
heavy = [name for name in ("sklearn", "scipy") if name in sys.modules]
print(f"{table.n_queries} x {table.n_candidates}, {sys.argv[1]}: {taken}; loaded {heavy or 'nothing heavy'}")
"""


def read(name: str, column: str, test: str, rehearse: bool) -> tuple[OutcomeTable, OutcomeTable] | None:
    """Training and test rows that all well-covered candidates ran; None where the folder is not at hand."""
    if name != "mmlu_pro" and not (SHARED / name).is_dir():
        print(f"{name}: not at hand, left out")
        return None
    # Recorded answers teach fusion, which is not measured here.
    table = replace(read_outcomes(name if name == "mmlu_pro" else SHARED / name), answers=None)
    if rehearse:
        train = table.split("train")
        order = np.random.default_rng(0).permutation(train.n_queries)
        cut = train.n_queries // 4
        parts = [train.take(np.sort(order[cut:])), train.take(np.sort(order[:cut]))]
    else:
        parts = [table.split("train"), table.split(test)]
    covered = np.logical_and.reduce([part.coverage(column) >= _COVERAGE for part in parts])
    names = [n for n, c in zip(table.herd.names, covered, strict=True) if c]
    kept = [part.restrict(names) for part in parts]
    both = [part.take(np.flatnonzero(np.isfinite(part.matrix(column)).all(axis=1))) for part in kept]
    return kept[0], both[1]


def compare(
    routed: np.ndarray, single: np.ndarray, benchmarks: Any, average: Average
) -> tuple[float, float, float, float]:
    """Quality of the picks, their gain over the best single and its interval; points."""
    draws = resampled_means(np.stack([routed, single], axis=1), benchmarks, average)
    low, high = interval(draws[:, 0] - draws[:, 1])
    got, alone = (float(mean(v, benchmarks, average)) for v in (routed, single))
    return 100 * got, 100 * (got - alone), 100 * low, 100 * high


def quality_table(
    title: str,
    tables: tuple[OutcomeTable, OutcomeTable],
    column: str,
    average: Average,
    reference: Average | None = None,
    peers: bool = True,
) -> None:
    """Picks of the default and its peers against the best single (by ``reference``, else ``average``)."""
    train, test = tables
    router = Router.fit(train, quality_column=column, keep_texts=False)
    X, Z = router.encode(train.queries()), router.encode(test.queries())
    Y, T = train.matrix(column), test.matrix(column)
    best = best_single(train, column, reference or average)
    top = float(mean(T.max(axis=1), test.benchmarks, average))
    alone = float(mean(T[:, best], test.benchmarks, average))
    print(f"\n{title}: {len(Z)} queries, {T.shape[1]} candidates; best single {train.herd.names[best]}")
    print(f"  {'best single':42s} {100 * alone:6.2f}      oracle {100 * top:6.2f}")
    learners: dict[str, Learner] = {"herdwise (stack)": router.predictor}
    if peers:
        learners["herdwise (cautious)"] = PREDICTORS.create("cautious").fit(X, Y)
        learners |= {name: create().fit(X, Y) for name, create in PEERS.items()}
    for name, learner in learners.items():
        got, gain, low, high = compare(picked(T, learner.predict(Z)), T[:, best], test.benchmarks, average)
        share = gain / (100 * (top - alone)) if top > alone else float("nan")
        print(f"  {name:42s} {got:6.2f} {gain:+6.2f} [{low:+.2f}, {high:+.2f}]  gap recovered {share:6.1%}")
    seen = set(train.texts)
    new = np.array([text not in seen for text in test.texts])
    if not new.all():
        # The default remembers what is on record word for word: fair to users, but not a gain on new queries.
        routed, single = picked(T[new], router.predictor.predict(Z[new])), T[new][:, best]
        benchmarks = np.asarray(test.benchmarks, dtype=object)[new]
        got, gain, low, high = compare(routed, single, benchmarks, average)
        name = f"herdwise (stack), without {(~new).sum()} on record"
        print(f"  {name:42s} {got:6.2f} {gain:+6.2f} [{low:+.2f}, {high:+.2f}]")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="leave the test splits alone")
    rehearse = parser.parse_args().rehearse
    started = time.perf_counter()
    if routerdc := read("routerdc7", "correct", "test", rehearse):
        quality_table("routerdc7, macro of five", routerdc, "correct", "macro")
        if not rehearse and (ood := read("routerdc7", "correct", "ood_test", False)):
            quality_table("routerdc7 ood_test, micro", ood, "correct", "micro", reference="macro")
    mmlu = read("mmlu_pro", "quality", "test", rehearse)
    assert mmlu is not None  # noqa: S101 - it ships
    quality_table("mmlu_pro, micro", mmlu, "quality", "micro")
    herd = mmlu[0].herd
    open_weights = [c.name for c in herd if c.open_weights]
    few = [c.name for c in herd if c.open_weights and c.params_b is not None and c.params_b <= 13]
    plain = [n for n in open_weights if not n.lower().startswith("deepseek")]

    def part(names: list[str]) -> tuple[OutcomeTable, OutcomeTable]:
        return mmlu[0].restrict(names), mmlu[1].restrict(names)

    quality_table("mmlu_pro, open weights", part(open_weights), "quality", "micro", peers=False)
    quality_table("mmlu_pro, open weights, 13B or less", part(few), "quality", "micro")
    llama = "Meta-Llama-3.1-70B-Instruct"
    cost_table(
        "mmlu_pro, open weights without DeepSeek", part(plain), "quality", "active_params", llama, lambda q: q
    )
    if bfcl := read("bfcl", "quality", "test", rehearse):
        cost_table(
            "bfcl, within 0.5 points of best single", bfcl, "quality", "latency", None, lambda q: q - 0.005
        )
    if partial := read("routerbench_partial", "quality", "test", rehearse):
        cost_table(
            "routerbench_partial, 99% of best single", partial, "quality", "usd", None, lambda q: 0.99 * q
        )
    router = Router.fit(mmlu[0], keep_texts=False)
    single = POLICIES.create("single")
    p50, p99 = decision_times_us(router, single, mmlu[1].queries(), Goals())
    print(f"\ndecision over {len(herd)} candidates, encode to first Step: p50 {p50:.0f} us, p99 {p99:.0f} us")
    for what in ("without answers", "with answers, for fusion"):
        command = [sys.executable, "-c", _COLD, what]
        cold = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"training on mmlu_pro in a fresh process, imports included: {cold.stdout.strip()}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"this script: {time.perf_counter() - started:.0f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
