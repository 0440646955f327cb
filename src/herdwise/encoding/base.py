"""The encoder seam: texts in, float32 vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from herdwise.core.errors import ConfigError
from herdwise.core.registry import Registry

#: Called with (done, total) while a long job runs.
Progress = Callable[[int, int], None]


class Encoder(ABC):
    """Turns texts into vectors.

    A subclass fills ``_encode``; an encoder that learns (TF-IDF) also fills ``_fit``. What it learned
    is given by ``state`` and taken by ``from_state``, so that a saved router can rebuild it.
    """

    name: ClassVar[str]
    #: Options that belong to this machine (keys, folders): never saved with a router, set by ``localise``.
    local_options: ClassVar[tuple[str, ...]] = ()
    #: Whether ``encode_one`` waits for somebody else; an event loop must then call it in a thread.
    blocking: ClassVar[bool] = False
    #: Whether it reads offered tools: then it is given ``Query.asked``, else the bare text.
    reads_tools: ClassVar[bool] = False
    #: Whether it learns from outcomes: then it is trained by ``fit_to_outcomes`` and refuses ``fit``.
    supervised: ClassVar[bool] = False

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Length of a vector."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn from training texts; the default encoder has nothing to learn."""
        self._fit(texts)
        return self

    def fit_to_outcomes(
        self, texts: Sequence[str], outcomes: np.ndarray, *, seed: int = 0, progress: Progress | None = None
    ) -> np.ndarray:
        """Learn from training texts and what was recorded of them; the vectors that predictors learn from.

        These are not ``encode``'s where the encoder is supervised: each text's vector must come from a fit
        that did not see its outcomes, or whatever is trained on the vectors trusts them too much.

        Args:
            outcomes: ``(n, m)`` quality in [0, 1], NaN = not run.

        Returns:
            ``(n, n_features)`` float32.
        """
        del outcomes, seed
        return self.fit(texts).encode(texts, progress=progress)

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

    def localise(self, **options: Any) -> Self:
        """Set options that belong to this machine, after a saved router was loaded.

        Raises:
            ConfigError: for an option that is not among ``local_options``.
        """
        for key, value in options.items():
            if key not in self.local_options:
                takes = ", ".join(self.local_options) or "none"
                raise ConfigError(
                    f"encoder {self.name!r} takes no local option {key!r}.", remedy=f"It takes: {takes}."
                )
            setattr(self, key, value)
        return self

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
