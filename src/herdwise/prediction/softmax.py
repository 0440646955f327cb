"""Softmax, without overflow."""

from __future__ import annotations

import numpy as np


def softmax(score: np.ndarray, axis: int) -> np.ndarray:
    """Exponentials scaled to sum to 1 along ``axis``; -inf counts as absent."""
    e = np.exp(score - score.max(axis=axis, keepdims=True))
    share: np.ndarray = e / e.sum(axis=axis, keepdims=True)
    return share
