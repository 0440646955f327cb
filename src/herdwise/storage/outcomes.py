"""Outcome folders: read and validate. ``storage.write_outcomes`` writes them.

The format (see docs/outcome-folders.md): queries.parquet, outcomes.parquet, candidates.csv, optionally
texts.parquet and SOURCE.md. Whatever is wrong is named with file, column and row; no row is dropped.
Columns are read one after the other and batch by batch: what is held beyond the table is one batch.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from herdwise.core.errors import OutcomeError
from herdwise.core.outcomes import LOGPROB_COLUMNS, NUMERIC_COLUMNS, OutcomeTable
from herdwise.storage.candidates_csv import read_candidates
from herdwise.storage.parquet_columns import ParquetColumns
from herdwise.storage.shipped import outcome_folder
from herdwise.storage.write_outcomes import write_outcomes

__all__ = [
    "read_outcomes",
    "read_query_texts",
    "read_texts",
    "read_training_outcomes",
    "write_outcomes",
]

#: Bytes of query texts up to which they are held in memory; above, they are read where they are used.
HELD_TEXT_BYTES = 2**26
_OPTIONAL = ("category", "reference", "tools", "answer")
#: What learning looks at beside the quality: resources, and signals of the answers.
_LEARNED = ("cost_usd", "latency_s", "output_tokens", "output_chars", *LOGPROB_COLUMNS)


def read_outcomes(path_or_name: str | os.PathLike[str]) -> OutcomeTable:
    """Read and validate an outcome folder.

    Args:
        path_or_name: a folder, or the name of one that ships with the package ("mmlu_pro").

    Raises:
        OutcomeError: when something is malformed, naming file, column and row.
    """
    return _read(path_or_name, {*NUMERIC_COLUMNS, *_OPTIONAL}, float32=False, held_bytes=HELD_TEXT_BYTES)


def read_training_outcomes(
    path_or_name: str | os.PathLike[str],
    quality_column: str = "quality",
    *,
    answers: bool = True,
    held_bytes: int = HELD_TEXT_BYTES,
) -> OutcomeTable:
    """What ``Router.fit`` learns from: as ``read_outcomes``, without the columns that it does not look at.

    Numbers are rounded to float32. Columns that are not read are not validated either.

    Args:
        path_or_name: see ``read_outcomes``.
        quality_column: the column that will be learned.
        answers: read the answers too, which fusion learns from.
        held_bytes: query texts beyond this are not held but read where they are used.

    Raises:
        OutcomeError: when something is malformed, naming file, column and row.
    """
    wanted = {quality_column, *_LEARNED, "tools", *(["answer"] if answers else [])}
    return _read(path_or_name, wanted, float32=True, held_bytes=held_bytes)


def _read(
    path_or_name: str | os.PathLike[str], wanted: Collection[str], *, float32: bool, held_bytes: int
) -> OutcomeTable:
    folder = outcome_folder(path_or_name)
    herd = read_candidates(folder / "candidates.csv")
    queries = ParquetColumns(folder / "queries.parquet")
    ids = queries.strings("query_id")
    _refuse_repeats(ids, queries)
    outcomes = ParquetColumns(folder / "outcomes.parquet")
    query_index = outcomes.positions("query_id", ids, "queries.parquet")
    candidate_index = outcomes.positions("candidate", herd.names, "candidates.csv")
    sample = outcomes.samples()
    values = {
        name: outcomes.numbers(name, float32=float32)
        for name in NUMERIC_COLUMNS
        if name == "quality" or (name in wanted and outcomes.has(name))
    }
    _refuse_repeated_pairs(query_index, candidate_index, sample, len(herd), outcomes)
    optional = {name: queries.optional_strings(name) for name in _OPTIONAL[:3] if name in wanted}
    has_answers = "answer" in wanted and outcomes.has("answer")
    table = OutcomeTable(
        herd=herd,
        query_ids=ids,
        texts=queries.stored_strings("text", held_bytes),
        benchmarks=_without_nulls("benchmark", queries),
        splits=queries.shared_strings("split").tolist(),
        categories=optional.get("category"),
        references=optional.get("reference"),
        tools=optional.get("tools"),
        query_index=query_index,
        candidate_index=candidate_index,
        sample=sample,
        values=values,
        answers=outcomes.shared_strings("answer") if has_answers else None,
        source=_source(folder / "SOURCE.md"),
        name=Path(path_or_name).name,
    )
    if (folder / "texts.parquet").exists():
        table = replace(table, warnings=_about_texts(folder, table))
    pa.default_memory_pool().release_unused()
    return table


def read_texts(
    path_or_name: str | os.PathLike[str], query_ids: Collection[str] | None = None
) -> dict[tuple[str, str], str]:
    """Full completions by (query_id, candidate); empty where the folder has no texts.parquet.

    Of several for one pair the last counts; ``read_outcomes`` warns of them.

    Args:
        path_or_name: the folder, or the name of a shipped one.
        query_ids: keep those of these queries alone, so that the others are never held; None = all.

    Raises:
        OutcomeError: when texts.parquet is malformed.
    """
    path = outcome_folder(path_or_name) / "texts.parquet"
    if not path.exists():
        return {}
    columns = ParquetColumns(path)
    ids, candidates = columns.shared_strings("query_id"), columns.shared_strings("candidate")
    if query_ids is None:
        return dict(zip(zip(ids, candidates, strict=True), columns.strings("text"), strict=True))
    wanted = set(query_ids)
    rows = zip(ids, candidates, columns.stored_strings("text", 0), strict=True)
    return {(id_, candidate): text for id_, candidate, text in rows if id_ in wanted}


def read_query_texts(path_or_name: str | os.PathLike[str], query_ids: Collection[str]) -> dict[str, str]:
    """Texts of the named queries alone, by id, for one who needs neither the outcomes nor their memory.

    Raises:
        OutcomeError: when queries.parquet is malformed, or lacks one of them.
    """
    queries = ParquetColumns(outcome_folder(path_or_name) / "queries.parquet")
    wanted = set(query_ids)
    texts = zip(queries.strings("query_id"), queries.stored_strings("text", 0), strict=True)
    found = {id_: text for id_, text in texts if id_ in wanted}
    lacking = sorted(wanted - found.keys())
    if lacking:
        raise queries.error("query_id", None, f"{lacking[0]!r} is missing.", "Add it to queries.parquet.")
    pa.default_memory_pool().release_unused()  # a server keeps what is returned, not what it was read from
    return found


def _source(path: Path) -> str:
    if not path.exists():
        return ""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OutcomeError(f"not UTF-8: {error}.", file=str(path), remedy="Save it as UTF-8.") from error


def _about_texts(folder: Path, table: OutcomeTable) -> tuple[str, ...]:
    """What a reader should know of texts.parquet: texts without an outcome, and repeated ones."""
    texts = ParquetColumns(folder / "texts.parquet")
    query = texts.positions("query_id", table.query_ids, "queries.parquet")
    candidate = texts.positions("candidate", table.herd.names, "candidates.csv")
    texts.stored_strings("text", 0)
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


def _without_nulls(name: str, columns: ParquetColumns) -> list[str]:
    """A text column with few distinct values, none of them null."""
    values: list[str | None] = columns.shared_strings(name).tolist()
    for row, value in enumerate(values):
        if value is None:
            raise columns.error(name, row, "is null.", "Every row needs a value here.")
    return [value for value in values if value is not None]


def _refuse_repeats(ids: Sequence[str], columns: ParquetColumns) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for row, value in enumerate(ids):
        if value in seen:
            raise columns.error("query_id", row, f"{value!r} stands twice.", "Give every query its own id.")
        seen.add(value)


def _refuse_repeated_pairs(
    query: np.ndarray, candidate: np.ndarray, sample: np.ndarray, n_candidates: int, columns: ParquetColumns
) -> None:
    key = query.astype(np.int64)
    key *= max(n_candidates, 1)
    key += candidate
    key *= int(sample.max(initial=0)) + 1
    key += sample
    ascending = np.sort(key)
    if not (ascending[1:] == ascending[:-1]).any():
        return
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(np.diff(key[order]) == 0)
    raise columns.error(
        "query_id",
        int(order[again + 1].min()),
        "(query_id, candidate, sample) stands twice.",
        "Number repeated runs in an integer column `sample`, from 0.",
    )
