"""Votes: recorded answers as numbers, who said the same, what else was on offer and what was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from herdwise.answers.choice import LETTERS
from herdwise.answers.options import options_of
from herdwise.core.errors import InputError
from herdwise.prediction.option_features import N_FEATURES, option_features

#: Codes of ``Votes.said`` below the values' own: the candidate failed to answer, or was not run.
FAILED, NOT_RUN = -1, -2


@dataclass(frozen=True, slots=True)
class Votes:
    """What each candidate said on each query.

    The values of a query are numbered: the options that its text offers, in their order, then others in
    the order of the candidates that said them. K is the largest number of values on one query.

    Args:
        said: ``(n, m)`` int16 number of the value, ``FAILED`` or ``NOT_RUN``.
        right: ``(n, K + 1)`` float32 probability that each value is the right one; the last column is
            "none of those said", an option on offer that nobody said included.
        offered: ``(n, K)`` bool, which values are options of the text.
        features: ``(n, K, N_FEATURES)`` float32 of ``option_features``, 0 where not offered; or
            ``(n, K, 0)`` where no text offers options.
    """

    said: np.ndarray
    right: np.ndarray
    offered: np.ndarray
    features: np.ndarray

    @property
    def width(self) -> int:
        """K."""
        return int(self.offered.shape[1])

    def take(self, rows: np.ndarray) -> Votes:
        """The queries at ``rows`` (int positions, repeats allowed)."""
        return Votes(self.said[rows], self.right[rows], self.offered[rows], self.features[rows])

    @classmethod
    def of(cls, answers: np.ndarray, quality: np.ndarray, texts: Sequence[str] | None = None) -> Votes:
        """Code answers.

        A pair counts as run where it has a quality; run without an answer is a failure. A candidate that
        never gave an answer (none was recorded) takes no part. A value is right as far as the mean
        recorded quality of those that gave it; where several values earn more than 1 together they
        share it.

        Args:
            answers: ``(n, m)`` objects, normal forms (str) or None.
            quality: ``(n, m)`` in [0, 1], NaN = not run.
            texts: ``(n,)`` the queries, whose options are read; None = nothing is known of options.

        Raises:
            InputError: when shapes differ, or no graded answer is recorded.
        """
        answers, quality = np.asarray(answers, dtype=object), np.asarray(quality, dtype=np.float64)
        if answers.shape != quality.shape or answers.ndim != 2:
            raise InputError(f"answers {answers.shape} and quality {quality.shape} must both be (n, m).")
        given = np.array([[a is not None for a in row] for row in answers.tolist()], dtype=bool)
        given = given.reshape(answers.shape) & np.isfinite(quality)
        if not given.any():
            raise InputError(
                "no graded answer to learn fusion from.",
                remedy="Record answers: the column 'answer' of the outcomes.",
            )
        n = len(answers)
        options: list[list[str]] = [[] for _ in range(n)] if texts is None else [options_of(t) for t in texts]
        said = np.where(np.isfinite(quality) & given.any(axis=0), FAILED, NOT_RUN).astype(np.int16)
        earned: list[list[float]] = []
        for i in range(n):
            numbers = {LETTERS[k]: k for k in range(len(options[i]))}
            total, count = [0.0] * len(numbers), [0] * len(numbers)
            for j in np.flatnonzero(given[i]).tolist():
                number = numbers.setdefault(answers[i, j], len(numbers))
                if number == len(total):
                    total.append(0.0)
                    count.append(0)
                total[number] += float(quality[i, j])
                count[number] += 1
                said[i, j] = number
            earned.append([t / max(c, 1) for t, c in zip(total, count, strict=True)])
        width = max(len(row) for row in earned)
        right = np.zeros((n, width + 1), dtype=np.float32)
        for i, row in enumerate(earned):
            right[i, : len(row)] = row
        right /= np.maximum(right.sum(axis=1, keepdims=True), 1.0)
        right[:, -1] = np.maximum(1.0 - right.sum(axis=1), 0.0)
        offered = np.arange(width)[None] < np.array([len(o) for o in options])[:, None]
        features = np.zeros((n, width, N_FEATURES if offered.any() else 0), dtype=np.float32)
        for i, listed in enumerate(options):
            if listed and texts is not None:
                features[i, : len(listed)] = option_features(listed, texts[i])
        return cls(said, right, offered, features)
