"""The texts of a large outcome folder: a sequence that reads them where they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow.parquet as pq

#: Texts decoded at once.
_BATCH = 2**12


class StoredTexts(Sequence[str]):
    """A text column of a parquet file, of which one batch is in memory.

    Made for passing over it in order; the rows of a slice are read in the file's order, whatever theirs is.
    The file stays open, so that it may be replaced meanwhile.

    Args:
        file: its column holds texts and no null (see ``ParquetColumns.stored_strings``).
        column: the column's name.
    """

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        self._file, self._column = file, column
        metadata = file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._group_starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._rows = np.arange(metadata.num_rows)
        self._rewind()

    def _rewind(self) -> None:
        self._batches: Iterator[list[str]] = iter(())
        self._batch: list[str] = []
        self._start = 0

    def take(self, index: np.ndarray) -> StoredTexts:
        """The texts at ``index`` (int positions), in that order, read from the same open file."""
        part = object.__new__(StoredTexts)
        part._file, part._column, part._group_starts = self._file, self._column, self._group_starts
        part._rows = self._rows[index]
        part._rewind()
        return part

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, key: int) -> str: ...

    @overload
    def __getitem__(self, key: slice) -> list[str]: ...

    def __getitem__(self, key: int | slice) -> str | list[str]:
        if not isinstance(key, slice):
            return self._at(int(self._rows[key]))
        wanted = self._rows[key]
        found = [""] * len(wanted)
        for place in np.argsort(wanted, kind="stable").tolist():
            found[place] = self._at(int(wanted[place]))
        return found

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BATCH):
            yield from self[start : start + _BATCH]

    def _at(self, row: int) -> str:
        while not self._start <= row < self._start + len(self._batch):
            self._advance(row)
        return self._batch[row - self._start]

    def _advance(self, row: int) -> None:
        """To the next batch on the way to ``row``, over row groups that lie between."""
        following = self._start + len(self._batch)
        group = int(np.searchsorted(self._group_starts, row, side="right")) - 1
        if row < self._start or self._group_starts[group] > following or not self._batch:
            self._batches = self._read(group)
            following = int(self._group_starts[group])
        self._start, self._batch = following, next(self._batches)

    def _read(self, group: int) -> Iterator[list[str]]:
        groups = list(range(group, len(self._group_starts) - 1))
        for batch in self._file.iter_batches(_BATCH, row_groups=groups, columns=[self._column]):
            yield batch.column(0).to_pylist()
