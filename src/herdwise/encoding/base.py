"""The encoder seam: texts in, float32 vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from herdwise.core.registry import Registry

#: Called with (done, total) while a long job runs.
Progress = Callable[[int, int], None]


class Encoder(ABC):
    """Turns texts into vectors.

    A subclass fills ``_encode``; an encoder that learns (TF-IDF) also fills ``_fit``. What it learned
    is given by ``state`` and taken by ``from_state``, so that a saved router can rebuild it.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Length of a vector."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn from training texts; the default encoder has nothing to learn."""
        self._fit(texts)
        return self

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Vectors of ``texts``.

        Returns:
            ``(n, n_features)`` float32, finite; an empty text gives a finite vector too.
        """
        if len(texts) == 0:
            return np.zeros((0, self.n_features), dtype=np.float32)
        return self._encode(texts, progress)

    def encode_one(self, text: str) -> np.ndarray:
        """Vector of one text, ``(n_features,)`` float32; the serving path, tuned where it matters."""
        return np.asarray(self.encode([text])[0])

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options as JSON values, and learned arrays. What ships with the package is not repeated."""
        return {}, {}

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``."""
        del arrays
        return cls(**options)

    def _fit(self, texts: Sequence[str]) -> None:
        del texts

    @abstractmethod
    def _encode(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray: ...


ENCODERS: Registry[Encoder] = Registry("encoder", "herdwise.encoders")
