"""The default encoder: a table of word vectors, and hashed character n-grams. In process, no download."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import as_file, files
from typing import Any, NamedTuple, Self

import numpy as np
from safetensors import safe_open

from herdwise.core.errors import ArtefactError, ConfigError
from herdwise.encoding.base import Encoder, Progress
from herdwise.encoding.form import N_SIGNALS, SIGNALS, form_features, form_features_one
from herdwise.encoding.ngrams import hashed_ngrams, hashed_ngrams_one
from herdwise.encoding.tools import (
    N_REMEMBERED,
    N_TOOL_SIGNALS,
    TOOL_SIGNALS,
    read_offer,
    split_offer,
    tool_features,
)
from herdwise.encoding.wordpiece import WordPiece

#: Features of the lexical block.
N_BUCKETS = 128
#: Texts that are hashed together; more would only cost memory.
_CHUNK = 256
#: Rows that are summed at once; bounds the memory that a long text takes.
_MAX_ROWS = 4096
#: Which signals there are; a saved router names those it was trained on.
_SIGNALS = " ".join((*SIGNALS, *TOOL_SIGNALS))


class StaticEncoder(Encoder):
    """Mean of distilled word-piece vectors, beside hashed character n-grams and signals of form.

    Layout of a vector: the first ``n_semantic`` features say what the text is about (a model2vec distillation
    of all-MiniLM-L6-v2, data/static_encoder/SOURCE.md), the next how it is written, the last what kind of
    request it is (encoding/form.py). Each block has length one before weighting, so the inner product of two
    vectors is ``(s + w * l + f * k) / (1 + w + f)``, with s, l and k the cosines of the blocks, w
    ``ngram_weight`` and f ``form_weight``: a whole vector has length one too. A text without a known
    word has an empty semantic block, a text without characters lies at the hash of its padding.

    Where a query offers tools (``core.query.asked_text``), ``tool_weight`` times the cosine of their signals
    (encoding/tools.py) is added likewise; without tools that last block is empty.

    The n-grams keep apart what the table's English vocabulary does not know: without them Chinese queries
    crowd around one point. How both were chosen and measured: docs/decisions/0002-default-encoder.md.

    Args:
        ngram_weight: weight of the lexical cosine against the semantic one; 0 leaves the lexical block out.
        form_weight: weight of the cosine of forms, likewise.
        tool_weight: weight of the cosine of the signals of offered tools.
        max_chars: of a longer text the first and the last half of this are read, since what is asked stands
            at the beginning or at the end; this bounds the time of a decision.
        table: identity of the word table that a saved router was trained on; ``None`` takes what ships.

    Raises:
        ConfigError: an option is out of range.
        ArtefactError: when ``table`` is not the table that ships with this version.
    """

    name = "static"
    reads_tools = True

    def __init__(
        self,
        *,
        ngram_weight: float = 1.0,
        form_weight: float = 0.4,
        tool_weight: float = 0.4,
        max_chars: int = 20_000,
        table: str | None = None,
    ) -> None:
        weights = {"ngram_weight": ngram_weight, "form_weight": form_weight, "tool_weight": tool_weight}
        for option, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"{option} must be 0 or more, not {weight}.")
        if max_chars < 2:
            raise ConfigError(f"max_chars must be 2 or more, not {max_chars}.")
        self.ngram_weight, self.form_weight = float(ngram_weight), float(form_weight)
        self.tool_weight = float(tool_weight)
        self.max_chars = int(max_chars)
        self._expected = table
        whole = 1 + ngram_weight + form_weight
        self._semantic_length = math.sqrt(1 / whole)
        self._lexical_length = math.sqrt(ngram_weight / whole)
        self._form_length = math.sqrt(form_weight / whole)
        self._tool_length = math.sqrt(tool_weight / whole)

    @property
    def n_semantic(self) -> int:
        """Length of the semantic block."""
        return len(self._table().column_scale)

    @property
    def n_features(self) -> int:
        """Length of a vector: the semantic block, the lexical one, the signals of form and of tools."""
        lexical = N_BUCKETS if self.ngram_weight else 0
        form = N_SIGNALS if self.form_weight else 0
        return self.n_semantic + lexical + form + (N_TOOL_SIGNALS if self.tool_weight else 0)

    def encode_one(self, text: str) -> np.ndarray:
        """Vector of one text, ``(n_features,)`` float32."""
        table = self._table()
        if self.tool_weight and split_offer(text)[1]:
            offering: np.ndarray = self._chunk(table, [text])[0]
            return offering
        text = self._shorten(text)
        lexical = len(table.column_scale)
        form = lexical + (N_BUCKETS if self.ngram_weight else 0)
        tools = form + (N_SIGNALS if self.form_weight else 0)
        vector = np.zeros(tools + (N_TOOL_SIGNALS if self.tool_weight else 0), dtype=np.float32)
        semantic = table.sum(text)
        length = math.sqrt(semantic.dot(semantic))
        if length > 0:
            semantic *= np.float32(self._semantic_length / length)
            vector[:lexical] = semantic
        if self.ngram_weight:
            vector[lexical:form] = hashed_ngrams_one(text.lower(), N_BUCKETS, length=self._lexical_length)
        if self.form_weight:
            vector[form:tools] = form_features_one(text, self._form_length)
        return vector

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The options and the table's identity; the table itself ships with the package."""
        options = {
            "ngram_weight": self.ngram_weight,
            "form_weight": self.form_weight,
            "tool_weight": self.tool_weight,
            "signals": _SIGNALS,
            "max_chars": self.max_chars,
            "table": self._table().identity,
        }
        return options, {}

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild; a router that was trained on another table, or other signals, is refused."""
        options = dict(options)
        signals = options.pop("signals", None)
        if signals != _SIGNALS:
            raise ArtefactError(
                "the router was trained on other signals of a query's form and tools than the static encoder"
                " of this version has.",
                remedy="Train the router again with this version of herdwise.",
            )
        encoder = super().from_state(options, arrays)
        encoder._table()
        return encoder

    def _table(self) -> _Table:
        table = _load()
        if self._expected not in {None, table.identity}:
            raise ArtefactError(
                f"the static encoder's table is {table.identity!r}, but the router was trained on "
                f"{self._expected!r}.",
                remedy="Train the router again with this version of herdwise.",
            )
        return table

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
        table = self._table()
        vectors = np.empty((len(texts), self.n_features), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            vectors[start : start + len(chunk)] = self._chunk(table, chunk)
            if progress is not None:
                progress(start + len(chunk), len(texts))
        return vectors

    def _chunk(self, table: _Table, texts: Sequence[str]) -> np.ndarray:
        offers: list[str] = []
        if self.tool_weight:
            # A query without tools has an empty offer; the rest of the text is what other queries have.
            texts, offers = map(list, zip(*[split_offer(text) for text in texts], strict=True))
        texts = [self._shorten(text) for text in texts]
        n_semantic = len(table.column_scale)
        vectors = np.zeros((len(texts), self.n_features), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            semantic = table.sum(text)
            length = math.sqrt(semantic @ semantic)
            if length > 0:
                np.multiply(semantic, self._semantic_length / length, out=vector[:n_semantic])
        if self.ngram_weight:
            lexical = hashed_ngrams([text.lower() for text in texts], N_BUCKETS)
            block = vectors[:, n_semantic : n_semantic + N_BUCKETS]
            np.multiply(lexical, np.float32(self._lexical_length), out=block)
        if self.form_weight:
            start = n_semantic + (N_BUCKETS if self.ngram_weight else 0)
            block = vectors[:, start : start + N_SIGNALS]
            np.multiply(form_features(texts), np.float32(self._form_length), out=block)
        for vector, text, offer in zip(vectors, texts, offers, strict=False):
            if offer:
                vector[-N_TOOL_SIGNALS:] = self._tool_length * _tool_signals(table, text, offer)
        return vectors

    def _shorten(self, text: str) -> str:
        if len(text) <= self.max_chars:
            return text
        half = self.max_chars // 2
        return f"{text[:half]} {text[-half:]}"


class _Table(NamedTuple):
    """Row r of the table is ``row_scale[r] * codes[r] * column_scale``; it carries the word's weight."""

    identity: str
    codes: np.ndarray
    row_scale: np.ndarray
    column_scale: np.ndarray
    tokens: WordPiece

    def sum(self, text: str) -> np.ndarray:
        """Sum of the rows of a text's pieces, ``(n_semantic,)`` float32."""
        rows = np.array(self.tokens.rows(text), dtype=np.intp)
        total = self._sum(rows[:_MAX_ROWS])
        for start in range(_MAX_ROWS, len(rows), _MAX_ROWS):
            total += self._sum(rows[start : start + _MAX_ROWS])
        total *= self.column_scale
        return total

    def _sum(self, rows: np.ndarray) -> np.ndarray:
        codes = self.codes.take(rows, axis=0).astype(np.float32)
        summed: np.ndarray = self.row_scale.take(rows).dot(codes)
        return summed


@cache
def _load() -> _Table:
    folder = files("herdwise.data") / "static_encoder"
    with as_file(folder / "table.safetensors") as path, safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in ("codes", "row_scale", "column_scale")}
        identity = file.metadata()["identity"]
    tokens = WordPiece((folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n"))
    return _Table(identity, arrays["codes"], arrays["row_scale"], arrays["column_scale"], tokens)


def _tool_signals(table: _Table, text: str, offer: str) -> np.ndarray:
    read = read_offer(offer)
    meaning, words = _tool_blocks(read.texts)
    asked, letters = _blocks(table, [text])
    return tool_features(read, meaning @ asked[0], words @ letters[0])


@lru_cache(maxsize=N_REMEMBERED)
def _tool_blocks(tools: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Both blocks of each tool, ``(n_tools, n)`` each; clients offer the same tools again and again."""
    return _blocks(_load(), tools)


def _blocks(table: _Table, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    meaning = np.stack([table.sum(text) for text in texts])
    meaning /= np.maximum(np.linalg.norm(meaning, axis=1, keepdims=True), 1e-12)
    return meaning, hashed_ngrams([text.lower() for text in texts], N_BUCKETS)
