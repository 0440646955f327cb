"""Multi-task ridge with NaN in the targets: one factorisation per pattern of missing outcomes.

Each principal direction of the targets is shrunk on its own. Its strength is chosen by exact leave-one-out
error (the hat matrix's diagonal), so that no refit is needed, and the left-out predictions come for free: a
stack learns its weights from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Tried strengths, multiples of the mean eigenvalue of the features' scatter; the last is "the mean".
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e5)

#: Columns that lack at most this share of rows are fitted together, the gaps filled by a first fit.
MISSING = 0.05


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
    Z: np.ndarray,
    Y: np.ndarray,
    means: np.ndarray,
    strengths: tuple[float, ...] = STRENGTHS,
    *,
    together: bool = False,
) -> LeastSquares:
    """Fit all candidates; those that cover the same, or nearly all, rows share factorisation and strength.

    Args:
        Z: ``(n, p)`` features, finite.
        Y: ``(n, m)`` targets, NaN = not run.
        means: ``(m,)`` prediction for a candidate without any outcome, and leaving a single one out.
        strengths: multiples to choose from.
        together: one strength for all directions of the targets, as a single number for other uses.
    """
    n, m = Y.shape
    weights = np.zeros((Z.shape[1], m), dtype=np.float32)
    offset = np.array(means, dtype=np.float32)
    left_out = np.tile(offset, (n, 1))
    chosen = np.full(m, strengths[-1])
    known = np.isfinite(Y)
    for columns in _patterns(known):
        rows = known[:, columns].any(axis=1)
        if rows.sum() < 2:
            continue
        part = _solve_nearly_dense(Z[rows], Y[np.ix_(rows, columns)], strengths, together)
        weights[:, columns], offset[columns] = part.weights, part.offset
        left_out[:, columns] = Z @ part.weights + part.offset
        left_out[np.ix_(rows, columns)] = part.left_out
        chosen[columns] = part.strength
    return LeastSquares(weights, offset, left_out, chosen)


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
    Z: np.ndarray, Y: np.ndarray, strengths: tuple[float, ...], together: bool
) -> LeastSquares:
    """Fill the few missing targets by the mean, fit, fill by the fit's left-out predictions, fit again."""
    known = np.isfinite(Y)
    centre = Z.mean(axis=0)
    centred = np.ascontiguousarray(Z - centre, dtype=np.float32)
    eigenvalues, basis = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    eigenvalues = np.maximum(eigenvalues, 0.0)
    factors = _Factors(centre, eigenvalues, basis, centred @ basis.astype(np.float32))
    part = _solve_dense(factors, np.where(known, Y, np.nanmean(Y, axis=0)), known, strengths, together)
    if known.all():
        return part
    return _solve_dense(factors, np.where(known, Y, part.left_out), known, strengths, together)


@dataclass(frozen=True)
class _Factors:
    """Centre, eigenvalues and eigenvectors of the features' scatter, and the rotated features."""

    centre: np.ndarray
    eigenvalues: np.ndarray
    basis: np.ndarray
    rotated: np.ndarray


def _solve_dense(
    factors: _Factors, Y: np.ndarray, known: np.ndarray, strengths: tuple[float, ...], together: bool
) -> LeastSquares:
    """One strength for each principal direction of the targets.

    What all candidates share (how hard a query is) can be foretold far better than how they differ; shrunk
    together, the differences, which routing lives on, would be fitted to noise. So the targets are rotated
    to their principal directions and each direction finds its own strength.
    """
    eigenvalues, rotated = factors.eigenvalues, factors.rotated
    n, m = Y.shape
    level = Y.mean(axis=0)
    centred = (Y - level).astype(np.float32)
    _, turn = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    turn = turn.astype(np.float32)
    target = centred @ turn
    complete = np.asarray(known.all(axis=1))
    if not complete.any():
        complete = np.ones(n, dtype=bool)
    scale = max(float(eigenvalues.mean()), 1e-12)
    projected = (rotated.T @ target).astype(np.float64)
    squared = rotated * rotated

    def residual_at(strength: float, columns: np.ndarray) -> np.ndarray:
        # Leave-one-out residual of a linear smoother: r_i / (1 - h_i). Numerically h_i may touch 1.
        shrink = 1.0 / (eigenvalues + strength * scale)
        leverage = 1.0 / n + squared @ shrink.astype(np.float32)
        fitted = rotated @ (shrink[:, None] * projected[:, columns]).astype(np.float32)
        return np.asarray((target[:, columns] - fitted) / np.maximum(1.0 - leverage, 1e-3)[:, None])

    everything = np.arange(m)
    errors = np.stack(
        [np.mean(residual_at(s, everything)[complete].astype(np.float64) ** 2, axis=0) for s in strengths]
    )
    if together:
        errors = np.repeat(errors.sum(axis=1, keepdims=True), m, axis=1)
    # The strongest shrinkage whose error is the least but for chance (2 / n): without signal, the mean.
    good = errors <= errors.min(axis=0) * (1.0 + 2.0 / n) + 1e-12
    picked = len(strengths) - 1 - good[::-1].argmax(axis=0)
    chosen = np.asarray(strengths)[picked]
    left_out = np.empty_like(target)
    for place in np.unique(picked):
        columns = np.flatnonzero(picked == place)
        left_out[:, columns] = target[:, columns] - residual_at(strengths[place], columns)
    solved = projected / (eigenvalues[:, None] + chosen * scale)
    weights = (factors.basis @ (solved @ turn.T)).astype(np.float32)
    offset = (level - factors.centre @ weights).astype(np.float32)
    back = (left_out @ turn.T + level).astype(np.float32)
    return LeastSquares(weights, offset, back, float(np.exp(np.log(chosen).mean())) * np.ones(m))
