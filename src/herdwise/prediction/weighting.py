"""How much to believe each member of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

_STEPS = 4
_SCALES = (0.0, 0.4, 0.55, 0.7, 0.85, 1.0)
#: Share of the best attainable reduction of the squared error that may be given up for better routing.
_SLACK = 0.05
#: Cells (queries x candidates) on which routed quality is compared, a sample of the queries beyond that: with
#: 33 candidates 120,000 queries, whose mean is known to 0.1 points.
_MOST_CELLS = 4_000_000
#: Sharpness of the soft choice that stands for the routed pick; quality units.
_TEMPERATURE = 0.02


def choose_weights(left_out: Sequence[np.ndarray], means: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Non-negative weights with a sum of at most 1, the rest going to the candidates' means.

    First by what matters to every later use, the squared error: combinations that keep 95% of the best
    one's gain over the means are admitted. Among these, by what routing does with them: the quality of a
    softly chosen candidate, which varies less between samples than that of the first choice.

    Args:
        left_out: a ``(n, m)`` matrix of left-out predictions per member.
        means: ``(n, m)`` left-out means of the candidates.
        Y: ``(n, m)`` outcomes, NaN = not run.

    Returns:
        ``(len(left_out),)`` float32.
    """
    known = np.isfinite(Y)
    count = len(left_out)
    expected = means[known]
    offsets = np.stack([part[known] - expected for part in left_out]).astype(np.float64)
    residual = (Y[known] - expected).astype(np.float64)
    gram, gain = offsets @ offsets.T, offsets @ residual
    tried = []
    for shares in product(range(_STEPS + 1), repeat=count):
        if sum(shares) == _STEPS:
            tried += [np.array(shares) / _STEPS * scale for scale in _SCALES[1:]]
    tried.append(np.zeros(count))
    reduced = np.array([2.0 * w @ gain - w @ gram @ w for w in tried])
    best = max(float(reduced.max()), 0.0)
    if best <= _noise(offsets, residual):
        return np.zeros(count, dtype=np.float32)
    admitted = [w for w, r in zip(tried, reduced, strict=True) if r >= (1.0 - _SLACK) * best]
    if Y.size > _MOST_CELLS:
        rows = np.random.default_rng(0).choice(len(Y), max(_MOST_CELLS // Y.shape[1], 1), replace=False)
        left_out = [part[rows] for part in left_out]
        means, Y, known = means[rows], Y[rows], known[rows]
    routed = [
        _soft_routed(means + sum(v * (p - means) for v, p in zip(w, left_out, strict=True)), Y, known)
        for w in admitted
    ]
    return np.asarray(admitted[int(np.argmax(routed))], dtype=np.float32)


def _noise(offsets: np.ndarray, residual: np.ndarray) -> float:
    """What weights fitted to nothing would seem to gain: twice the residual variance per member."""
    return 2.0 * len(offsets) * float(np.mean(residual**2)) if residual.size else 0.0


def _soft_routed(predicted: np.ndarray, Y: np.ndarray, known: np.ndarray) -> float:
    """Mean quality of a candidate drawn by the softmax of the predictions, among those that were run."""
    logits = np.where(known, predicted, -np.inf) / _TEMPERATURE
    run = known.any(axis=1)
    logits = logits[run] - logits[run].max(axis=1, keepdims=True)
    share = np.exp(logits)
    quality = (share * np.where(known[run], Y[run], 0.0)).sum(axis=1) / share.sum(axis=1)
    return float(quality.mean())
