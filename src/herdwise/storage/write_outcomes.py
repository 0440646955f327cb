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
from herdwise.storage.whole_files import naming, put_in_place


def write_outcomes(
    table: OutcomeTable,
    path: str | os.PathLike[str],
    *,
    texts: Mapping[tuple[str, str], str] | None = None,
) -> Path:
    """Write an outcome folder; all files are written beside their places, and then replaced whole.

    So a reader never sees half of one, and a full disk leaves the folder as it was.

    Args:
        table: what to write.
        path: the folder, made where it is missing.
        texts: full completions by (query_id, candidate); without them, an older texts.parquet is removed:
            its texts would be of other outcomes.

    Returns:
        The folder.

    Raises:
        OSError: naming the folder, also where the disk is full.
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
    parts = {"queries.parquet": pa.table(queries), "outcomes.parquet": pa.table(outcomes)}
    if texts is not None:
        keys = list(texts)
        columns = {
            "query_id": pa.array([k[0] for k in keys], pa.string()),
            "candidate": pa.array([k[1] for k in keys], pa.string()),
            "text": pa.array([texts[k] for k in keys], pa.string()),
        }
        parts["texts.parquet"] = pa.table(columns)
    with naming(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".writing.") as building:
        for name, part in parts.items():
            pq.write_table(part, Path(building, name), compression="zstd")
        write_candidates(table.herd, Path(building, "candidates.csv"))
        if table.source:
            Path(building, "SOURCE.md").write_text(table.source, encoding="utf-8")
        put_in_place({file: folder / file.name for file in sorted(Path(building).iterdir())})
    if texts is None:
        (folder / "texts.parquet").unlink(missing_ok=True)
    return folder
