"""How the quantiles of cost, latency and length were chosen: forms of the residuals, directions, joint fits.

    python benchmarks/bench_limits_choice.py

Three folds of the training splits of bfcl, routerbench_partial and mmlu_pro. First the pinball loss at 0.5,
0.9 and 0.95 against quantiles that are constant per candidate, and the coverage at 0.9 within quarters by
prediction. Then the squared error of the logarithm against that of the candidates' means, by the number of
the vectors' directions, for candidates fitted together and each alone. Folders other than mmlu_pro are taken
from ../shared/outcomes, and left out where that does not exist.
"""

from __future__ import annotations

import warnings

import numpy as np

from bench_limits import FOLDERS, SHARED, parts, pinball, recorded
from herdwise.encoding.static import StaticEncoder
from herdwise.prediction.least_squares import solve
from herdwise.prediction.resources_quantiles import LEVELS as KEPT
from herdwise.prediction.resources_quantiles import joined_quantiles, log_scale, weighted_quantiles

LEVELS = np.array([0.5, 0.9, 0.95])
DIRECTIONS = (16, 48, 96)


def directed(
    X: np.ndarray, length: np.ndarray, fresh: np.ndarray, fresh_length: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Leading principal directions of the training rows, and the length, of training and fresh rows."""
    centre = X.mean(axis=0)
    basis = np.linalg.eigh(((X - centre).T @ (X - centre)).astype(np.float64))[1][:, ::-1][:, :count]
    spread = float(((X - centre) @ basis[:, :1]).std())
    middle, width = length.mean(), length.std()
    made = [
        np.concatenate([(V - centre) @ basis / spread, ((n - middle) / width)[:, None]], axis=1)
        for V, n in ((X, length), (fresh, fresh_length))
    ]
    return made[0].astype(np.float32), made[1].astype(np.float32)


def quantiles(own: np.ndarray, wider: np.ndarray | None = None) -> np.ndarray:
    """Conformal quantiles at ``LEVELS``, shrunk to a wider distribution where there is one."""
    if wider is None:
        return weighted_quantiles(own, np.ones(len(own)), LEVELS)
    joined = joined_quantiles(own, np.quantile(wider, (np.arange(99) + 0.5) / 99))
    return np.array([np.interp(p, KEPT, joined) for p in LEVELS])


def grouped(predicted: np.ndarray, z: np.ndarray, fresh: np.ndarray, count: int) -> np.ndarray:
    """``(n_fresh, len(LEVELS))`` quantiles of each query's group of predictions."""
    edges = np.quantile(predicted, np.arange(1, count) / count)
    group = np.searchsorted(edges, predicted)
    table = np.stack([quantiles(z[group == g], z) for g in range(count)])
    return np.asarray(table[np.searchsorted(edges, fresh)])


def forms(F: np.ndarray, G: np.ndarray, y: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name of a form -> quantiles ``(n_fresh, len(LEVELS))`` and predictions of one candidate, logarithms."""
    fit = solve(F, y[:, None], np.array([y.mean()]))
    left = np.clip(fit.left_out[:, 0], y.min(), y.max())
    fresh = np.clip(G @ fit.weights[:, 0] + fit.offset[0], y.min(), y.max())
    residual = y - left
    size = log_scale(residual[:, None])
    scaled = solve(F, size, size.mean(axis=0))
    low, high = size.min(), size.max()
    z = residual / np.exp(np.clip(scaled.left_out[:, 0], low, high))
    scale = np.exp(np.clip(G @ scaled.weights[:, 0] + scaled.offset[0], low, high))[:, None]
    centre = fresh[:, None]
    found = {
        "constant": np.tile(quantiles(y), (len(G), 1)),
        "one distribution": centre + quantiles(residual),
        "groups of five": centre + grouped(left, residual, fresh, 5),
        "scale": centre + scale * quantiles(z),
        "scale, groups of three": centre + scale * grouped(left, z, fresh, 3),
        "scale, groups of five": centre + scale * grouped(left, z, fresh, 5),
    }
    return {name: (np.clip(q, y.min(), y.max()), fresh) for name, q in found.items()}


def main() -> None:
    """Print the tables."""
    encoder = StaticEncoder()
    for name in FOLDERS:
        if name != "mmlu_pro" and not (SHARED / name).is_dir():
            print(f"{name}: not at hand, left out")
            continue
        losses: dict[tuple[str, str], list[list[float]]] = {}
        quarters: dict[tuple[str, str], list[list[float]]] = {}
        errors: dict[tuple[str, int, str], list[float]] = {}
        for train, held in parts(name, test=False):
            lengths = [np.log1p([float(q.input_tokens) for q in t.queries()]) for t in (train, held)]
            X, fresh = encoder.encode(train.texts), encoder.encode(held.texts)
            features = {count: directed(X, lengths[0], fresh, lengths[1], count) for count in DIRECTIONS}
            for kind in ("cost_usd", "latency_s", "output_tokens"):
                value, truth = recorded(train, kind), recorded(held, kind)
                columns = np.flatnonzero(np.isfinite(value).mean(axis=0) > 0.5)
                if not len(columns):
                    continue
                value, truth = value[:, columns], truth[:, columns]
                floor = 1e-3 * np.nan_to_num(
                    np.nanmedian(np.where(value > 0, value, np.nan), axis=0), nan=1e-9
                )
                Y, T = np.log(np.maximum(value, floor)), np.log(np.maximum(truth, floor))
                F, G = features[DIRECTIONS[0]]
                for j in range(len(columns)):
                    there, known = np.isfinite(Y[:, j]), np.isfinite(T[:, j])
                    for form, (q, centre) in forms(F[there], G[known], Y[there, j]).items():
                        t = T[known, j]
                        lost = [pinball(np.exp(t), np.exp(q[:, i]), p) for i, p in enumerate(LEVELS)]
                        losses.setdefault((kind, form), []).append(lost)
                        cut = np.array_split(np.argsort(centre), 4)
                        kept = [float((t <= q[:, 1] + 1e-9)[part].mean()) for part in cut]
                        quarters.setdefault((kind, form), []).append(kept)
                means = np.nanmean(Y, axis=0)
                for count in DIRECTIONS:
                    F, G = features[count]
                    each = np.empty_like(T)
                    for j in range(len(columns)):
                        there = np.isfinite(Y[:, j])
                        fit = solve(F[there], Y[there, j][:, None], means[j : j + 1])
                        each[:, j] = G @ fit.weights[:, 0] + fit.offset[0]
                    fit = solve(F, Y, means)
                    for how, got in (("together", G @ fit.weights + fit.offset), ("each", each)):
                        share = np.nanmean((T - got) ** 2) / np.nanmean((T - means) ** 2)
                        errors.setdefault((kind, count, how), []).append(float(share))
        for (kind, form), rows in losses.items():
            shares = np.mean(rows, axis=0) / np.mean(losses[kind, "constant"], axis=0)
            kept = np.mean(quarters[kind, form], axis=0)
            print(f"{name} {kind:14s} {form:24s} pinball {shares.round(3)} coverage {kept.round(3)}")
        for (kind, count, how), share in errors.items():
            print(f"{name} {kind:14s} {count} directions, {how:9s} squared error {np.mean(share):.3f}")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a candidate that always answered with nothing
        main()
