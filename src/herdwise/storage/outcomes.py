"""Outcome folders: read, validate, write.

The format (see docs/outcome-folders.md): queries.parquet, outcomes.parquet, candidates.csv, optionally
texts.parquet and SOURCE.md. Whatever is wrong is named with file, column and row; no row is dropped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from herdwise.core.errors import OutcomeError
from herdwise.core.outcomes import NUMERIC_COLUMNS, OutcomeTable
from herdwise.storage.candidates_csv import read_candidates, write_candidates
from herdwise.storage.shipped import outcome_folder

_FRACTIONS = ("quality", "correct")


def read_outcomes(path_or_name: str | os.PathLike[str]) -> OutcomeTable:
    """Read and validate an outcome folder.

    Args:
        path_or_name: a folder, or the name of one that ships with the package ("mmlu_pro").

    Raises:
        OutcomeError: when something is malformed, naming file, column and row.
    """
    folder = outcome_folder(path_or_name)
    herd = read_candidates(folder / "candidates.csv")
    queries = _Columns(folder / "queries.parquet")
    ids = queries.strings("query_id")
    _refuse_repeats(ids, queries)
    outcomes = _Columns(folder / "outcomes.parquet")
    query_index = outcomes.positions("query_id", ids, "queries.parquet")
    candidate_index = outcomes.positions("candidate", pa.array(herd.names, pa.string()), "candidates.csv")
    sample = outcomes.samples()
    values = {c: outcomes.numbers(c) for c in NUMERIC_COLUMNS if c == "quality" or outcomes.has(c)}
    _refuse_repeated_pairs(query_index, candidate_index, sample, len(herd), outcomes)
    answers = outcomes.optional_strings("answer")
    table = OutcomeTable(
        herd=herd,
        query_ids=ids.to_pylist(),
        texts=queries.strings("text").to_pylist(),
        benchmarks=queries.strings("benchmark").to_pylist(),
        splits=queries.optional_strings("split", required=True) or [],
        categories=queries.optional_strings("category"),
        references=queries.optional_strings("reference"),
        tools=queries.optional_strings("tools"),
        query_index=query_index,
        candidate_index=candidate_index,
        sample=sample,
        values=values,
        answers=None if answers is None else np.array(answers, dtype=object),
        source=_source(folder / "SOURCE.md"),
        name=Path(path_or_name).name,
    )
    if (folder / "texts.parquet").exists():
        table = replace(table, warnings=_about_texts(folder, table))
    return table


def read_texts(path_or_name: str | os.PathLike[str]) -> dict[tuple[str, str], str]:
    """Full completions by (query_id, candidate); empty where the folder has no texts.parquet.

    Of several for one pair the last counts; ``read_outcomes`` warns of them.

    Raises:
        OutcomeError: when texts.parquet is malformed.
    """
    path = outcome_folder(path_or_name) / "texts.parquet"
    if not path.exists():
        return {}
    columns = _Columns(path)
    keys = zip(columns.strings("query_id").to_pylist(), columns.strings("candidate").to_pylist(), strict=True)
    return dict(zip(keys, columns.strings("text").to_pylist(), strict=True))


def read_query_texts(path_or_name: str | os.PathLike[str], query_ids: Collection[str]) -> dict[str, str]:
    """Texts of the named queries alone, by id, for one who needs neither the outcomes nor their memory.

    Raises:
        OutcomeError: when queries.parquet is malformed, or lacks one of them.
    """
    queries = _Columns(outcome_folder(path_or_name) / "queries.parquet")
    ids, texts = queries.strings("query_id"), queries.strings("text")
    wanted = pc.is_in(ids, value_set=pa.array(list(query_ids), pa.string()))
    found = dict(zip(ids.filter(wanted).to_pylist(), texts.filter(wanted).to_pylist(), strict=True))
    lacking = sorted(set(query_ids) - found.keys())
    if lacking:
        raise queries.error("query_id", None, f"{lacking[0]!r} is missing.", "Add it to queries.parquet.")
    del queries, ids, texts, wanted
    pa.default_memory_pool().release_unused()  # a server keeps what is returned, not what it was read from
    return found


def write_outcomes(
    table: OutcomeTable,
    path: str | os.PathLike[str],
    *,
    texts: Mapping[tuple[str, str], str] | None = None,
) -> Path:
    """Write an outcome folder; every file is replaced whole, so a reader never sees half of one.

    Args:
        table: what to write.
        path: the folder, made where it is missing.
        texts: full completions by (query_id, candidate); without them, an older texts.parquet is removed:
            its texts would be of other outcomes.

    Returns:
        The folder.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    queries: dict[str, Any] = {
        "query_id": pa.array(table.query_ids, pa.string()),
        "text": pa.array(table.texts, pa.string()),
        "benchmark": pa.array(table.benchmarks, pa.string()),
        "split": pa.array(table.splits, pa.string()),
    }
    for name, column in (
        ("category", table.categories),
        ("reference", table.references),
        ("tools", table.tools),
    ):
        if column is not None:
            queries[name] = pa.array(column, pa.string())
    ids = pa.array(table.query_ids, pa.string())
    names = pa.array(table.herd.names, pa.string())
    outcomes: dict[str, Any] = {
        "query_id": ids.take(pa.array(table.query_index)),
        "candidate": pa.DictionaryArray.from_arrays(pa.array(table.candidate_index, pa.int32()), names),
    }
    if table.sample.any():
        outcomes["sample"] = pa.array(table.sample, pa.int32())
    for name in NUMERIC_COLUMNS:
        if name in table.values:
            value = np.asarray(table.values[name])
            outcomes[name] = pa.array(value, mask=~np.isfinite(value))
    if table.answers is not None:
        outcomes["answer"] = pa.array(table.answers.tolist(), pa.string())
    _write_parquet(pa.table(queries), folder / "queries.parquet")
    _write_parquet(pa.table(outcomes), folder / "outcomes.parquet")
    write_candidates(table.herd, folder / "candidates.csv")
    if texts is not None:
        keys = list(texts)
        columns = {
            "query_id": pa.array([k[0] for k in keys], pa.string()),
            "candidate": pa.array([k[1] for k in keys], pa.string()),
            "text": pa.array([texts[k] for k in keys], pa.string()),
        }
        _write_parquet(pa.table(columns), folder / "texts.parquet")
    else:
        (folder / "texts.parquet").unlink(missing_ok=True)
    if table.source:
        (folder / "SOURCE.md").write_text(table.source, encoding="utf-8")
    return folder


