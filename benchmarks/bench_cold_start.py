"""What 10 to 100 scored queries tell of a new candidate, against all of the training split.

    python benchmarks/bench_cold_start.py                    mmlu_pro, and bfcl where ../shared exists
    python benchmarks/bench_cold_start.py --folders mmlu_pro --candidates 4 --predictor kernel
    python benchmarks/bench_cold_start.py --folders mmlu_pro --candidates 6 --retrain
                                             instead: enlisting against training again with N of its outcomes

Candidates are held out one at a time, evenly spread over the ranking by training mean, the best included. The
router is trained without the one, which is then admitted from N of its training outcomes: anchors, chosen as
`herdwise enlist --probe N` does, or queries drawn at random. Both are means over several lists, so that one
list's luck doesn't decide; each list of anchors is chosen among another random half of the training queries.
Measured on the test split:

prediction  share = (error knowing only the herd's mean - error with N) / (error knowing only the herd's
            mean - error of a router trained with all its outcomes); squared error of the expected quality
routing     herds of eight with the new one in it, drawn at random: share = (routed quality with N - without
            the new one) / (trained with all its outcomes - without the new one); and what is lost against
            all its outcomes, in points of routed quality
level       root mean squared error of its estimated mean, in points, and how often the 95% interval holds
            the true one

Intervals are 95%, bootstrapped over candidates and test queries together.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import ENCODERS
from herdwise.prediction.anchors import choose_anchors
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.likeness import Likeness
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
SIZES = (10, 25, 50, 100)
MANY = (100, 500, 2000)
LISTS, DRAWS, HERDS, HERD_SIZE, RESAMPLES = 5, 10, 40, 8, 1000


@dataclass(frozen=True)
class Trial:
    """One held-out candidate: arrays over its test queries.

    Args:
        errors: (way, N) -> squared errors ``(n,)``, mean over draws; ("herd", 0) and ("all", 0) besides.
        routed: the same keys -> routed quality ``(n,)``, mean over herds and draws; ("without", 0) besides.
        levels: (way, N) -> one (error of the level, whether the interval holds it) per draw.
    """

    errors: dict[tuple[str, int], np.ndarray]
    routed: dict[tuple[str, int], np.ndarray]
    levels: dict[tuple[str, int], list[tuple[float, bool]]]


def held_out(
    column: int,
    predictor: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    whole: np.ndarray,
    eligible: np.ndarray,
) -> Trial:
    """Hold one candidate out.

    Args:
        train, test: vectors ``(n, d)`` and outcomes ``(n, m)`` of the splits.
        whole: ``(n_test, m)`` predictions of a predictor trained on all.
        eligible: columns that herds are drawn from.
    """
    (X, Y), (X_test, Y_test) = train, test
    rest = np.delete(np.arange(Y.shape[1]), column)
    fitted = PREDICTORS.create(predictor).fit(X, Y[:, rest], seed=0)
    P = fitted.predict_anew(X).astype(np.float64)
    F = np.where(np.isfinite(Y[:, rest]), Y[:, rest], P)
    graded = np.isfinite(Y[:, column])
    rows = np.isfinite(Y_test[:, eligible]).all(axis=1) & np.isfinite(Y_test[:, column])
    P_test, truth = (
        fitted.predict_anew(X_test[rows]).astype(np.float64),
        Y_test[rows, column].astype(np.float64),
    )
    likeness = Likeness.fit(F, P)
    rng = np.random.default_rng(column)
    others = np.setdiff1d(eligible, [column])
    herds = [rng.choice(others, HERD_SIZE - 1, replace=False) for _ in range(HERDS)]
    place = np.searchsorted(rest, np.array(herds))
    quality = Y_test[rows].astype(np.float64)

    def routed(own: np.ndarray | None, everybody: np.ndarray | None = None) -> np.ndarray:
        total = np.zeros(len(truth))
        for members, columns in zip(herds, place, strict=True):
            known = P_test[:, columns] if everybody is None else everybody[:, members]
            best = known.argmax(axis=1)
            at = np.arange(len(truth))
            got = quality[at, members[best]]
            total += got if own is None else np.where(own > known[at, best], truth, got)
        return np.asarray(total / HERDS)

    errors, routes, levels = {}, {}, {}
    mean = P_test.mean(axis=1)
    errors["herd", 0], errors["all", 0] = (mean - truth) ** 2, (whole[rows, column] - truth) ** 2
    routes["without", 0], routes["all", 0] = routed(None), routed(whole[rows, column], whole[rows])
    true_level = float(Y[graded, column].mean())
    halves = [graded & (rng.random(len(graded)) < 0.5) for _ in range(LISTS)]
    chosen = [choose_anchors(likeness, F, P, max(SIZES), allowed=half) for half in halves]
    drawn = [rng.permutation(np.flatnonzero(graded)) for _ in range(DRAWS)]
    for way, orders in (("anchors", chosen), ("random", drawn)):
        for size in SIZES:
            found, went, told = [], [], []
            for order in orders:
                probes = order[:size]
                mix = likeness.mix(F[probes], P[probes], Y[probes, column])
                predicted = mix(P_test)
                found.append((predicted - truth) ** 2)
                went.append(routed(predicted))
                off = float(F.mean(axis=0) @ mix.weights + mix.offset) - true_level
                told.append((off, abs(off) < 1.96 * likeness.level_std(mix, F)))
            errors[way, size], routes[way, size] = np.mean(found, axis=0), np.mean(went, axis=0)
            levels[way, size] = told
    return Trial(errors, routes, levels)


def encoded(table: OutcomeTable) -> tuple[OutcomeTable, OutcomeTable, np.ndarray, np.ndarray]:
    """Both splits with their vectors, tools read too.

    Test queries that stand in train word for word are left out: a trained router remembers them, a newcomer
    has never seen them, and neither says anything of new queries.
    """
    train, test = table.split("train"), table.split("test")
    seen = set(train.texts)
    test = test.take(np.flatnonzero([text not in seen for text in test.texts]))
    coder = ENCODERS.create("static").fit(train.texts)
    X, X_test = (coder.encode(part.asked_texts(0, part.n_queries)) for part in (train, test))
    return train, test, X, X_test


def retrain(folder: str, predictor: str, n_candidates: int) -> None:
    """Print shares of prediction of enlisting and of training again, both with N random outcomes."""
    table = read_outcomes(folder)
    train, test, X, X_test = encoded(table)
    Y, Y_test = train.matrix("quality"), test.matrix("quality")
    eligible = np.flatnonzero(np.isfinite(Y).mean(axis=0) >= 0.95)
    ranked = eligible[np.argsort(-np.nanmean(Y[:, eligible], axis=0), kind="stable")]
    spread = np.linspace(0, len(ranked) - 1, min(n_candidates, len(ranked))).round().astype(int)
    whole = PREDICTORS.create(predictor).fit(X, Y, seed=0).predict_anew(X_test)
    errors = []
    for column in ranked[spread].tolist():
        rest, truth = np.delete(np.arange(Y.shape[1]), column), Y_test[:, column]
        fitted = PREDICTORS.create(predictor).fit(X, Y[:, rest], seed=0)
        P, P_test = fitted.predict_anew(X), fitted.predict_anew(X_test)
        F = np.where(np.isfinite(Y[:, rest]), Y[:, rest], P)
        likeness = Likeness.fit(F, P)
        drawn = np.random.default_rng(column).permutation(np.flatnonzero(np.isfinite(Y[:, column])))
        found = [P_test.mean(axis=1), whole[:, column]]
        for size in MANY:
            probes = drawn[:size]
            found.append(likeness.mix(F[probes], P[probes], Y[probes, column])(P_test))
            sparse = Y.copy()
            sparse[:, column] = np.nan
            sparse[probes, column] = Y[probes, column]
            found.append(PREDICTORS.create(predictor).fit(X, sparse, seed=0).predict_anew(X_test)[:, column])
        errors.append([float(np.nanmean((each - truth) ** 2)) for each in found])
    mean = np.mean(errors, axis=0)
    shares = 100 * (mean[0] - mean[2:]) / (mean[0] - mean[1])
    print(
        f"\n{table.name}: share of prediction with N random outcomes, {len(errors)} candidates, {predictor}"
    )
    for size, enlisted, trained in zip(MANY, shares[::2], shares[1::2], strict=True):
        print(f"{size:5d}  enlisted {enlisted:4.0f}%  trained again {trained:4.0f}%")


def resampled(trials: list[Trial], part: str, keys: list[tuple[str, int]]) -> np.ndarray:
    """``(RESAMPLES + 1, len(keys))`` means over candidates and queries; the first row is the estimate."""
    rng = np.random.default_rng(0)
    stacks = [np.stack([getattr(t, part)[key] for key in keys]) for t in trials]
    rows = [np.mean([stack.mean(axis=1) for stack in stacks], axis=0)]
    for _ in range(RESAMPLES):
        picked = [stacks[i] for i in rng.integers(0, len(stacks), len(stacks)).tolist()]
        rows.append(
            np.mean([s[:, rng.integers(0, s.shape[1], s.shape[1])].mean(axis=1) for s in picked], axis=0)
        )
    return np.array(rows)


def span(draws: np.ndarray, digits: int = 0) -> str:
    """Estimate and interval of ``(RESAMPLES + 1,)`` draws, in percent."""
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return f"{100 * draws[0]:.{digits}f} ({100 * low:.{digits}f} to {100 * high:.{digits}f})"


def run(folder: str, predictor: str, n_candidates: int) -> None:
    """Print the table of one folder."""
    started = time.perf_counter()
    table = read_outcomes(folder)
    train, test, X, X_test = encoded(table)
    Y, Y_test = train.matrix("quality"), test.matrix("quality")
    covered = (np.isfinite(Y).mean(axis=0) >= 0.95) & (np.isfinite(Y_test).mean(axis=0) >= 0.95)
    eligible = np.flatnonzero(covered)
    ranked = eligible[np.argsort(-np.nanmean(Y[:, eligible], axis=0), kind="stable")]
    spread = np.linspace(0, len(ranked) - 1, min(n_candidates, len(ranked))).round().astype(int)
    whole = PREDICTORS.create(predictor).fit(X, Y, seed=0).predict_anew(X_test)
    trials = [
        held_out(int(column), predictor, (X, Y), (X_test, Y_test), whole, eligible)
        for column in ranked[spread]
    ]
    ways = ("anchors", "random")
    keys = [(way, size) for way in ways for size in SIZES]
    error = resampled(trials, "errors", [("herd", 0), ("all", 0), *keys])
    prediction = (error[:, :1] - error[:, 2:]) / (error[:, :1] - error[:, 1:2])
    routed = resampled(trials, "routed", [("without", 0), ("all", 0), *keys])
    print(
        f"\n{table.name}: {len(trials)} of {len(eligible)} candidates held out one at a time, predictor"
        f" {predictor}, {train.n_queries} training and {test.n_queries} test queries"
    )
    print(
        f"squared error: herd's mean {error[0, 0]:.4f}, all outcomes {error[0, 1]:.4f}; routed quality"
        f" in herds of {HERD_SIZE}: without the new one {100 * routed[0, 0]:.2f}%,"
        f" all outcomes {100 * routed[0, 1]:.2f}%"
    )
    print(
        f"{'N':>4} {'queries':8} {'prediction, share %':>22} {'routing, share %':>17} {'points lost':>24}"
        f" {'level, points':>14} {'interval holds':>15}"
    )
    for size in SIZES:
        for way in ways:
            at = keys.index((way, size))
            share = (routed[0, at + 2] - routed[0, 0]) / (routed[0, 1] - routed[0, 0])
            told = np.array([pair for t in trials for pair in t.levels[way, size]], dtype=float)
            print(
                f"{size:4d} {way:8} {span(prediction[:, at]):>22} {100 * share:17.0f}"
                f" {span(routed[:, 1] - routed[:, at + 2], 2):>24}"
                f" {100 * np.sqrt(np.mean(told[:, 0] ** 2)):14.1f} {100 * told[:, 1].mean():14.0f}%"
            )
        gain = prediction[:, keys.index(("anchors", size))] - prediction[:, keys.index(("random", size))]
        print(f"{'':4} {'gain':8} {span(gain):>22}")
    print(f"{time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    """Run every folder at hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folders", default="mmlu_pro,bfcl")
    parser.add_argument("--predictor", default="stack")
    parser.add_argument("--candidates", type=int, default=32, help="held out per folder")
    parser.add_argument("--retrain", action="store_true", help="compare with training again")
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        for folder in options.folders.split(","):
            path = SHARED / folder
            if folder != "mmlu_pro" and not path.is_dir():
                print(f"\n{folder}: not at hand, left out")
                continue
            job = retrain if options.retrain else run
            job(folder if folder == "mmlu_pro" else str(path), options.predictor, options.candidates)


if __name__ == "__main__":
    main()
