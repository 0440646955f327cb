"""Figures of merit that need no curve: calibration error, gap recovered, averages."""

from __future__ import annotations

import numpy as np

#: Gaps below this are rounding, not gaps: a ratio over one is undefined.
TINY = 1e-9


def expected_calibration_error(predicted: np.ndarray, observed: np.ndarray, n_bins: int = 15) -> float | None:
    """Expected calibration error: sum over bins of (share of pairs) * |mean predicted - mean observed|.

    Equal-width bins over [0, 1]; a bin holds its lower edge, the last one also 1. Pairs are pooled over
    queries and candidates. Source: Guo et al., On Calibration of Modern Neural Networks (2017).

    Args:
        predicted: expected quality in [0, 1], any shape; NaN pairs are left out.
        observed: recorded quality in [0, 1], the same shape.

    Returns:
        The error in [0, 1], or None when no pair has both.
    """
    p = np.asarray(predicted, dtype=np.float64).ravel()
    y = np.asarray(observed, dtype=np.float64).ravel()
    known = np.isfinite(p) & np.isfinite(y)
    p, y = p[known], y[known]
    if len(p) == 0:
        return None
    # The tiny step keeps a float32 k/15 in the bin that it names.
    bins = np.clip(np.floor(p * n_bins + 1e-6).astype(np.int64), 0, n_bins - 1)
    surplus = np.bincount(bins, weights=p - y, minlength=n_bins)
    return float(np.abs(surplus).sum() / len(p))


def gap_recovered(router: float, low: float, high: float) -> float | None:
    """(router - low) / (high - low); None where there is no gap to recover.

    With ``low`` = best single and ``high`` = oracle this is the share of what choosing well could gain.
    """
    return None if high - low <= TINY else (router - low) / (high - low)


def mean_or_unknown(values: np.ndarray) -> float | None:
    """Mean of ``(n,)``; None when empty or when any value is unknown (NaN)."""
    if len(values) == 0 or not np.isfinite(values).all():
        return None
    return float(np.mean(values, dtype=np.float64))
