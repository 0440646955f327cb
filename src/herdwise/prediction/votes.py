"""Votes: recorded answers as numbers, who said the same, what else was on offer and what was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from herdwise.answers.choice import LETTERS
from herdwise.answers.options import options_of
from herdwise.core.errors import InputError
from herdwise.prediction.option_features import N_FEATURES, features_of

#: Codes of ``Votes.said`` below the values' own: the candidate failed to answer, or was not run.
FAILED, NOT_RUN = -1, -2
_NOTHING = np.array(None, dtype=object)


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
        given = np.not_equal(answers, _NOTHING).astype(bool) & np.isfinite(quality)
        if not given.any():
            raise InputError(
                "no graded answer to learn fusion from.",
                remedy="Record answers: the column 'answer' of the outcomes.",
            )
        n = len(answers)
        options: list[list[str]] = [[] for _ in range(n)] if texts is None else [options_of(t) for t in texts]
        n_options = np.array([len(listed) for listed in options], dtype=np.int64)
        said = np.where(np.isfinite(quality) & given.any(axis=0), FAILED, NOT_RUN).astype(np.int16)
        said[given] = _numbered(answers, given, n_options)
        width = int(max(said.max() + 1, n_options.max()))
        row, column = np.nonzero(given)
        place = row * width + said[row, column]
        count = np.bincount(place, minlength=n * width)
        earned = np.bincount(place, weights=quality[row, column], minlength=n * width)
        right = np.zeros((n, width + 1), dtype=np.float32)
        right[:, :-1] = (earned / np.maximum(count, 1)).reshape(n, width)
        right /= np.maximum(right.sum(axis=1, keepdims=True), 1.0)
        right[:, -1] = np.maximum(1.0 - right.sum(axis=1), 0.0)
        offered = np.arange(width)[None] < n_options[:, None]
        features = np.zeros((n, width, N_FEATURES if offered.any() else 0), dtype=np.float32)
        if texts is not None and offered.any():
            features[:, : int(n_options.max())] = features_of(options, texts)
        return cls(said, right, offered, features)


def _numbered(answers: np.ndarray, given: np.ndarray, n_options: np.ndarray) -> np.ndarray:
    """The numbers of the given answers, in the order of ``given``'s True entries; see ``Votes``."""
    row = np.nonzero(given)[0]
    names: dict[str, int] = {}
    code = np.array([names.setdefault(answer, len(names)) for answer in answers[given].tolist()])
    letter = {name: place for place, name in enumerate(LETTERS)}
    listed = np.array([letter.get(name, len(LETTERS)) for name in names])[code]
    number = np.where(listed < n_options[row], listed, -1)
    unlisted = np.flatnonzero(number < 0)
    numbers: dict[int, int] = {}
    current = -1
    for place, i, value in zip(
        unlisted.tolist(), row[unlisted].tolist(), code[unlisted].tolist(), strict=True
    ):
        if i != current:
            current, numbers = i, {}
        number[place] = n_options[i] + numbers.setdefault(value, len(numbers))
    return number
