"""Votes: recorded answers as numbers, who said the same and what was right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from herdwise.core.errors import InputError

#: Codes of ``Votes.said`` below the values' own: the candidate failed to answer, or was not run.
FAILED, NOT_RUN = -1, -2


@dataclass(frozen=True, slots=True)
class Votes:
    """What each candidate said on each query, values numbered per query in the order of the candidates.

    Args:
        said: ``(n, m)`` int16 number of the value, ``FAILED`` or ``NOT_RUN``.
        right: ``(n, K + 1)`` float32 probability that each value is the right one; the last column is
            "none of those said", K the largest number of distinct values on one query.
    """

    said: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, answers: np.ndarray, quality: np.ndarray) -> Votes:
        """Code answers.

        A pair counts as run where it has a quality; run without an answer is a failure. A candidate that
        never gave an answer (none was recorded) takes no part. A value is right as far as the mean
        recorded quality of those that gave it; where several values earn more than 1 together they
        share it.

        Args:
            answers: ``(n, m)`` objects, normal forms (str) or None.
            quality: ``(n, m)`` in [0, 1], NaN = not run.

        Raises:
            InputError: when shapes differ, or no graded answer is recorded.
        """
        answers, quality = np.asarray(answers, dtype=object), np.asarray(quality, dtype=np.float64)
        if answers.shape != quality.shape or answers.ndim != 2:
            raise InputError(f"answers {answers.shape} and quality {quality.shape} must both be (n, m).")
        n, m = answers.shape
        given = np.not_equal(answers, None) & np.isfinite(quality)
        if not given.any():
            raise InputError(
                "no graded answer to learn fusion from.",
                remedy="Record answers: the column 'answer' of the outcomes.",
            )
        said = np.where(np.isfinite(quality) & given.any(axis=0), FAILED, NOT_RUN).astype(np.int16)
        earned: list[list[float]] = []
        for i in range(n):
            numbers: dict[str, int] = {}
            total: list[float] = []
            count: list[int] = []
            for j in np.flatnonzero(given[i]).tolist():
                number = numbers.setdefault(answers[i, j], len(numbers))
                if number == len(total):
                    total.append(0.0)
                    count.append(0)
                total[number] += float(quality[i, j])
                count[number] += 1
                said[i, j] = number
            earned.append([t / c for t, c in zip(total, count, strict=True)])
        width = max(len(row) for row in earned)
        right = np.zeros((n, width + 1), dtype=np.float32)
        for i, row in enumerate(earned):
            right[i, : len(row)] = row
        right /= np.maximum(right.sum(axis=1, keepdims=True), 1.0)
        right[:, -1] = np.maximum(1.0 - right.sum(axis=1), 0.0)
        return cls(said, right)
