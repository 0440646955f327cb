"""The recorded queries nearest to a new one, kept for explanations only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from herdwise.core.outcomes import OutcomeTable
from herdwise.routing.explain import Neighbour

#: Characters kept of each recorded query.
_SHOWN_CHARS = 300
#: Queries kept at most: a server holds them all, and finding the nearest passes over them.
MOST_KEPT = 20_000


class Neighbours:
    """Unit vectors as int8 (a cosine to two digits is enough to explain with) and what was recorded.

    Args:
        vectors: ``(n, d)`` int8, rows scaled to 127.
        quality: ``(n, m)`` uint8 in 0..100, 255 = not run.
        texts: ``n`` entries of [query_id, benchmark, beginning of the text].
        names: candidates, in column order.
        lengths: ``(n,)`` lengths that the vectors had; 1 where a router folder of old does not tell.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        quality: np.ndarray,
        texts: Sequence[Sequence[str]],
        names: Sequence[str],
        lengths: np.ndarray | None = None,
    ) -> None:
        self.vectors, self.quality, self.texts, self.names = vectors, quality, texts, list(names)
        self.lengths = np.ones(len(vectors), dtype=np.float32) if lengths is None else lengths

    @classmethod
    def fit(
        cls, X: np.ndarray, table: OutcomeTable, quality_column: str, *, seed: int = 0, most: int = MOST_KEPT
    ) -> Self:
        """Keep a table's queries, ``X`` being their ``(n, d)`` vectors; of more than ``most`` a sample."""
        if table.n_queries > most:
            rows = np.sort(np.random.default_rng(seed).choice(table.n_queries, most, replace=False))
            X, table = X[rows], table.take(rows)
        quality = table.matrix(quality_column)
        coded = np.where(np.isnan(quality), 255, np.round(np.nan_to_num(quality) * 100)).astype(np.uint8)
        texts = [
            [id_, benchmark, text[:_SHOWN_CHARS]]
            for id_, benchmark, text in zip(table.query_ids, table.benchmarks, table.texts, strict=True)
        ]
        lengths = np.linalg.norm(X, axis=1).astype(np.float32)
        return cls(_coded(X), coded, texts, table.herd.names, lengths)

    def nearest(self, x: np.ndarray, k: int, names: Sequence[str]) -> tuple[Neighbour, ...]:
        """The ``k`` nearest to a vector ``(d,)``, with the outcomes of ``names``."""
        probe = _coded(x[None])[0].astype(np.float32)
        similarity = self.vectors.astype(np.float32) @ probe
        norms = np.linalg.norm(self.vectors.astype(np.float32), axis=1) * max(
            float(np.linalg.norm(probe)), 1e-9
        )
        similarity = similarity / np.maximum(norms, 1e-9)
        wanted = [(name, self.names.index(name)) for name in names if name in self.names]
        found = []
        for row in np.argsort(-similarity, kind="stable")[:k].tolist():
            id_, benchmark, text = self.texts[row]
            outcomes = {
                name: float(self.quality[row, column]) / 100
                for name, column in wanted
                if self.quality[row, column] != 255
            }
            found.append(Neighbour(id_, text, benchmark, round(float(similarity[row]), 3), outcomes))
        return tuple(found)

    def vectors_and_quality(self) -> tuple[np.ndarray, np.ndarray]:
        """The vectors ``(n, d)``, and qualities ``(n, m)`` with NaN = not run; both to two digits."""
        vectors = self.vectors.astype(np.float32)
        vectors *= (self.lengths / np.maximum(np.linalg.norm(vectors, axis=1), 1e-9))[:, None]
        quality = self.quality.astype(np.float32) / 100
        return vectors, np.where(self.quality == 255, np.float32(np.nan), quality)

    def with_candidate(self, name: str, rows: np.ndarray, quality: np.ndarray) -> Neighbours:
        """With one more candidate, run on some rows ``(N,)`` only; an older one of the name is forgotten."""
        column = np.full((len(self.quality), 1), 255, dtype=np.uint8)
        column[rows, 0] = np.round(quality * 100)
        names = ["" if old == name else old for old in self.names]
        grown = np.concatenate([self.quality, column], axis=1)
        return Neighbours(self.vectors, grown, self.texts, [*names, name], self.lengths)

    def without_column(self, column: int) -> Neighbours:
        """Without one candidate's outcomes."""
        return Neighbours(
            self.vectors,
            np.delete(self.quality, column, axis=1),
            self.texts,
            [name for i, name in enumerate(self.names) if i != column],
            self.lengths,
        )

    def state(self) -> tuple[dict[str, np.ndarray], list[list[str]]]:
        """Arrays and texts for a router folder."""
        arrays = {"vectors": self.vectors, "quality": self.quality, "lengths": self.lengths}
        return arrays, [list(t) for t in self.texts]

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray], texts: Any, names: Sequence[str]) -> Self:
        """Rebuild from ``state``."""
        return cls(arrays["vectors"], arrays["quality"], texts, names, arrays.get("lengths"))


def _coded(X: np.ndarray) -> np.ndarray:
    norms = np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-9)
    peak = np.maximum(np.abs(X / norms).max(axis=1, keepdims=True), 1e-9)
    return np.asarray(np.round(X / norms / peak * 127), dtype=np.int8)
