"""Outcome folders: write. See ``storage.outcomes`` for reading."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from herdwise.core.outcomes import NUMERIC_COLUMNS, OutcomeTable
from herdwise.storage.candidates_csv import write_candidates


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


def _write_parquet(table: pa.Table, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        pq.write_table(table, temporary, compression="zstd")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
