"""How far the confidence in the returned answers can be trusted: does it tell right from wrong?"""

from __future__ import annotations

import numpy as np

from herdwise.evaluation.replay import Replay

#: An answer counts as right from this quality on.
RIGHT_FROM = 0.5


def auroc(confidence: np.ndarray, quality: np.ndarray) -> float | None:
    """Area under the ROC curve of confidence against "right" (quality of ``RIGHT_FROM`` or more).

    The probability that a right answer is trusted more than a wrong one, ties counting half.
    Source: Hanley & McNeil, The Meaning and Use of the Area under a ROC Curve (1982).

    Args:
        confidence, quality: ``(n,)`` finite.

    Returns:
        The area, or None where all are right or none is.

    >>> auroc(np.array([0.9, 0.4, 0.4]), np.array([1.0, 1.0, 0.0]))
    0.75
    """
    right = quality >= RIGHT_FROM
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    if not n_right or not n_wrong:
        return None
    _, place, count = np.unique(confidence, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2.0)[place]
    return float((rank[right].sum() - n_right * (n_right + 1) / 2.0) / (n_right * n_wrong))


def accuracy_at_coverage(confidence: np.ndarray, quality: np.ndarray, coverage: float = 0.5) -> float | None:
    """Mean quality of the most confident share of the answers; None where that is nobody's.

    Answers of equal confidence at the edge count with their mean, so that their order does not matter.

    >>> accuracy_at_coverage(np.array([0.9, 0.8, 0.2, 0.1]), np.array([1.0, 1.0, 0.0, 1.0]))
    1.0
    """
    taken = coverage * len(confidence)
    if taken <= 0:
        return None
    total = 0.0
    left = taken
    for level in np.unique(confidence)[::-1]:
        same = quality[confidence == level]
        share = min(left, len(same))
        total += share * float(same.mean())
        left -= share
        if left <= 0:
            break
    return total / taken


def confidence_of(course: Replay, predicted: np.ndarray) -> np.ndarray:
    """Confidence in each returned answer, ``(n,)``; every query must have one.

    Args:
        course: what the policy did.
        predicted: ``(n, m)`` predicted quality, which stands in where no belief was learned.
    """
    picked: np.ndarray = predicted[np.arange(len(course.answered)), course.answered].astype(np.float64)
    if course.confidence is None:
        return picked
    known: np.ndarray = np.where(np.isfinite(course.confidence), course.confidence, picked)
    return known
