"""Quantiles of residuals: conformal, per candidate and group of predictions, shrunk to what others showed."""

from __future__ import annotations

import numpy as np

#: Probabilities at which quantiles are kept; between them they are joined linearly.
LEVELS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99])
#: Groups of equally many training queries by their prediction, each with quantiles of its own.
N_GROUPS = 5
#: Outcomes that the wider distribution counts for beside the narrower one (a candidate's, a group's own).
PRIOR = 30.0
#: Own values from which a candidate of few rows has a distribution without the others' help.
_FEW = 5
#: Points that stand for a whole distribution.
_POINTS = (np.arange(99) + 0.5) / 99


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, levels: np.ndarray = LEVELS) -> np.ndarray:
    """Conformal quantiles: a new value of the same kind is at most the one of level p with probability p.

    Of n equally weighted values the i-th smallest has level i / (n + 1), since a new value is as likely to
    fall into any of the n + 1 gaps (split conformal prediction, Vovk 2005). Beyond the outermost: these.
    """
    order = np.argsort(values, kind="stable")
    level = np.cumsum(weights[order]) / (weights.sum() + 1.0)
    return np.asarray(np.interp(levels, level, values[order]))


def joined_quantiles(own: np.ndarray, wider: np.ndarray, prior: float = PRIOR) -> np.ndarray:
    """Quantiles of own values, shrunk to a wider distribution that is given by points; ``(len(LEVELS),)``."""
    values = np.concatenate([own, wider])
    share = prior / max(len(wider), 1)
    return weighted_quantiles(values, np.concatenate([np.ones(len(own)), np.full(len(wider), share)]))


def points_of(values: np.ndarray) -> np.ndarray:
    """A distribution as ``(99,)`` points; itself where it has no more."""
    return values if len(values) <= len(_POINTS) else np.quantile(values, _POINTS)


def log_scale(residual: np.ndarray) -> np.ndarray:
    """What the scale of residuals is learned from: log |residual|, held up near zero; same shape."""
    size = np.abs(residual)
    held: np.ndarray = np.log(size + 0.1 * np.nanmedian(size, axis=0) + 1e-4)
    return held


def grouped_quantiles(
    predicted: list[np.ndarray], standardised: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of standardised residuals per candidate and group of predictions.

    A scale learned from the query leaves the shape of the distribution to depend on the prediction: short
    answers vary upwards, long ones downwards. So each candidate's training rows are cut into ``N_GROUPS``
    by what was predicted for them, a group's quantiles being shrunk to the candidate's, and those to all
    candidates'.

    Args:
        predicted, standardised: per candidate ``(n_j,)`` predictions (logarithms) that their own rows' values
            do not move, and residuals over their predicted scale.

    Returns:
        ``(m, N_GROUPS - 1)`` edges of the groups, ``(m, N_GROUPS, len(LEVELS))`` quantiles.
    """
    everybody = points_of(np.concatenate([points_of(z) for z in standardised]))
    edges = np.stack([np.quantile(p, np.arange(1, N_GROUPS) / N_GROUPS) for p in predicted])
    quantiles = np.empty((len(predicted), N_GROUPS, len(LEVELS)))
    for j, (p, z) in enumerate(zip(predicted, standardised, strict=True)):
        own = np.interp(_POINTS, LEVELS, joined_quantiles(z, everybody))
        group = (p[:, None] > edges[j]).sum(axis=1)
        for g in range(N_GROUPS):
            quantiles[j, g] = joined_quantiles(z[group == g], own)
    return edges, quantiles


def relative_quantiles(logarithms: list[np.ndarray]) -> np.ndarray:
    """Quantiles of log(value / the candidate's mean), all candidates pooled; NaN where there are none.

    What stands in for the distribution of a candidate of which little more than the mean is known.
    """
    if not logarithms:
        return np.full(len(LEVELS), np.nan)
    pooled = np.concatenate([points_of(v - _log_mean(v)) for v in logarithms])
    return weighted_quantiles(pooled, np.ones(len(pooled)))


def few_quantiles(logarithms: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Quantiles of log(value / mean) of a candidate of few rows: its own and the herd's; NaN = unknown.

    Each of its values is held against the mean of the others, for the mean is as uncertain.
    """
    n = len(logarithms)
    own = np.array([logarithms[i] - _log_mean(np.delete(logarithms, i)) for i in range(n)] if n > 1 else [])
    if np.isfinite(relative).all():
        return joined_quantiles(own, np.interp(_POINTS, LEVELS, relative))
    return weighted_quantiles(own, np.ones(len(own))) if n >= _FEW else np.full(len(LEVELS), np.nan)


def probe_quantiles(off: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Quantiles of log(value / expected) of an enlisted candidate: its probes' and, a little, the herd's.

    Args:
        off: ``(n_probes,)`` log(value / expected).
        relative: ``(len(LEVELS),)`` of ``relative_quantiles``, wider than what lies about an expectation.

    Returns:
        ``(len(LEVELS),)``; NaN where too little is known.
    """
    if np.isfinite(relative).all():
        return joined_quantiles(off, np.interp(_POINTS, LEVELS, relative), prior=0.1 * PRIOR)
    return weighted_quantiles(off, np.ones(len(off))) if len(off) >= _FEW else np.full(len(LEVELS), np.nan)


def at_level(quantiles: np.ndarray, probability: float) -> np.ndarray:
    """``(..., len(LEVELS))`` quantiles at one probability, which lies within ``LEVELS``: ``(...)``."""
    above = int(np.searchsorted(LEVELS, probability).clip(1, len(LEVELS) - 1))
    low, high = LEVELS[above - 1], LEVELS[above]
    share = min(max((probability - low) / (high - low), 0.0), 1.0)
    return np.asarray((1.0 - share) * quantiles[..., above - 1] + share * quantiles[..., above])


def _log_mean(logarithms: np.ndarray) -> float:
    return float(np.log(np.exp(logarithms).mean()))
