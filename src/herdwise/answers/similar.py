"""Free text: which answers say nearly the same, and which of several stands for them best."""

from __future__ import annotations

import re

import numpy as np

from herdwise.answers.extract import without_thinking

#: Cosine from which two texts say the same. Texts on one question are alike by their subject alone: below it,
#: too many of those that are this close draw different conclusions (docs/experiments, 2026-11-21 answers).
SAME_FROM = 0.95
#: How much faster than linearly likeness falls with the cosine when a text is sought that stands for all.
_SHARPNESS = 8.0
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NOT = re.compile(
    r"\b(?:not|no|never|none|cannot|without)\b|n['’]t\b|\b(?:nicht|kein\w*|nie|ohne)\b"
    r"|\b(?:ne|pas|jamais|sans)\b|\b(?:nunca|sin|não|non|mai)\b|[不没沒无無]|ない",
    re.IGNORECASE,
)


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows, ``(n, n)`` float64; 0 where a row is all zeros."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float64)
    unit = np.divide(vectors, length, out=np.zeros(vectors.shape, dtype=np.float64), where=length > 0)
    return np.asarray(np.clip(unit @ unit.T, -1.0, 1.0))


def say_the_same(a: str, b: str, cosine: float) -> bool:
    """Whether two free texts say the same: nearly the same wording, the same numbers, as often negated.

    Args:
        a, b: the texts.
        cosine: of their vectors.
    """
    if cosine < SAME_FROM:
        return False
    left, right = without_thinking(a), without_thinking(b)
    if sorted(set(_NUMBER.findall(left))) != sorted(set(_NUMBER.findall(right))):
        return False
    return len(_NOT.findall(left)) == len(_NOT.findall(right))


def medoid(cosine: np.ndarray, trust: np.ndarray) -> int:
    """The text that the most trusted ones are most like: argmax_i of sum_j trust_j x likeness_ij.

    Likeness is exp(8 (cosine - 1)); each text is fully like itself, so that of texts that have nothing in
    common the most trusted one is chosen. Ties go to the first.

    Args:
        cosine: ``(n, n)``.
        trust: ``(n,)`` P(right) of each on its own, 0 or more.

    >>> medoid(np.array([[1.0, 0.1, 0.1], [0.1, 1.0, 0.9], [0.1, 0.9, 1.0]]), np.array([0.6, 0.5, 0.4]))
    1
    """
    likeness = np.exp(_SHARPNESS * (np.asarray(cosine) - 1.0))
    return int((likeness @ np.asarray(trust)).argmax())
