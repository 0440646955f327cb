"""What a router loses on kinds of queries that it was not trained on, against what it gains on known ones.

    python benchmarks/bench_shift.py                          stack and cautious, all folders, `train` only
    python benchmarks/bench_shift.py --folders routerdc7 --seeds 0,1,2

For each predictor: gain over the best single candidate by four-fold cross-validation (known kinds), then each
benchmark of 100 queries or more left out of training and routed by the rest (new kinds; the best single is
that of the rest), with one standard error, and the share of queries that leave the best single. `mmlu_pro`
ships with the package and is one benchmark; others are taken from ../shared/outcomes where that exists.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.encoding.base import ENCODERS
from herdwise.prediction.base import PREDICTORS
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
FOLDERS = {
    "mmlu_pro": "quality",
    "routerdc7": "correct",
    "routerbench_partial": "quality",
    "bfcl": "quality",
}
_FOLDS, _FEWEST, _COVERAGE = 4, 100, 0.95


@dataclass(frozen=True)
class Rows:
    """Vectors ``(n, d)``, outcomes ``(n, m)`` and benchmark names ``(n,)`` of the training split."""

    X: np.ndarray
    Y: np.ndarray
    benchmarks: np.ndarray


def load(name: str) -> Rows:
    """Training rows of a folder, candidates of at least 95% coverage."""
    train = read_outcomes(name if name == "mmlu_pro" else SHARED / name).split("train")
    column = FOLDERS[name]
    train = train.restrict(
        [n for n, c in zip(train.herd.names, train.coverage(column), strict=True) if c >= _COVERAGE]
    )
    coder = ENCODERS.create("static").fit(train.texts)
    texts = train.asked_texts(0, train.n_queries) if coder.reads_tools else list(train.texts)
    return Rows(coder.encode(texts), train.matrix(column), np.asarray(train.benchmarks))


def gains(rows: Rows, learned: np.ndarray, asked: np.ndarray, predictor: str, seed: int) -> np.ndarray:
    """Gain over the best single of the rows learned from, ``(n_asked,)``; NaN where one was not run."""
    Y = rows.Y[learned]
    best = int(Y[np.isfinite(Y).all(axis=1)].mean(axis=0).argmax())
    fitted = PREDICTORS.create(predictor).fit(rows.X[learned], Y, seed=seed)
    pick = fitted.predict(rows.X[asked]).argmax(axis=1)
    gained = rows.Y[asked][np.arange(len(pick)), pick] - rows.Y[asked][:, best]
    return np.where(pick == best, 0.0, gained)


def line(name: str, values: list[np.ndarray]) -> str:
    """Mean over seeds and queries, its standard error, and how the seeds differ; points."""
    each = [100 * float(np.nanmean(v)) for v in values]
    per_query = 100 * np.stack(values)
    known = per_query[:, np.isfinite(per_query).all(axis=0)].mean(axis=0)
    left = np.mean([(np.nan_to_num(v) != 0).mean() for v in values])
    return (
        f"    {name:32s} {len(known):5d} {np.mean(each):+6.2f} ({known.std() / np.sqrt(len(known)):.2f})"
        f"  seeds {min(each):+.2f} to {max(each):+.2f}; differs from the best single in {left:.0%}"
    )


def run(name: str, predictors: list[str], seeds: list[int]) -> None:
    """Print one folder's table."""
    rows = load(name)
    everybody = np.arange(len(rows.X))
    for predictor in predictors:
        print(f"\n{name}, {predictor}: gain over the best single, points (standard error)")
        inside = []
        for seed in seeds:
            fold = np.random.default_rng(seed).permutation(len(rows.X)) % _FOLDS
            gained = np.full(len(rows.X), np.nan)
            for number in range(_FOLDS):
                held = np.flatnonzero(fold == number)
                gained[held] = gains(rows, np.flatnonzero(fold != number), held, predictor, seed)
            inside.append(gained)
        print(line("known kinds", inside), flush=True)
        for benchmark in np.unique(rows.benchmarks):
            out = rows.benchmarks == benchmark
            if _FEWEST <= out.sum() < len(out):
                new = [gains(rows, everybody[~out], everybody[out], predictor, seed) for seed in seeds]
                print(line(f"without {benchmark}", new), flush=True)


def main() -> None:
    """Run every folder at hand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folders", default=",".join(FOLDERS))
    parser.add_argument("--predictors", default="stack,cautious")
    parser.add_argument("--seeds", default="0,1")
    options = parser.parse_args()
    with threadpool_limits(1):
        for name in options.folders.split(","):
            if name != "mmlu_pro" and not (SHARED / name).is_dir():
                print(f"\n{name}: not at hand, left out")
                continue
            run(name, options.predictors.split(","), [int(s) for s in options.seeds.split(",")])


if __name__ == "__main__":
    main()
