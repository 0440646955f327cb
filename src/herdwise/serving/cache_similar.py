"""Which kept question is nearest to a new one, among those that are otherwise the same request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from herdwise.encoding.base import Encoder

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
#: English words that turn a question round, and hardly move its vector.
_TURNING = re.compile(
    r"\b(?:no|not|never|none|nor|neither|nobody|nothing|cannot|without|except|unless|least|false"
    r"|unable|unlikely|untrue|incorrect|invalid)\b|n['\u2019]t\b",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Group:
    """Questions of one group: keys of their answers, what sets them apart, and unit vectors in rows."""

    keys: list[bytes] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)
    marks: list[tuple[str, ...]] = field(default_factory=list)
    vectors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))

    def add(self, key: bytes, marks: tuple[str, ...], vector: np.ndarray) -> None:
        n = len(self.keys)
        if n == len(self.vectors):
            grown = np.zeros((max(8, 2 * n), len(vector)), dtype=np.float32)
            grown[:n] = self.vectors[:n] if n else 0
            self.vectors = grown
        self.vectors[n] = vector
        self.places[key] = n
        self.keys.append(key)
        self.marks.append(marks)

    def drop(self, key: bytes) -> None:
        place, last = self.places.pop(key), len(self.keys) - 1
        if place != last:  # the last one takes its place
            self.keys[place], self.marks[place] = self.keys[last], self.marks[last]
            self.vectors[place] = self.vectors[last]
            self.places[self.keys[place]] = place
        self.keys.pop()
        self.marks.pop()


class SimilarQuestions:
    """An index of questions by their vectors. Compares by cosine, within a group only.

    Two questions with other numbers or negations in them are never alike, however near their vectors are:
    "is it" and "is it not" lie closer together than most rewordings (docs/cache.md has the figures).

    Args:
        encoder: makes the vectors.
        most: questions kept; past it the oldest is forgotten.
    """

    def __init__(self, encoder: Encoder, most: int) -> None:
        self.encoder, self._most = encoder, most
        self._groups: dict[bytes, _Group] = {}
        self._group_of: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def vector(self, text: str) -> np.ndarray:
        """A question's unit vector, ``(d,)`` float32; zeros where the encoder finds nothing in it."""
        found = np.asarray(self.encoder.encode_one(text), dtype=np.float32)
        length = float(np.linalg.norm(found))
        return found / length if length else found

    def nearest(
        self, group: bytes, text: str, vector: np.ndarray, least: float
    ) -> tuple[bytes, float] | None:
        """Key and cosine of the nearest question with the same marks; None where there is none.

        Args:
            group: what all compared requests have in common.
            text: the question.
            vector: its unit vector.
            least: cosine that the nearest must have.
        """
        found = self._groups.get(group)
        if found is None:
            return None
        cosines = found.vectors[: len(found.keys)] @ vector
        near = np.flatnonzero(cosines >= least)
        if not len(near):
            return None
        marks = marks_of(text)
        for place in near[np.argsort(-cosines[near])].tolist():
            if found.marks[place] == marks:
                return found.keys[place], float(cosines[place])
        return None

    def add(self, group: bytes, key: bytes, text: str, vector: np.ndarray) -> None:
        """Note a question whose answer is kept under a key."""
        self.drop(key)
        while len(self._group_of) >= self._most:
            self.drop(next(iter(self._group_of)))
        self._group_of[key] = group
        self._groups.setdefault(group, _Group()).add(key, marks_of(text), vector)

    def drop(self, key: bytes) -> None:
        """Forget a question."""
        group = self._group_of.pop(key, None)
        if group is not None:
            found = self._groups[group]
            found.drop(key)
            if not found.keys:
                del self._groups[group]

    def clear(self) -> None:
        """Forget all questions."""
        self._groups.clear()
        self._group_of.clear()


def marks_of(text: str) -> tuple[str, ...]:
    """What keeps questions apart beside their vectors: a text's numbers in their order, and its negations.

    >>> marks_of("Add 1,5 to 20, but not by 10:30.")
    ('1,5', '20', '10:30', 'not')
    """
    turning = sorted(word.lower().replace("\u2019", "'") for word in _TURNING.findall(text))
    return (*_NUMBER.findall(text), *turning)
