"""Limits and the hand-over: do they hold with the probability that is stated?

    python benchmarks/bench_limits.py            three folds of the training splits
    python benchmarks/bench_limits.py --test     once, on the test splits

Coverage: how often a call takes no more than its quantile, overall and for the worst candidate; the interval
from the 5% to the 95% quantile on the logarithm, and the pinball loss at 0.9, against the same of quantiles
that are constant per candidate.
Enlisted: three candidates left out of training one at a time and enlisted from 50 probes each; coverage.
Limits: `single` routes under a limit at some quantile of what the best candidate takes; how often the answer
that was served exceeds it, also of those that were admitted narrowly, what was refused, and what it costs.
Hand-over: experts whose quality is predicted at `min_quality` answer, else the generalist (the best single
candidate); the quality of what was not handed over, where the best expert answers, and where the smallest
does (where no size is known: the one of the lowest mean quality), which is where a claim is most tempting.
Folders other than mmlu_pro are taken from ../shared/outcomes, and left out where that does not exist.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from herdwise.core.decision import Constraints, Estimates, Goals, ResourceKind
from herdwise.core.errors import NoCandidateError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import CHARS_PER_TOKEN
from herdwise.routing.hand_over import good_enough
from herdwise.routing.router import Router
from herdwise.routing.single import ranking
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
FOLDERS = {"bfcl": "quality", "routerbench_partial": "quality", "mmlu_pro": "quality"}
PROBABILITIES = (0.5, 0.8, 0.9, 0.95)
N_FOLDS = 3
_KINDS: tuple[ResourceKind, ...] = ("cost_usd", "latency_s", "output_tokens")
_COVERED = 0.95
#: A call whose quantile is above this share of the limit was admitted narrowly.
_CLOSE = 0.8


def parts(name: str, test: bool) -> Iterator[tuple[OutcomeTable, OutcomeTable]]:
    """Pairs of rows to learn from and rows to measure on, of well-covered candidates."""
    table = replace(read_outcomes(name if name == "mmlu_pro" else SHARED / name), answers=None)
    train, column = table.split("train"), FOLDERS[name]
    table = table.restrict(
        [n for n, c in zip(table.herd.names, train.coverage(column) >= _COVERED, strict=True) if c]
    )
    train = table.split("train")
    if test:
        yield train, table.split("test")
        return
    fold = np.random.default_rng(0).permutation(train.n_queries) % N_FOLDS
    for number in range(N_FOLDS):
        yield train.take(np.flatnonzero(fold != number)), train.take(np.flatnonzero(fold == number))


def recorded(table: OutcomeTable, kind: str) -> np.ndarray:
    """``(n, m)`` what calls took, NaN = unknown."""
    if table.has(kind):
        return table.matrix(kind).astype(np.float64)
    if kind == "output_tokens" and table.has("output_chars"):
        return table.matrix("output_chars").astype(np.float64) / CHARS_PER_TOKEN
    return np.full((table.n_queries, table.n_candidates), np.nan)


def pinball(value: np.ndarray, quantile: np.ndarray, probability: float) -> float:
    """Mean pinball loss of logarithms."""
    off = np.log(np.maximum(value, 1e-9)) - np.log(np.maximum(quantile, 1e-9))
    return float(np.nanmean(np.maximum(probability * off, (probability - 1.0) * off)))


class Tally:
    """Means over folds, by key."""

    def __init__(self) -> None:
        self._kept: dict[str, list[np.ndarray]] = {}

    def add(self, key: str, *values: float) -> None:
        """One fold's values."""
        self._kept.setdefault(key, []).append(np.array(values, dtype=np.float64))

    def means(self) -> dict[str, np.ndarray]:
        """Per key."""
        return {key: np.nanmean(rows, axis=0) for key, rows in self._kept.items()}


def coverage(router: Router, train: OutcomeTable, held: OutcomeTable, X: np.ndarray, tally: Tally) -> None:
    """Coverage, width and pinball loss of each kind that was recorded."""
    tokens = np.array([q.input_tokens for q in held.queries()])[:, None]
    for kind in _KINDS:
        value, known = recorded(held, kind), recorded(train, kind)
        there = np.isfinite(known).any(axis=0)
        if not there.any():
            continue
        value, known = value[:, there], known[:, there]
        got = {p: router.resources.quantile(X, tokens, kind, p)[:, there] for p in (0.05, *PROBABILITIES)}
        flat = {p: np.tile(np.nanquantile(known, p, axis=0), (len(X), 1)) for p in got}
        for p in PROBABILITIES:
            # Ties: a recorded 12 is no more than a quantile of 12.
            kept = np.where(np.isfinite(value), value <= got[p] * (1.0 + 1e-6), np.nan)
            each = np.nanmean(kept, axis=0)
            tally.add(f"{kind} at {p:g}", float(np.nanmean(kept)), each[np.abs(each - p).argmax()])

        def width(q: dict[float, np.ndarray]) -> float:
            return float(np.mean(np.log(np.maximum(q[0.95], 1e-9)) - np.log(np.maximum(q[0.05], 1e-9))))

        tally.add(
            f"{kind} against constant: width, pinball at 0.9",
            width(got) / width(flat),
            pinball(value, got[0.9], 0.9) / pinball(value, flat[0.9], 0.9),
        )


