"""Multi-task ridge with NaN in the targets: one factorisation per pattern of missing outcomes.

Each principal direction of the targets is shrunk on its own. Its strength is chosen by exact leave-one-out
error (the hat matrix's diagonal), so that no refit is needed, and the left-out predictions come for free: a
stack learns its weights from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from herdwise.prediction.feature_blocks import FeatureBlocks
from herdwise.prediction.feature_factors import Factors
from herdwise.prediction.scattered import solve_scattered

#: Tried strengths, multiples of the mean eigenvalue of the features' scatter; the last is "the mean".
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e5)

#: Columns that lack at most this share of rows are fitted together, the gaps filled by a first fit.
MISSING = 0.05

#: Patterns of missing rows, each with a factorisation of its own, up to here.
MANY_PATTERNS = 40
#: Columns whose strength is looked for where patterns are many.
_TRIALS = 24


@dataclass(frozen=True)
class LeastSquares:
    """A fitted ``Z @ weights + offset``.

    Args:
        weights: ``(p, m)`` float32.
        offset: ``(m,)`` float32.
        left_out: ``(n, m)`` predictions of each row by a fit without it (where it had no target: by the fit).
        strength: ``(m,)`` chosen multiples of the mean eigenvalue, averaged geometrically over directions.
    """

    weights: np.ndarray
    offset: np.ndarray
    left_out: np.ndarray
    strength: np.ndarray


def solve(
    Z: np.ndarray | FeatureBlocks,
    Y: np.ndarray,
    means: np.ndarray,
    strengths: tuple[float, ...] = STRENGTHS,
    *,
    together: bool = False,
) -> LeastSquares:
    """Fit all candidates; those that cover the same, or nearly all, rows share factorisation and strength.

    Where the rows fall into more than ``MANY_PATTERNS`` patterns, those that cover less are fitted by
    ``solve_scattered``: a factorisation for each would take longer than all the rest.

    Args:
        Z: ``(n, p)`` features, finite.
        Y: ``(n, m)`` targets, NaN = not run.
        means: ``(m,)`` prediction for a candidate without any outcome, and leaving a single one out.
        strengths: multiples to choose from.
        together: one strength for all directions of the targets, as a single number for other uses.
    """
    features = Z if isinstance(Z, FeatureBlocks) else FeatureBlocks.of(Z)
    n, m = Y.shape
    weights = np.zeros((features.n_features, m), dtype=np.float32)
    offset = np.array(means, dtype=np.float32)
    left_out = np.tile(offset, (n, 1))
    chosen = np.full(m, strengths[-1])
    known = np.isfinite(Y)
    groups = _patterns(known)
    scattered: list[np.ndarray] = []
    if len(groups) > MANY_PATTERNS:
        scattered = [columns for columns in groups if known[:, columns[0]].mean() < 1.0 - MISSING]
        groups = [columns for columns in groups if known[:, columns[0]].mean() >= 1.0 - MISSING]
    for columns in groups:
        rows = known[:, columns].any(axis=1)
        if rows.sum() < 2:
            continue
        part = _solve_nearly_dense(features.among(rows), Y[np.ix_(rows, columns)], strengths, together)
        weights[:, columns], offset[columns] = part.weights, part.offset
        if not rows.all():
            others = np.flatnonzero(~rows)
            for place, block in features.among(~rows):
                left_out[np.ix_(others[place], columns)] = block @ part.weights + part.offset
        left_out[np.ix_(rows, columns)] = part.left_out
        chosen[columns] = part.strength
    if scattered:
        columns = np.sort(np.concatenate(scattered))
        columns = columns[known[:, columns].sum(axis=0) >= 2]
        trial = columns[np.linspace(0, len(columns) - 1, min(_TRIALS, len(columns))).astype(int)]
        tried = [_solve_column(features, Y[:, j], strengths) for j in trial]
        factors = Factors.of(features)
        penalty = float(np.exp(np.mean([np.log(absolute) for absolute, _ in tried])))
        weights[:, columns], offset[columns], left_out[:, columns] = solve_scattered(
            factors, Y[:, columns], penalty
        )
        chosen[columns] = np.exp(np.mean([np.log(relative) for _, relative in tried]))
    return LeastSquares(weights, offset, left_out, chosen)


def _solve_column(
    features: FeatureBlocks, y: np.ndarray, strengths: tuple[float, ...]
) -> tuple[float, float]:
    """The strength that one column chooses, as a penalty and as a multiple of the mean eigenvalue."""
    rows = np.isfinite(y)
    factors = Factors.of(features.among(rows))
    fit = _solve_dense(factors, y[rows, None], rows[rows, None], strengths, together=False)
    relative = float(fit.strength[0])
    return relative * factors.scale, relative


def _patterns(known: np.ndarray) -> list[np.ndarray]:
    """Groups of columns: those known in nearly all rows together, the others by identical rows."""
    nearly = known.mean(axis=0) >= 1.0 - MISSING
    groups = [np.flatnonzero(nearly)] if nearly.any() else []
    rest = np.flatnonzero(~nearly)
    if len(rest):
        _, pattern = np.unique(np.packbits(known[:, rest], axis=0), axis=1, return_inverse=True)
        pattern = np.ravel(pattern)
        groups += [rest[pattern == number] for number in range(int(pattern.max()) + 1)]
    return groups


def _solve_nearly_dense(
    features: FeatureBlocks, Y: np.ndarray, strengths: tuple[float, ...], together: bool
) -> LeastSquares:
    """Fill the few missing targets by the mean, fit, fill by the fit's left-out predictions, fit again."""
    known = np.isfinite(Y)
    factors = Factors.of(features)
    part = _solve_dense(factors, np.where(known, Y, np.nanmean(Y, axis=0)), known, strengths, together)
    if known.all():
        return part
    return _solve_dense(factors, np.where(known, Y, part.left_out), known, strengths, together)


