"""Ridge of many targets, each known in rows of its own: conjugate gradients on all of them at once.

A factorisation per target takes p^3 each and a pass over its rows. Here one factorisation of all rows'
features serves every target: it is nearly right for each up to the share of rows that the target has, and so
a few steps of conjugate gradients with it (Hestenes and Stiefel 1952, preconditioned by its diagonal) reach
the exact solution.
"""

from __future__ import annotations

import numpy as np

from herdwise.prediction.feature_factors import Factors

_MOST_STEPS = 25
#: Relative residual at which a target is solved.
_TOLERANCE = 1e-3


def solve_scattered(
    factors: Factors, Y: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit all targets with the same penalty on the squared weights; offsets are free.

    The left-out predictions take a row's leverage from the scatter of all rows, scaled to the target's share
    of them: right where its rows are a random part of all.

    Args:
        factors: of all rows' features.
        Y: ``(n, m)`` targets, NaN = not known; at least one in each column.
        penalty: on the squared weights.

    Returns:
        ``(p, m)`` weights, ``(m,)`` offsets, ``(n, m)`` left-out predictions, float32.
    """
    count = np.isfinite(Y).sum(axis=0)
    level = np.nansum(Y, axis=0, dtype=np.float64) / count
    share = count / len(Y)
    # The last row belongs to the offset, which is not penalised.
    scale = np.concatenate([np.outer(factors.eigenvalues, share) + penalty, count[None]]).astype(np.float32)

    def applied(weights: np.ndarray) -> np.ndarray:
        """(Z'Z + penalty) weights, each target over its own rows."""
        result = np.concatenate([penalty * weights[:-1], np.zeros((1, len(count)), dtype=np.float32)])
        for place, rotated in factors.rotated():
            fitted = rotated @ weights[:-1]
            fitted += weights[-1]
            fitted *= np.isfinite(Y[place])
            result[:-1] += rotated.T @ fitted
            result[-1] += fitted.sum(axis=0)
        return result

    residual = np.zeros((len(factors.eigenvalues) + 1, len(count)), dtype=np.float32)
    for place, rotated in factors.rotated():
        residual[:-1] += rotated.T @ np.nan_to_num(Y[place] - level.astype(np.float32))
    weights = np.zeros_like(residual)
    wanted = _TOLERANCE * np.maximum(np.linalg.norm(residual, axis=0), 1e-12)
    step = residual / scale
    direction, size = step, np.einsum("ij,ij->j", residual, step)
    for _ in range(_MOST_STEPS):
        if (np.linalg.norm(residual, axis=0) <= wanted).all():
            break
        image = applied(direction)
        curvature = np.einsum("ij,ij->j", direction, image)
        length = np.where(curvature > 0, size / np.maximum(curvature, 1e-30), 0.0).astype(np.float32)
        weights += length * direction
        residual -= length * image
        step = residual / scale
        before, size = size, np.einsum("ij,ij->j", residual, step)
        direction = step + (size / np.maximum(before, 1e-30)).astype(np.float32) * direction

    left_out = np.empty(Y.shape, dtype=np.float32)
    offset = (level + weights[-1]).astype(np.float32)
    for place, rotated in factors.rotated():
        fitted = rotated @ weights[:-1] + offset
        leverage = (rotated * rotated) @ (1.0 / scale[:-1]) + 1.0 / scale[-1]
        missed = np.where(np.isfinite(Y[place]), Y[place] - fitted, 0.0)
        left_out[place] = fitted - missed * leverage / np.maximum(1.0 - leverage, 1e-2)
    back = (factors.basis @ weights[:-1]).astype(np.float32)
    return back, (offset - factors.centre @ back).astype(np.float32), left_out
