"""Any sentence-transformers model, through torch (extra ``sentence``)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np

from herdwise.core.errors import ConfigError, MissingExtraError
from herdwise.encoding.base import Encoder, Progress
from herdwise.encoding.unicode import well_formed


class SentenceEncoder(Encoder):
    """Vectors of length one from a sentence-transformers model, loaded at first use.

    Args:
        model: a folder, or a name on the Hugging Face hub, which is then downloaded by that library.
        device: such as "cpu" or "cuda"; ``None`` lets the library choose.
        batch_size: texts per pass.

    Raises:
        ConfigError: ``batch_size`` is below 1.
        MissingExtraError: at first use, when sentence-transformers is not installed.
    """

    name = "sentence"

    local_options = ("device",)
    blocking = True

    def __init__(self, *, model: str, device: str | None = None, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more, not {batch_size}.")
        self.model, self.device, self.batch_size = model, device, batch_size
        self._loaded: Any = None
        self._lock = Lock()

    @property
    def n_features(self) -> int:
        """Length of a vector; loads the model."""
        # Asked of a vector, since the library has renamed the method that tells.
        return len(self._ready().encode("", show_progress_bar=False))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The model's name and the batch size; the device belongs to the machine."""
        return {"model": self.model, "batch_size": self.batch_size}, {}

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
        model = self._ready()
        parts = []
        for start in range(0, len(texts), self.batch_size):
            batch = [well_formed(text) for text in texts[start : start + self.batch_size]]
            vectors = model.encode(
                batch, batch_size=self.batch_size, normalize_embeddings=True, show_progress_bar=False
            )
            parts.append(np.asarray(vectors, dtype=np.float32))
            if progress is not None:
                progress(start + len(batch), len(texts))
        return np.concatenate(parts)

    def _ready(self) -> Any:
        with self._lock:
            if self._loaded is None:
                try:
                    library: Any = import_module("sentence_transformers")
                except ImportError as error:
                    raise MissingExtraError("the sentence encoder", extra="sentence") from error
                self._loaded = library.SentenceTransformer(self.model, device=self.device)
            return self._loaded
