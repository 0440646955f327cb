"""OutcomeTable: what each candidate did on each query, as columns.

Rows are (query, candidate, sample); a pair without a row was not run. ``matrix`` gives the dense
``(n_queries, n_candidates)`` view that learning and replay use, NaN where unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.errors import InputError
from herdwise.core.query import Query, asked_text

#: Natural logarithms of token probabilities, at most 0: the mean and the least of the whole answer's tokens,
#: and of those that name the answer (such as an option's letter).
LOGPROB_COLUMNS = ("mean_logprob", "min_logprob", "answer_logprob")
#: Numeric outcome columns, all float, NaN = unknown.
NUMERIC_COLUMNS = (
    "quality",
    "correct",
    "cost_usd",
    "latency_s",
    "input_tokens",
    "output_tokens",
    "output_chars",
    *LOGPROB_COLUMNS,
)


#: Cells from which only one dense view is kept, and rows that are brought to it at once.
_LARGE, _BLOCK = 2**24, 2**22


@runtime_checkable
class _Takes(Protocol):
    def take(self, index: np.ndarray) -> Sequence[str]: ...


@dataclass(frozen=True, eq=False)
class OutcomeTable:
    """Recorded outcomes of a herd on queries.

    Args:
        herd: the candidates, in column order.
        query_ids: ``(n,)`` unique ids.
        texts: ``(n,)`` query texts; a sequence that reads them where they are used has a ``take`` of its own.
        benchmarks: ``(n,)`` benchmark names.
        splits: ``(n,)`` split names, None where a query belongs to none.
        query_index: ``(k,)`` int, row -> query.
        candidate_index: ``(k,)`` int, row -> candidate.
        sample: ``(k,)`` int, 0 for the first or only sample.
        values: numeric columns of ``NUMERIC_COLUMNS`` that were recorded, each ``(k,)`` float32 or float64.
        answers: ``(k,)`` extracted answers (str or None), or None when none were recorded.
        categories, references, tools: optional ``(n,)`` query columns.
        source: the text of SOURCE.md.
        name: what to call the table in messages.
        warnings: what a reader noticed that is not an error.
    """

    herd: Herd
    query_ids: Sequence[str]
    texts: Sequence[str]
    benchmarks: Sequence[str]
    splits: Sequence[str | None]
    query_index: np.ndarray
    candidate_index: np.ndarray
    sample: np.ndarray
    values: dict[str, np.ndarray]
    answers: np.ndarray | None = None
    categories: Sequence[str | None] | None = None
    references: Sequence[str | None] | None = None
    tools: Sequence[str | None] | None = None
    source: str = ""
    name: str = ""
    warnings: tuple[str, ...] = ()
    _cache: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.query_ids)

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return len(self.herd)

    @property
    def n_outcomes(self) -> int:
        """Number of recorded (query, candidate, sample) rows."""
        return len(self.query_index)

    def has(self, column: str) -> bool:
        """Whether a numeric column was recorded with at least one value."""
        return column in self.values and bool(np.isfinite(self.values[column]).any())

    def matrix(self, column: str = "quality") -> np.ndarray:
        """Dense ``(n, m)`` float32 view of one numeric column, samples averaged, NaN = unknown.

        Views are kept; of large ones the last alone, since a few would take more than all the rest.

        Raises:
            InputError: when the column was not recorded.
        """
        if column not in self._cache:
            if column not in self.values:
                raise InputError(
                    f"{self.name or 'the table'} has no column {column!r}.",
                    remedy=f"Recorded: {', '.join(sorted(self.values))}.",
                )
            dense = self._dense(self.values[column])
            dense.flags.writeable = False
            if dense.size > _LARGE:
                self._cache.clear()
            self._cache[column] = dense
        return self._cache[column]

    def _dense(self, values: np.ndarray) -> np.ndarray:
        """The mean of each pair's samples, without a float64 array of all pairs."""
        shape = (self.n_queries, self.n_candidates)
        dense = np.full(shape[0] * shape[1], np.nan, dtype=np.float32)
        n_known = 0
        for start in range(0, len(values), _BLOCK):
            flat, value = self._known(values, slice(start, start + _BLOCK))
            dense[flat] = value
            n_known += len(flat)
        if n_known > np.count_nonzero(np.isfinite(dense)):
            flat, value = self._known(values, slice(None))
            order = np.argsort(flat, kind="stable")
            first = np.flatnonzero(np.diff(flat[order], prepend=-1))
            total = np.add.reduceat(value[order].astype(np.float64), first)
            dense[flat[order[first]]] = total / np.diff(first, append=len(flat))
        return dense.reshape(shape)

    def _known(self, values: np.ndarray, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Places in the flattened dense view, and values, of the rows with a value."""
        known = np.isfinite(values[rows])
        flat = self.query_index[rows][known].astype(np.int64)
        flat *= self.n_candidates
        flat += self.candidate_index[rows][known]
        return flat, values[rows][known]

    def answer_matrix(self) -> np.ndarray:
        """Dense ``(n, m)`` object view of the first sample's answers, None where none could be read."""
        dense = np.full((self.n_queries, self.n_candidates), None, dtype=object)
        if self.answers is not None:
            first = self.sample == 0
            dense[self.query_index[first], self.candidate_index[first]] = self.answers[first]
        return dense

    @property
    def n_samples(self) -> int:
        """Samples of the pair that was run most often; 1 where nobody was asked twice."""
        return int(self.sample.max(initial=0)) + 1

    def one_sample(self, sample: int) -> OutcomeTable:
        """The outcomes of one sample alone, as if each pair had been run once; queries and herd stay."""
        keep = self.sample == sample
        return replace(
            self,
            query_index=self.query_index[keep],
            candidate_index=self.candidate_index[keep],
            sample=np.zeros(int(keep.sum()), dtype=self.sample.dtype),
            values={k: v[keep] for k, v in self.values.items()},
            answers=None if self.answers is None else self.answers[keep],
            _cache={},
        )

    def coverage(self, column: str = "quality") -> np.ndarray:
        """Share of the queries that each candidate has a value for, ``(m,)``."""
        if self.n_queries == 0:
            return np.zeros(self.n_candidates)
        return np.asarray(np.isfinite(self.matrix(column)).mean(axis=0))

    def split_names(self) -> list[str]:
        """Distinct split names, sorted."""
        return sorted({s for s in self.splits if s is not None})

    def split(self, name: str) -> OutcomeTable:
        """The queries of one split.

        Raises:
            InputError: when no query belongs to it.
        """
        chosen = np.array([s == name for s in self.splits], dtype=bool)
        if not chosen.any():
            known = ", ".join(self.split_names()) or "none"
            raise InputError(
                f"{self.name or 'the table'} has no query in split {name!r}.",
                remedy=f"Its splits: {known}. Name one with --train-split or --test-split.",
            )
        return self.take(np.flatnonzero(chosen))

    def take(self, index: np.ndarray) -> OutcomeTable:
        """The queries at ``index`` (int positions without repeats), in that order, with their outcomes."""
        index = np.asarray(index)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        if np.array_equal(index, np.arange(self.n_queries)):
            return self
        rows: list[int] = index.tolist()
        position = np.full(self.n_queries, -1, dtype=np.int32)
        position[index] = np.arange(len(index))
        moved = position[self.query_index]
        keep = moved >= 0

        def pick(column: Sequence[str | None] | None) -> list[str | None] | None:
            return None if column is None else [column[i] for i in rows]

        texts = self.texts

        return replace(
            self,
            query_ids=[self.query_ids[i] for i in rows],
            texts=texts.take(index) if isinstance(texts, _Takes) else [texts[i] for i in rows],
            benchmarks=[self.benchmarks[i] for i in rows],
            splits=[self.splits[i] for i in rows],
            categories=pick(self.categories),
            references=pick(self.references),
            tools=pick(self.tools),
            query_index=moved[keep],
            candidate_index=self.candidate_index[keep],
            sample=self.sample[keep],
            values={k: v[keep] for k, v in self.values.items()},
            answers=None if self.answers is None else self.answers[keep],
            _cache={},
        )

    def restrict(self, names: Iterable[str]) -> OutcomeTable:
        """Only the named candidates, in the herd's order; queries stay.

        Raises:
            UnknownNameError: when one of them is not in the herd.
        """
        herd = self.herd.subset(names)
        if len(herd) == len(self.herd):
            return self
        column = np.array([herd.index(c.name) if c.name in herd else -1 for c in self.herd], dtype=np.int32)
        moved = column[self.candidate_index] if len(self.candidate_index) else self.candidate_index
        keep = moved >= 0
        return replace(
            self,
            herd=herd,
            query_index=self.query_index[keep],
            candidate_index=moved[keep].astype(np.int32, copy=False),
            sample=self.sample[keep],
            values={k: v[keep] for k, v in self.values.items()},
            answers=None if self.answers is None else self.answers[keep],
            _cache={},
        )

    def queries(self) -> list[Query]:
        """The queries as routing sees them."""
        return [
            Query(text=text, id=id_, benchmark=benchmark, recorded_tools=self.recorded_tools(i))
            for i, (text, id_, benchmark) in enumerate(
                zip(self.texts, self.query_ids, self.benchmarks, strict=True)
            )
        ]

    def recorded_tools(self, row: int) -> tuple[Mapping[str, Any], ...]:
        """The tools that a query offered.

        Raises:
            InputError: when their JSON is not an object or a list of objects.
        """
        text = None if self.tools is None else self.tools[row]
        if not text:
            return ()
        try:
            tools: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:
            tools = None
        if isinstance(tools, Mapping):
            tools = [tools]
        if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
            raise InputError(
                f"{self.name or 'these outcomes'}, query {self.query_ids[row]!r}: tools is not a JSON list "
                "of objects.",
                remedy="Write the offered functions as JSON, or leave the column empty.",
            )
        return tuple(tools)

    def asked_texts(self, start: int, stop: int) -> list[str]:
        """Texts of some rows with the tools they offered, as ``Query.asked``."""
        texts = self.texts[start:stop]
        if self.tools is None:
            return list(texts)
        return [asked_text(text, self.recorded_tools(start + i)) for i, text in enumerate(texts)]

    def fingerprint(self, column: str = "quality") -> str:
        """Hex digest over ids, texts, candidates and one column: the same data gives the same digest."""
        digest = hashlib.sha256()
        for id_, text in zip(self.query_ids, self.texts, strict=True):
            digest.update(id_.encode() + b"\0" + text.encode() + b"\0")
        digest.update("\0".join(self.herd.names).encode())
        dense = self.matrix(column)
        step = max(_BLOCK // max(self.n_candidates, 1), 1)
        for start in range(0, self.n_queries, step):
            digest.update(np.nan_to_num(dense[start : start + step], nan=-1.0).astype("<f4").tobytes())
        return digest.hexdigest()
