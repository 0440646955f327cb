"""What each predictor is worth on the outcome folders at hand.

    python benchmarks/bench_predictors.py                 cross-validated on the training split
    python benchmarks/bench_predictors.py --test          trained on `train`, measured once on `test`
    python benchmarks/bench_predictors.py --shift         a benchmark of `train` left out, routed by the rest
    python benchmarks/bench_predictors.py --few 25         a candidate that has so few outcomes, one at a time
    python benchmarks/bench_predictors.py --folders mmlu_pro --predictors stack,knn --folds 4
    python benchmarks/bench_predictors.py --predictors stack,stack:kernel+clusters+irt --partitions 3

`stack:kernel+clusters+irt` is the stack with these members. With several partitions into folds figures are
means over them, one standard deviation of the gains behind.

`mmlu_pro` ships with the package; other folders are taken from ../shared/outcomes where that exists.
Columns: routed quality (micro over queries, macro over benchmarks), each followed by its gain over the best
single candidate of the training rows (chosen by the same average); squared error and calibration error of
the predicted quality over all pairs; share of queries that leave the best single; processor seconds to fit;
microseconds (p50) of one prediction.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from herdwise.encoding.base import ENCODERS
from herdwise.prediction.base import PREDICTORS, Predictor
from herdwise.prediction.candidate_features import candidate_features
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
#: Folder -> quality column. RouterDC's paper averages `correct`, over the benchmarks of its training split.
FOLDERS = {
    "mmlu_pro": "quality",
    "routerdc7": "correct",
    "routerbench_partial": "quality",
    "bfcl": "quality",
}


@dataclass(frozen=True)
class Rows:
    """Vectors ``(n, d)``, outcomes ``(n, m)``, benchmark names ``(n,)``; what is known of the candidates."""

    X: np.ndarray
    Y: np.ndarray
    benchmarks: np.ndarray
    features: np.ndarray | None = None

    def at(self, index: np.ndarray) -> Rows:
        """Some of the queries."""
        return Rows(self.X[index], self.Y[index], self.benchmarks[index], self.features)


@dataclass(frozen=True)
class Figures:
    """Figures of one predictor, fractions."""

    micro: float
    micro_gain: float
    macro: float
    macro_gain: float
    mse: float
    ece: float
    left: float
    fit_s: float
    one_us: float

    def line(self) -> str:
        """One row of the table, qualities in percent."""
        return (
            f"{100 * self.micro:6.2f} {100 * self.micro_gain:+6.2f} {100 * self.macro:7.2f} "
            f"{100 * self.macro_gain:+6.2f} {self.mse:7.4f} {self.ece:7.4f} {100 * self.left:5.0f}% "
            f"{self.fit_s:6.2f} {self.one_us:7.1f}"
        )


def load(name: str, encoder: str) -> tuple[Rows, Rows]:
    """Training and test rows of a folder, candidates of at least 95% coverage in either."""
    table = read_outcomes(name if name == "mmlu_pro" else SHARED / name)
    column = FOLDERS[name]
    parts = [table.split(split) for split in ("train", "test")]
    covered = np.logical_and.reduce([part.coverage(column) >= 0.95 for part in parts])
    coder = ENCODERS.create(encoder)
    texts = [p.asked_texts(0, p.n_queries) if coder.reads_tools else p.texts for p in parts]
    coder.fit(texts[0])
    features = candidate_features(table.herd)[covered]
    train, test = (
        Rows(coder.encode(read), part.matrix(column)[:, covered], np.asarray(part.benchmarks), features)
        for read, part in zip(texts, parts, strict=True)
    )
    return train, test


def at_hand() -> list[str]:
    """All registered predictors but those whose extra is not installed."""
    names = PREDICTORS.names()
    if find_spec("lightgbm") is None:
        print("boosting: the extra is not installed, left out")
        names.remove("boosting")
    return names


def learned(spec: str, rows: Rows, seed: int) -> Predictor:
    """A predictor by its name, or ``stack:`` and its members joined by ``+``."""
    name, _, members = spec.partition(":")
    made = PREDICTORS.create(name, **({"members": members.split("+")} if members else {}))
    return made.fit(rows.X, rows.Y, seed=seed, candidate_features=rows.features)


def calibration_error(predicted: np.ndarray, observed: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: equal-width bins over pooled pairs."""
    known = np.isfinite(observed)
    p, y = predicted[known].astype(np.float64), observed[known].astype(np.float64)
    place = np.minimum((p * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=p, minlength=bins) - np.bincount(place, weights=y, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def measure(predicted: np.ndarray, train: Rows, rows: Rows, fit_s: float, one_us: float) -> Figures:
    """Figures of predictions for ``rows``; the best single is chosen on ``train``."""
    common = np.isfinite(rows.Y).all(axis=1)
    trained = train.at(np.isfinite(train.Y).all(axis=1))
    names = sorted(set(trained.benchmarks.tolist()))

    def macro(values: np.ndarray, benchmarks: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean([values[benchmarks == n].mean(axis=0) for n in names], axis=0))

    best = int(trained.Y.mean(axis=0).argmax())
    best_macro = int(macro(trained.Y, trained.benchmarks).argmax())
    pick = predicted.argmax(axis=1)[common]
    Y, benchmarks = rows.Y[common], rows.benchmarks[common]
    routed = Y[np.arange(len(Y)), pick]
    by_macro = float(macro(routed, benchmarks))
    return Figures(
        micro=float(routed.mean()),
        micro_gain=float(routed.mean() - Y[:, best].mean()),
        macro=by_macro,
        macro_gain=by_macro - float(macro(Y[:, best_macro], benchmarks)),
        mse=float(np.nanmean((predicted - rows.Y) ** 2)),
        ece=calibration_error(predicted, rows.Y),
        left=float((pick != best).mean()),
        fit_s=fit_s,
        one_us=one_us,
    )


def microseconds(predictor: Predictor, X: np.ndarray, count: int = 300) -> float:
    """Median time of one prediction."""
    spent = []
    for x in X[: count + 20]:
        start = time.perf_counter()
        predictor.predict_one(x)
        spent.append(time.perf_counter() - start)
    return float(np.median(spent[20:])) * 1e6


def cross_validated(name: str, train: Rows, n_folds: int, seed: int) -> Figures:
    """Each training row predicted by a fit on the other folds."""
    fold = np.random.default_rng(seed).permutation(len(train.X)) % n_folds
    predicted = np.zeros(train.Y.shape, dtype=np.float32)
    fit_s, one_us = [], []
    for number in range(n_folds):
        inside = train.at(fold != number)
        start = time.process_time()
        predictor = learned(name, inside, seed)
        fit_s.append(time.process_time() - start)
        predicted[fold == number] = predictor.predict(train.X[fold == number])
        one_us.append(microseconds(predictor, train.X))
    return measure(predicted, train, train, float(np.mean(fit_s)), float(np.median(one_us)))


def averaged(name: str, train: Rows, n_folds: int, n_partitions: int, seed: int) -> str:
    """The line of means over partitions into folds, and the gains' standard deviation over them."""
    found = [cross_validated(name, train, n_folds, seed + number) for number in range(n_partitions)]
    mean = Figures(*np.mean([astuple(figures) for figures in found], axis=0).tolist())
    if n_partitions == 1:
        return mean.line()
    spread = 100 * np.std([(f.micro_gain, f.macro_gain) for f in found], axis=0, ddof=1)
    return f"{mean.line()}  spread {spread[0]:.2f} {spread[1]:.2f}"


def held_out(name: str, train: Rows, test: Rows, seed: int) -> Figures:
    """Trained on the training split, measured on the test split."""
    start = time.process_time()
    predictor = learned(name, train, seed)
    fit_s = time.process_time() - start
    return measure(predictor.predict(test.X), train, test, fit_s, microseconds(predictor, test.X))


def shifted(name: str, train: Rows, seed: int, fewest: int = 100) -> list[str]:
    """One line per benchmark of ``fewest`` queries: gain over the best single of the others."""
    lines = []
    for benchmark in sorted(set(train.benchmarks.tolist())):
        out = train.benchmarks == benchmark
        if out.sum() < fewest or out.all():
            continue
        inside, outside = train.at(~out), train.at(out & np.isfinite(train.Y).all(axis=1))
        best = int(inside.Y[np.isfinite(inside.Y).all(axis=1)].mean(axis=0).argmax())
        predictor = learned(name, inside, seed)
        pick = predictor.predict(outside.X).argmax(axis=1)
        gain = 100 * (outside.Y[np.arange(len(pick)), pick] - outside.Y[:, best])
        error = gain.std() / np.sqrt(len(gain))
        left = 100 * (pick != best).mean()
        lines.append(f"  {benchmark:32s} {len(pick):5d} {gain.mean():+7.2f} ({error:.2f}) {left:5.0f}% left")
    return lines


def few_outcomes(name: str, train: Rows, n_few: int, n_folds: int, seed: int, features: bool) -> float:
    """Squared error on one fold for a candidate that keeps ``n_few`` outcomes; mean over eight of them."""
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(train.X)) % n_folds
    inside, outside = train.at(fold != 0), train.at(fold == 0)
    errors = []
    for j in np.linspace(0, train.Y.shape[1] - 1, min(8, train.Y.shape[1])).astype(int):
        Y = inside.Y.copy()
        known = rng.permutation(np.flatnonzero(np.isfinite(Y[:, j])))
        Y[known[n_few:], j] = np.nan
        rows = Rows(inside.X, Y, inside.benchmarks, inside.features if features else None)
        told = learned(name, rows, seed).predict(outside.X)[:, j]
        errors.append(float(np.nanmean((told - outside.Y[:, j]) ** 2)))
    return float(np.mean(errors))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folders", default=",".join(FOLDERS))
    parser.add_argument("--predictors", default=",".join(at_hand()))
    parser.add_argument("--encoder", default="static")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--partitions", type=int, default=1, help="into folds, each with a seed of its own")
    parser.add_argument("--few", type=int, help="outcomes that a candidate keeps, one candidate at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="use the held-out split (once per table)")
    parser.add_argument("--shift", action="store_true", help="leave one benchmark out at a time")
    options = parser.parse_args()
    for folder in options.folders.split(","):
        if folder != "mmlu_pro" and not (SHARED / folder).is_dir():
            print(f"{folder}: not at hand, left out")
            continue
        train, test = load(folder, options.encoder)
        if options.shift:
            for name in options.predictors.split(","):
                print(f"\n{folder}, {name}: gain on a benchmark left out of training (standard error)")
                print("\n".join(shifted(name, train, options.seed)), flush=True)
            continue
        if options.few is not None:
            print(f"\n{folder}: squared error for a candidate with {options.few} outcomes; features unknown")
            for name in options.predictors.split(","):
                errors = [
                    few_outcomes(name, train, options.few, options.folds, options.seed, known)
                    for known in (True, False)
                ]
                print(f"  {name:12s} {errors[0]:.4f} {errors[1]:.4f}", flush=True)
            continue
        how = f"test, {len(test.X)} queries" if options.test else f"train, {options.folds} folds"
        print(
            f"\n{folder} ({how}; {train.X.shape[0]} x {train.Y.shape[1]} trained on, {train.X.shape[1]} dims)"
        )
        width = max(len(name) for name in options.predictors.split(","))
        print(f"{'':{width}s}  micro   gain   macro   gain     mse     ece  left   fit_s  one_us")
        for name in options.predictors.split(","):
            line = (
                held_out(name, train, test, options.seed).line()
                if options.test
                else averaged(name, train, options.folds, options.partitions, options.seed)
            )
            print(f"{name:{width}s} {line}", flush=True)


if __name__ == "__main__":
    main()
