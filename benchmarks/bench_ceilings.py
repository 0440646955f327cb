"""What a router that sees the query alone could reach, beside what ours reaches.

    python benchmarks/bench_ceilings.py [--herds small,mmlu_pro,routerdc7,bfcl]

On training splits alone; every prediction comes from a stack whose fit has not seen the row (four folds).
Gains are points over the best single candidate of the rows trained on, standard errors in brackets.

learning curve   gain by the share of the training rows, and what more rows would bring: a straight line in
                 the logarithm (which never ends) and a - b / sqrt(rows) (which ends at a); by bootstrap
labels           the mean quality of each candidate per true category or benchmark, the row itself left out
near-duplicates  queries and their nearest other one, by cosine: how far the outcomes of one tell those of the
                 other, and what picking by the neighbour's true outcomes gains
twins            two candidates that are nearly the same model: how often their outcomes differ all the same
chance           outcomes drawn from the calibrated predictions, each candidate for itself and with the
                 residuals' correlation kept: the oracle's gain if the predictions were the whole truth
sharper          calibrated predictions whose differences between candidates are s times as strong: what they
                 would gain, and the AUROC they would have
calibration      expected calibration error, overall, median and worst candidate; and of predictions that are
                 right by construction, since few rows seem uncalibrated by chance
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.static import StaticEncoder
from herdwise.evaluation.averages import Average, query_weights
from herdwise.evaluation.intervals import resampled_means
from herdwise.prediction.base import PREDICTORS
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
N_FOLDS, N_REPEATS, N_DRAWS = 4, 2, 20
#: Herd -> folder, quality column, average, target (gain in points, or share of the gap).
HERDS: dict[str, tuple[str, str, Average, str]] = {
    "mmlu_pro": ("mmlu_pro", "quality", "micro", "gain +2.0"),
    "small": ("mmlu_pro", "quality", "micro", "12% of the gap"),
    "routerdc7": ("routerdc7", "correct", "macro", "60.0 on test, +5.4 over the best single there"),
    "bfcl": ("bfcl", "quality", "micro", "none for quality"),
}
TWINS = (
    ("Mistral-7B-v0.1", "Mistral-7B-v0.2-hf"),
    ("Meta-Llama-3-8B-Instruct", "llama-3-8b-quantized"),
    ("gpt-4-1106-preview", "gpt-4-0125-preview"),
)


@dataclass(frozen=True)
class Rows:
    """Rows that every candidate ran: vectors, outcomes ``(n, m)``, the average that counts, true labels."""

    names: list[str]
    X: np.ndarray
    Y: np.ndarray
    benchmarks: list[str]
    average: Average
    labels: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """What each query counts, together ``n``."""
        return query_weights(self.benchmarks, self.average) * len(self.Y)

    def gain(self, quality: np.ndarray, best: int | np.ndarray) -> np.ndarray:
        """Weighted points over the candidate ``best``, per query."""
        return np.asarray(100 * self.weights * (quality - self.Y[np.arange(len(self.Y)), best]))

    @property
    def best(self) -> int:
        """The best single candidate of all rows."""
        return int((self.weights[:, None] * self.Y).sum(axis=0).argmax())

    def picked(self, scores: np.ndarray) -> np.ndarray:
        """Outcome of each query's highest score."""
        return np.asarray(self.Y[np.arange(len(self.Y)), scores.argmax(axis=1)])


def read(herd: str) -> Rows | None:
    """Training rows of a herd; None where its folder is not at hand."""
    folder, column, average, _ = HERDS[herd]
    if folder != "mmlu_pro" and not (SHARED / folder).is_dir():
        print(f"{herd}: not at hand, left out")
        return None
    table: OutcomeTable = read_outcomes(folder if folder == "mmlu_pro" else SHARED / folder).split("train")
    covered = table.coverage(column) >= 0.95
    small = [c.open_weights and c.params_b is not None and c.params_b <= 13 for c in table.herd]
    kept = [
        c.name
        for c, enough, few in zip(table.herd, covered, small, strict=True)
        if enough and (few or herd != "small")
    ]
    table = table.restrict(kept)
    table = table.take(np.flatnonzero(np.isfinite(table.matrix(column)).all(axis=1)))
    X = StaticEncoder().encode(table.asked_texts(0, table.n_queries))
    labels = table.categories if folder == "mmlu_pro" else table.benchmarks
    return Rows(
        kept, X, np.array(table.matrix(column)), list(table.benchmarks), average, np.array(labels, dtype=str)
    )