def _solve_dense(
    factors: Factors, Y: np.ndarray, known: np.ndarray, strengths: tuple[float, ...], together: bool
) -> LeastSquares:
    """One strength for each principal direction of the targets.

    What all candidates share (how hard a query is) can be foretold far better than how they differ; shrunk
    together, the differences, which routing lives on, would be fitted to noise. So the targets are rotated
    to their principal directions and each direction finds its own strength.
    """
    eigenvalues = factors.eigenvalues
    n, m = Y.shape
    level = Y.mean(axis=0)
    centred = (Y - level).astype(np.float32)
    _, turn = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    turn = turn.astype(np.float32)
    target = centred @ turn
    complete = np.asarray(known.all(axis=1))
    if not complete.any():
        complete = np.ones(n, dtype=bool)
    scale = factors.scale
    projected = factors.against(target)

    def residual_at(
        strength: float, columns: np.ndarray | slice, rotated: np.ndarray, place: slice
    ) -> np.ndarray:
        # Leave-one-out residual of a linear smoother: r_i / (1 - h_i). Numerically h_i may touch 1.
        shrink = 1.0 / (eigenvalues + strength * scale)
        leverage = 1.0 / n + (rotated * rotated) @ shrink.astype(np.float32)
        fitted = rotated @ (shrink[:, None] * projected[:, columns]).astype(np.float32)
        return np.asarray((target[place, columns] - fitted) / np.maximum(1.0 - leverage, 1e-3)[:, None])

    errors = np.zeros((len(strengths), m))
    for place, rotated in factors.rotated():
        for number, strength in enumerate(strengths):
            residual = residual_at(strength, slice(None), rotated, place)[complete[place]]
            errors[number] += np.einsum("ij,ij->j", residual, residual, dtype=np.float64)
    errors /= complete.sum()
    if together:
        errors = np.repeat(errors.sum(axis=1, keepdims=True), m, axis=1)
    # The strongest shrinkage whose error is the least but for chance (2 / n): without signal, the mean.
    good = errors <= errors.min(axis=0) * (1.0 + 2.0 / n) + 1e-12
    picked = len(strengths) - 1 - good[::-1].argmax(axis=0)
    chosen = np.asarray(strengths)[picked]
    back = np.empty_like(target)
    for place, rotated in factors.rotated():
        left_out = np.empty_like(target[place])
        for number in np.unique(picked):
            columns = np.flatnonzero(picked == number)
            left_out[:, columns] = target[place, columns] - residual_at(
                strengths[number], columns, rotated, place
            )
        back[place] = left_out @ turn.T + level
    solved = projected / (eigenvalues[:, None] + chosen * scale)
    weights = (factors.basis @ (solved @ turn.T)).astype(np.float32)
    offset = (level - factors.centre @ weights).astype(np.float32)
    return LeastSquares(weights, offset, back, float(np.exp(np.log(chosen).mean())) * np.ones(m))