def _source(path: Path) -> str:
    if not path.exists():
        return ""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OutcomeError(f"not UTF-8: {error}.", file=str(path), remedy="Save it as UTF-8.") from error


def _about_texts(folder: Path, table: OutcomeTable) -> tuple[str, ...]:
    """What a reader should know of texts.parquet: texts without an outcome, and repeated ones."""
    texts = _Columns(folder / "texts.parquet")
    ids = pa.array(table.query_ids, pa.string())
    query = texts.positions("query_id", ids, "queries.parquet")
    candidate = texts.positions("candidate", pa.array(table.herd.names, pa.string()), "candidates.csv")
    texts.strings("text")
    ran = np.zeros((table.n_queries, table.n_candidates), dtype=bool)
    ran[table.query_index, table.candidate_index] = True
    orphans = int((~ran[query, candidate]).sum())
    repeats = len(query) - len(np.unique(query.astype(np.int64) * table.n_candidates + candidate))
    notes = []
    if orphans:
        notes.append(f"texts.parquet: {orphans} texts have no outcome.")
    if repeats:
        notes.append(
            f"texts.parquet: {repeats} texts are not the first of their query and candidate; the last counts."
        )
    return tuple(notes)


def _write_parquet(table: pa.Table, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        pq.write_table(table, temporary, compression="zstd")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _refuse_repeats(ids: pa.StringArray, columns: _Columns) -> None:
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    seen: set[str] = set()
    for row, value in enumerate(ids.to_pylist()):
        if value in seen:
            raise columns.error("query_id", row, f"{value!r} stands twice.", "Give every query its own id.")
        seen.add(value)


def _refuse_repeated_pairs(
    query: np.ndarray, candidate: np.ndarray, sample: np.ndarray, n_candidates: int, columns: _Columns
) -> None:
    key = (query.astype(np.int64) * max(n_candidates, 1) + candidate) * (
        int(sample.max(initial=0)) + 1
    ) + sample
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(np.diff(key[order]) == 0)
    if len(again):
        row = int(order[again + 1].min())
        raise columns.error(
            "query_id",
            row,
            "(query_id, candidate, sample) stands twice.",
            "Number repeated runs in an integer column `sample`, from 0.",
        )


class _Columns:
    """One parquet file, read column by column, with errors that name it."""

    def __init__(self, path: Path) -> None:
        self._file = str(path)
        if not path.exists():
            raise OutcomeError(
                "the file is missing.", file=self._file, remedy="See docs/outcome-folders.md for the format."
            )
        try:
            with pq.ParquetFile(path) as file:
                self._table = file.read()
        except (pa.ArrowException, OSError) as error:
            first = str(error).splitlines()[0]
            raise OutcomeError(
                f"not a readable parquet file: {first}", file=self._file, remedy="Write it again."
            ) from error

    def has(self, name: str) -> bool:
        return name in self._table.column_names

    def error(self, column: str, row: int | None, message: str, remedy: str = "") -> OutcomeError:
        return OutcomeError(message, file=self._file, column=column, row=row, remedy=remedy)

    def _column(self, name: str) -> pa.Array:
        if not self.has(name):
            raise self.error(name, None, "the column is missing.", "See docs/outcome-folders.md.")
        column = self._table.column(name).combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column

    def _text(self, name: str) -> pa.StringArray:
        column = self._column(name)
        if pa.types.is_null(column.type) or (
            len(column) == column.null_count and not pa.types.is_nested(column.type)
        ):
            return pa.nulls(len(column), pa.string())
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise self.error(name, None, f"must hold text, not {column.type}.", "Convert it to strings.")
        return column.cast(pa.string()) if len(column) < 2**31 else column

    def strings(self, name: str) -> pa.StringArray:
        """A text column in which nothing may be null."""
        column = self._text(name)
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise self.error(name, row, "is null.", "Every row needs a value here.")
        return column

    def optional_strings(self, name: str, *, required: bool = False) -> list[str | None] | None:
        """A text column that may hold nulls; None where it is missing and not required."""
        if not required and not self.has(name):
            return None
        values: list[str | None] = self._text(name).to_pylist()
        return values

    def positions(self, name: str, known: pa.Array, home: str) -> np.ndarray:
        """Positions of a column's values in ``known``, int32."""
        column = self.strings(name)
        found = pc.index_in(column, value_set=known.cast(pa.string()))
        if found.null_count:
            row = int(np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))[0])
            raise self.error(name, row, f"{column[row].as_py()!r} is not in {home}.", f"Add it to {home}.")
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int32)

    def numbers(self, name: str) -> np.ndarray:
        """A numeric column as float64 (float32 where it was stored so), NaN = null, checked for its range."""
        column = self._column(name)
        kind = column.type
        if pa.types.is_null(kind):
            return np.full(len(column), np.nan, dtype=np.float32)
        if not (
            pa.types.is_floating(kind)
            or pa.types.is_integer(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_decimal(kind)
        ):
            raise self.error(name, None, f"must hold numbers, not {kind}.", "Convert it to float.")
        wide = (
            pa.float32()
            if kind in (pa.float16(), pa.float32()) or pa.types.is_boolean(kind)
            else pa.float64()
        )
        values = column.cast(wide).to_numpy(zero_copy_only=False)
        known = ~np.isnan(values)
        high = 1.0 if name in _FRACTIONS else np.inf
        wrong = known & ((values < 0) | (values > high) | np.isinf(values))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            allowed = "in [0, 1]" if name in _FRACTIONS else "finite and at least 0"
            raise self.error(name, row, f"{values[row]} must be {allowed}.", "Null means unknown.")
        return np.asarray(values)

    def samples(self) -> np.ndarray:
        """The ``sample`` column, 0 where it is absent."""
        if not self.has("sample"):
            return np.zeros(len(self._table), dtype=np.int32)
        column = self._column("sample")
        if not pa.types.is_integer(column.type):
            raise self.error("sample", None, f"must hold integers, not {column.type}.", "Number from 0.")
        values = column.to_numpy(zero_copy_only=False)
        wrong = (
            column.is_null().to_numpy(zero_copy_only=False)
            if column.null_count
            else np.asarray((values < 0) | (values > 2**31 - 1))
        )
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise self.error("sample", row, "must be an integer from 0.", "Number repeated runs from 0.")
        return np.asarray(values, dtype=np.int32)