def said(values: np.ndarray, rows: Rows) -> str:
    """Mean of per-query points and its standard error; under the macro average the benchmarks stay."""
    draws = resampled_means((values / rows.weights)[:, None], rows.benchmarks, rows.average, n_resamples=400)
    return f"{values.mean():+6.2f} ({draws.std():.2f})"


def held_out(rows: Rows, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions ``(n, m)`` of each row by a fit on a share of the other folds; its best single ``(n,)``."""
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(rows.Y)) % N_FOLDS
    predicted, best = np.zeros(rows.Y.shape, dtype=np.float32), np.zeros(len(rows.Y), dtype=int)
    for number in range(N_FOLDS):
        inside = np.flatnonzero(fold != number)
        inside = rng.permutation(inside)[: max(int(share * len(inside)), 50)]
        learner = PREDICTORS.create("stack").fit(rows.X[inside], rows.Y[inside], seed=seed)
        predicted[fold == number] = learner.predict(rows.X[fold == number])
        best[fold == number] = (rows.weights[inside, None] * rows.Y[inside]).sum(axis=0).argmax()
    return predicted, best


def learning_curve(rows: Rows) -> np.ndarray:
    """Prints it; gives predictions with all training rows, of the first repeat."""
    gains = np.zeros((len(SHARES), len(rows.Y)))
    full = np.zeros(rows.Y.shape, dtype=np.float32)
    for place, share in enumerate(SHARES):
        for repeat in range(N_REPEATS):
            predicted, best = held_out(rows, share, seed=repeat)
            gains[place] += rows.gain(rows.picked(predicted), best) / N_REPEATS
            if share == 1.0 and repeat == 0:
                full = predicted
    n = len(rows.Y) * (1 - 1 / N_FOLDS) * np.array(SHARES)
    print(
        "  learning curve, rows and gain: "
        + ", ".join(f"{int(k)}: {said(g, rows).strip()}" for k, g in zip(n, gains, strict=True))
    )
    draws = resampled_means((gains / rows.weights).T, rows.benchmarks, rows.average, n_resamples=1000)
    for name, basis, at in (
        ("a + b log2(rows)", np.log2(n / n[-1]), {"4 times": 2.0, "16 times": 4.0}),
        ("a - b / sqrt(rows)", -((n / n[-1]) ** -0.5), {"4 times": -0.5, "any number of": 0.0}),
    ):
        A = np.stack([np.ones_like(n), basis], axis=1)
        fitted = np.linalg.lstsq(A, draws.T, rcond=None)[0]
        told = {k: fitted[0] + v * fitted[1] for k, v in at.items()}
        print(
            f"    {name}: "
            + ", ".join(f"{k} these rows {v.mean():+.2f} ({v.std():.2f})" for k, v in told.items())
        )
    return full


def label_tables(rows: Rows) -> None:
    """What knowing the true label is worth."""
    names, place = np.unique(rows.labels, return_inverse=True)
    if len(names) < 2:
        return
    member = np.eye(len(names))[place]
    total, count = member.T @ rows.Y, member.sum(axis=0)[:, None]
    mean = rows.Y.mean(axis=0)
    scores = (total[place] - rows.Y + 10 * mean) / (count[place] - 1 + 10)
    print(f"  true label ({len(names)}) known: {said(rows.gain(rows.picked(scores), rows.best), rows)}")


def near_duplicates(rows: Rows, predicted: np.ndarray) -> None:
    """What the true outcomes of a like query tell."""
    Z = rows.X / np.maximum(np.linalg.norm(rows.X, axis=1, keepdims=True), 1e-9)
    cosine, other = np.full(len(Z), -1.0), np.zeros(len(Z), dtype=int)
    for start in range(0, len(Z), 1000):
        part = Z[start : start + 1000] @ Z.T
        part[np.arange(len(part)), np.arange(start, start + len(part))] = -1.0
        other[start : start + len(part)] = part.argmax(axis=1)
        cosine[start : start + len(part)] = part.max(axis=1)
    mean = rows.Y.mean(axis=0)
    for low, high in pairwise((0.7, 0.8, 0.9, 0.95, 0.9999, 2.0)):
        some = np.flatnonzero((cosine > low) & (cosine <= high))
        name = "the same text" if high > 1 else f"cosine {low} to {high}"
        if len(some) < 30:
            print(f"  near-duplicates, {name}: {len(some)} queries, too few")
            continue
        part = Rows(
            rows.names,
            rows.X[some],
            rows.Y[some],
            [rows.benchmarks[i] for i in some],
            "micro",
            rows.labels[some],
        )
        Y, there = part.Y, rows.Y[other[some]]
        # What a candidate's outcomes have in common beyond its mean, and its advantages over the others.
        alike = _correlation(Y - mean, there - mean)
        differing = _correlation(*(v - mean - (v - mean).mean(axis=1, keepdims=True) for v in (Y, there)))
        right = there.max(axis=1) > 0.5
        repeats = Y[np.arange(len(Y)), (there + 0.01 * mean).argmax(axis=1)]
        print(
            f"  near-duplicates, {name}: {len(some)} queries; outcomes correlate {alike:.2f},"
            f" advantages {differing:.2f}; the neighbour's best is right again in"
            f" {100 * repeats[right].mean():.0f}%"
        )
        best = int(Y.mean(axis=0).argmax())
        for what, quality in (
            ("ours", part.picked(predicted[some])),
            ("the neighbour's outcomes", repeats),
            ("oracle", Y.max(axis=1)),
        ):
            print(f"    {what:30s} {said(part.gain(quality, best), part)}")


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of deviations around zero."""
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def twins(rows: Rows) -> None:
    """Nearly the same model twice: what differs between them is chance to any router."""
    for pair in TWINS:
        if not set(pair) <= set(rows.names):
            continue
        a, b = (rows.Y[:, rows.names.index(name)] for name in pair)
        better = max(a.mean(), b.mean())
        print(
            f"  twins {' and '.join(pair)}: {100 * a.mean():.1f}, {100 * b.mean():.1f}; differ on"
            f" {100 * np.abs(a - b).mean():.1f}%, correlation {np.corrcoef(a, b)[0, 1]:.2f}; their oracle"
            f" {100 * (np.maximum(a, b).mean() - better):+.1f} over the better"
        )


def chance(rows: Rows, predicted: np.ndarray, rng: np.random.Generator) -> None:
    """Oracle gains of outcomes that are drawn from the predictions."""
    P = np.clip(predicted, 0.001, 0.999)
    known = said(rows.gain(P.max(axis=1) - P[:, rows.best] + rows.Y[:, rows.best], rows.best), rows)
    real = rows.gain(rows.Y.max(axis=1), rows.best)
    residual = rows.Y - P
    observed = np.corrcoef(residual.T)
    off = ~np.eye(len(observed), dtype=bool)
    level, latent = float(observed[off].mean()), observed.copy()
    # Thresholding weakens correlation: the latent one is raised until the drawn residuals have the observed.
    for _ in range(3):
        drawn = np.mean([np.corrcoef((_draw(P, latent, rng) - P).T)[off].mean() for _ in range(3)])
        latent[off] = np.clip(latent[off] * level / max(drawn, 1e-3), -0.99, 0.99)
    print(f"  oracle {said(real, rows)}; the predictions' own expectation of their picks {known}")
    for what, matrix in (
        ("each for itself", np.eye(len(observed))),
        (f"correlated as the residuals, {level:.2f}", latent),
    ):
        gains = np.zeros(len(P))
        for _ in range(N_DRAWS):
            Y = _draw(P, matrix, rng)
            gains += 100 * rows.weights * (Y.max(axis=1) - Y[:, rows.best]) / N_DRAWS
        print(
            f"    oracle of outcomes drawn from them, {what}: {gains.mean():+.2f}, that is"
            f" {100 * gains.mean() / real.mean():.0f}% of the real one"
        )


def _draw(P: np.ndarray, latent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Outcomes ``(n, m)``, 0 or 1, of these probabilities, with a Gaussian copula."""
    size, basis = np.linalg.eigh(latent)
    root = basis * np.sqrt(np.maximum(size, 1e-6))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    normal = rng.standard_normal(P.shape) @ root.T
    # Distribution function of the normal by its logistic approximation (Bowling et al. 2009; error 1e-4).
    uniform = 1 / (1 + np.exp(-(1.5976 * normal + 0.07056 * normal**3)))
    return np.asarray((uniform < P).astype(np.float32))


def sharper(rows: Rows, predicted: np.ndarray) -> None:
    """What stronger differences between candidates would gain, were they true."""
    P = np.clip(predicted.astype(np.float64), 0.01, 0.99)
    logit = np.log(P / (1 - P))
    offset = logit.mean(axis=0)
    level = (logit - offset).mean(axis=1, keepdims=True)
    deviation = logit - offset - level
    for strength in (1.0, 1.5, 2.0, 3.0):
        shift = offset.copy()
        for _ in range(20):  # each candidate keeps its mean
            Q = 1 / (1 + np.exp(-(shift + level + strength * deviation)))
            shift += 4 * (P.mean(axis=0) - Q.mean(axis=0))
        gain = 100 * float((rows.weights * (Q.max(axis=1) - Q[:, rows.best])).mean())
        spread = float(np.var(strength * deviation) / np.var(deviation))
        print(
            f"  differences {strength:.1f} times as strong ({spread:.1f} times the variance): {gain:+.2f},"
            f" AUROC per candidate {np.mean([_auroc(q) for q in Q.T]):.3f}"
        )
    scores = [_area(p, y) for p, y in zip(predicted.T, rows.Y.T, strict=True) if 0 < (y > 0.5).sum() < len(y)]
    print(f"    (measured AUROC per candidate {np.mean(scores):.3f})")


def _auroc(q: np.ndarray) -> float:
    """Expected AUROC of probabilities that are true."""
    order = np.sort(q)
    wrong = np.cumsum(1 - order) - (1 - order) / 2
    return float((order * wrong).sum() / (order.sum() * (1 - order).sum()))


def _area(p: np.ndarray, y: np.ndarray) -> float:
    order = np.argsort(p, kind="stable")
    right = y[order] > 0.5
    wrong_below = np.cumsum(~right)
    return float(wrong_below[right].sum() / (right.sum() * (~right).sum()))


def calibration(rows: Rows, predicted: np.ndarray, rng: np.random.Generator) -> None:
    """Expected calibration errors, and those of outcomes that follow the predictions."""
    for what, Y in (("", rows.Y), (", by chance alone", _draw(predicted, np.eye(len(rows.names)), rng))):
        each = np.array([_ece(p, y) for p, y in zip(predicted.T, Y.T, strict=True)])
        whole, worst = _ece(predicted.ravel(), Y.ravel()), int(each.argmax())
        print(
            f"  calibration error{what}: overall {whole:.4f}, per candidate median {np.median(each):.4f},"
            f" worst {each[worst]:.4f} ({rows.names[worst]})"
        )


def _ece(p: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    place = np.minimum((p.astype(np.float64) * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=p, minlength=bins) - np.bincount(place, weights=y, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def main() -> None:
    """Print what each herd allows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--herds", default="mmlu_pro,small,routerdc7")
    started = time.perf_counter()
    for herd in parser.parse_args().herds.split(","):
        rows = read(herd)
        if rows is None:
            continue
        alone = (rows.weights * rows.Y[:, rows.best]).mean()
        print(
            f"\n{herd} ({len(rows.Y)} queries, {len(rows.names)} candidates; best single"
            f" {rows.names[rows.best]} {100 * alone:.2f}; target: {HERDS[herd][3]})",
            flush=True,
        )
        rng = np.random.default_rng(0)
        predicted = learning_curve(rows)
        label_tables(rows)
        near_duplicates(rows, predicted)
        twins(rows)
        chance(rows, predicted, rng)
        sharper(rows, predicted)
        calibration(rows, predicted, rng)
        print(f"  ({time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
