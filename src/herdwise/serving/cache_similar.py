"""Which kept question is nearest to a new one, among those that are otherwise the same request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from herdwise.encoding.base import Encoder

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
#: What one question takes beside its vector, at most: a group of its own, keys, marks.
_OVERHEAD_BYTES = 1500
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
            # From one on: in a conversation that nobody else had, a group holds one question.
            self._resize(max(1, 2 * n), len(vector))
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
        if last and 4 * last <= len(self.vectors):
            self._resize(2 * last, self.vectors.shape[1])

    def _resize(self, rows: int, dim: int) -> None:
        resized, n = np.zeros((rows, dim), dtype=np.float32), len(self.keys)
        if n:
            resized[:n] = self.vectors[:n]
        self.vectors = resized


class SimilarQuestions:
    """An index of questions by their vectors. Compares by cosine, within a group only.

    Two questions with other numbers or negations in them are never alike, however near their vectors are:
    "is it" and "is it not" lie closer together than most rewordings (docs/cache.md has the figures).

    Args:
        encoder: makes the vectors.
        most, most_bytes: of questions kept; past either the oldest is forgotten. What they take is reckoned
            from above.
    """

    def __init__(self, encoder: Encoder, most: int, most_bytes: int) -> None:
        self.encoder, self._most, self._most_bytes = encoder, most, most_bytes
        self._question_bytes = _OVERHEAD_BYTES
        self._groups: dict[bytes, _Group] = {}
        self._group_of: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def limit(self, most: int, most_bytes: int) -> None:
        """Hold other bounds from now on."""
        self._most, self._most_bytes = most, most_bytes
        self._fit(0)

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
        # Rows are made twice as many when there is no room for another: half of them may be empty.
        self._question_bytes = 2 * vector.nbytes + _OVERHEAD_BYTES
        if not self._fit(1):
            return
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

    def _fit(self, more: int) -> bool:
        """Forget the oldest until so many more fit; whether they do."""
        room = min(self._most, self._most_bytes // self._question_bytes)
        while self._group_of and len(self._group_of) + more > room:
            self.drop(next(iter(self._group_of)))
        return more <= room

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