def enlisted(train: OutcomeTable, held: OutcomeTable, column: str, tally: Tally) -> None:
    """Coverage for candidates that are enlisted from 50 probes."""
    draw = np.random.default_rng(1)
    for j in draw.choice(train.n_candidates, 3, replace=False):
        name = train.herd.names[j]
        rest = [n for n in train.herd.names if n != name]
        router = Router.fit(train.restrict(rest), quality_column=column)
        probes = train.take(draw.choice(train.n_queries, 50, replace=False)).restrict([name])
        router = router.enlist(replace(train.herd[name]), probes)
        own = held.restrict([name])
        details = [router.estimate_one(query) for query in own.queries()]
        for kind in _KINDS:
            value = recorded(own, kind)[:, 0]
            if not np.isfinite(value).any():
                continue
            for p in PROBABILITIES:
                most = np.array([d.at_most(kind, p)[-1] for d in details])
                tally.add(f"enlisted, {kind} at {p:g}", float(np.mean(value <= most * (1.0 + 1e-6))), np.nan)


def limits(router: Router, held: OutcomeTable, rows: list[Estimates], column: str, tally: Tally) -> None:
    """Routing under one limit: share of answers over it, share refused, quality against no limit."""
    queries = [replace(query, chars=0) for query in held.queries()]
    quality = held.matrix(column)
    best = int(np.nanargmax([router.facts.mean_micro[n] for n in router.herd.names]))
    for kind in _KINDS:
        value = recorded(held, kind)
        if not np.isfinite(value[:, best]).any():
            continue
        for level in (0.1, 0.3, 0.6, 0.9):
            limit = float(np.nanquantile(value[:, best], level))
            for probability in (None, *PROBABILITIES):
                limited: dict[str, Any] = {f"max_{kind}": limit}
                goals = Goals(limit_probability=probability, constraints=Constraints(**limited))
                over, close, reached, free, refused = [], [], [], [], 0
                for i, (query, row) in enumerate(zip(queries, rows, strict=True)):
                    try:
                        pick = ranking(router.situation(query, goals, row))[0][0]
                    except NoCandidateError:
                        refused += 1
                        continue
                    if np.isfinite(value[i, pick]):
                        over.append(value[i, pick] > limit * (1.0 + 1e-6))
                        most = np.nan if probability is None else row.at_most(kind, probability)[pick]
                        if most > _CLOSE * limit:
                            close.append(over[-1])
                    reached.append(quality[i, pick])
                    free.append(quality[i, int(np.argmax(row.quality))])
                told = "mean" if probability is None else f"{probability:g}"
                if over:
                    key = f"{kind} limit at {level:g} of the best's, {told}"
                    lost = np.nanmean(reached) - np.nanmean(free)
                    near = float(np.mean(close)) if len(close) >= 30 else np.nan
                    tally.add(key, float(np.mean(over)), near, refused / len(rows), 100 * float(lost))


def hand_over(router: Router, held: OutcomeTable, rows: list[Estimates], column: str, tally: Tally) -> None:
    """What is not handed over, against what was asked."""
    quality = held.matrix(column).astype(np.float64)
    means = np.array([router.facts.mean_micro[n] for n in router.herd.names])
    generalist = int(means.argmax())
    size = router.herd_facts.active_params_b
    frugal = means if np.isnan(size).all() else np.where(np.isnan(size), 1e9, size)
    groups = np.unique(held.benchmarks, return_inverse=True)[1]
    for asked in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        for probability in (None, 0.6, 0.7, 0.8, 0.9, 0.95):
            good = np.stack([good_enough(row, asked, probability) for row in rows])
            good[:, generalist] = False
            predicted = np.stack([row.quality for row in rows])
            for who, worth in (("best", predicted), ("frugal", np.tile(-frugal, (len(rows), 1)))):
                pick = np.where(good, worth, -np.inf).argmax(axis=1)
                kept = good.any(axis=1) & np.isfinite(quality[np.arange(len(rows)), pick])
                got = quality[np.arange(len(rows)), pick]
                if kept.sum() < 50:
                    continue
                sizes = np.bincount(groups[kept])
                each = np.bincount(groups[kept], got[kept])[sizes >= 30] / sizes[sizes >= 30]
                told = "mean" if probability is None else f"{probability:g}"
                tally.add(
                    f"{who} expert at {asked:g}, {told}",
                    float(kept.mean()),
                    float(got[kept].mean()) - asked,
                    float(each.min()) - asked if len(each) else np.nan,
                )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--test", action="store_true", help="measure on the test splits")
    parser.add_argument("--folders", default=",".join(FOLDERS))
    parser.add_argument("--what", default="coverage,enlisted,limits,handover")
    given = parser.parse_args()
    what = given.what.split(",")
    for name in given.folders.split(","):
        if name != "mmlu_pro" and not (SHARED / name).is_dir():
            print(f"{name}: not at hand, left out")
            continue
        tallies = {part: Tally() for part in ("coverage", "enlisted", "limits", "handover")}
        for train, held in parts(name, given.test):
            router = Router.fit(train, quality_column=FOLDERS[name], keep_texts=True)
            X = router.encode(held.queries())
            batch = router.estimate(held.queries(), X)
            rows = [batch.row(i) for i in range(held.n_queries)]
            if "coverage" in what:
                coverage(router, train, held, X, tallies["coverage"])
            if "limits" in what:
                limits(router, held, rows, FOLDERS[name], tallies["limits"])
            if "handover" in what:
                hand_over(router, held, rows, FOLDERS[name], tallies["handover"])
            if "enlisted" in what:
                enlisted(train, held, FOLDERS[name], tallies["enlisted"])
        for part, heads in (
            ("coverage", "overall, worst candidate"),
            ("enlisted", "coverage"),
            ("limits", "over the limit, the same of narrowly admitted calls, refused, quality in points"),
            ("handover", "not handed over, its quality above the asked, the same of the worst benchmark"),
        ):
            found = tallies[part].means()
            if found:
                print(f"\n{name}: {part} ({heads})")
            for key, values in found.items():
                shown = "  ".join(f"{v:8.3f}" if np.isfinite(v) else "       -" for v in values)
                print(f"  {key:52s} {shown}", flush=True)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of candidates without a recorded value
        main()
