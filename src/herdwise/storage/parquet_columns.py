"""One parquet file, read column by column and batch by batch, with errors that name file, column and row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from herdwise.core.errors import OutcomeError
from herdwise.core.outcomes import LOGPROB_COLUMNS
from herdwise.storage.stored_texts import StoredTexts

_FRACTIONS = ("quality", "correct")
#: Rows decoded at once, of columns with short values and of texts; they bound what reading holds.
_ROWS, _TEXT_ROWS = 2**20, 2**12
#: Bytes of pages read ahead of decoding.
_BUFFER = 2**20


class ParquetColumns:
    """Columns of a parquet file as compact arrays; besides the column asked for, a batch is in memory.

    Raises:
        OutcomeError: when the file is missing or no parquet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            raise self._refused("the file is missing.", "See docs/outcome-folders.md for the format.")
        try:
            self._file = pq.ParquetFile(path, buffer_size=_BUFFER)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        self._schema: pa.Schema = self._file.schema_arrow

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self._file.metadata.num_rows)

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._schema.names

    def error(self, column: str, row: int | None, message: str, remedy: str = "") -> OutcomeError:
        """What is wrong, with the place."""
        return OutcomeError(message, file=str(self._path), column=column, row=row, remedy=remedy)

    def strings(self, name: str) -> list[str]:
        """A text column in which nothing may be null, each value a string of its own."""
        found: list[str] = []
        for _, part in self._texts(name, _ROWS):
            found += part.to_pylist()
        return found

    def stored_strings(self, name: str, held_bytes: int) -> Sequence[str]:
        """The same for long texts: a list up to ``held_bytes``, else read again where they are used."""
        found: list[str] = []
        size = 0
        for _, part in self._texts(name, _TEXT_ROWS):
            size += int(pc.sum(pc.binary_length(part)).as_py() or 0)
            if size > held_bytes:
                found.clear()
            else:
                found += part.to_pylist()
        return found if size <= held_bytes else StoredTexts(self._file, name)

    def shared_strings(self, name: str) -> np.ndarray:
        """A text column with few distinct values and nulls: ``(n,)`` objects that share their strings."""
        known: dict[str, str] = {}
        found = np.full(self.n_rows, None, dtype=object)
        for start, part in self._texts(name, _ROWS, nulls=True):
            coded = part.dictionary_encode()
            values = [known.setdefault(value, value) for value in coded.dictionary.to_pylist()]
            shared = np.array([*values, None], dtype=object)
            places = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
            found[start : start + len(part)] = shared[places]
        return found

    def optional_strings(self, name: str) -> list[str | None] | None:
        """A text column that may hold nulls, None where it is missing."""
        if not self.has(name):
            return None
        values: list[str | None] = self.shared_strings(name).tolist()
        return values

    def positions(self, name: str, known: Sequence[str], home: str) -> np.ndarray:
        """Positions of a column's values in ``known``, ``(n,)`` int32."""
        among = pa.array(known, pa.string())
        found = np.empty(self.n_rows, dtype=np.int32)
        for start, part in self._texts(name, _ROWS):
            place = pc.index_in(part, value_set=among)
            if place.null_count:
                row = _first(place.is_null())
                message = f"{part[row].as_py()!r} is not in {home}."
                raise self.error(name, start + row, message, f"Add it to {home}.")
            found[start : start + len(part)] = place.to_numpy(zero_copy_only=False)
        return found

    def numbers(self, name: str, *, float32: bool = False) -> np.ndarray:
        """A numeric column ``(n,)``, NaN = null, checked for its range.

        Args:
            float32: rounded to float32; else float64, unless it was stored as float32.
        """
        kind = self._type(name)
        if pa.types.is_null(kind):
            return np.full(self.n_rows, np.nan, dtype=np.float32)
        if not (
            pa.types.is_floating(kind)
            or pa.types.is_integer(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_decimal(kind)
        ):
            raise self.error(name, None, f"must hold numbers, not {kind}.", "Convert it to float.")
        small = kind in (pa.float16(), pa.float32()) or pa.types.is_boolean(kind)
        found = np.empty(self.n_rows, dtype=np.float32 if small or float32 else np.float64)
        low, high = (
            (-np.inf, 0.0) if name in LOGPROB_COLUMNS else (0.0, 1.0 if name in _FRACTIONS else np.inf)
        )
        for start, part in self._batches(name, _ROWS):
            # Not safe: an integer that no float holds exactly is as good as its neighbour.
            kind_read = pa.float32() if small else pa.float64()
            values = part.cast(kind_read, safe=False).to_numpy(zero_copy_only=False)
            wrong = (values < low) | (values > high) | np.isinf(values)
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                allowed = "in [0, 1]" if name in _FRACTIONS else "finite and at least 0"
                allowed = "finite and at most 0" if name in LOGPROB_COLUMNS else allowed
                message = f"{values[row]} must be {allowed}."
                raise self.error(name, start + row, message, "Null means unknown.")
            found[start : start + len(values)] = values
        return found

    def samples(self) -> np.ndarray:
        """The ``sample`` column ``(n,)`` int32, 0 where it is absent."""
        found = np.zeros(self.n_rows, dtype=np.int32)
        if not self.has("sample"):
            return found
        kind = self._type("sample")
        if not pa.types.is_integer(kind):
            raise self.error("sample", None, f"must hold integers, not {kind}.", "Number from 0.")
        for start, part in self._batches("sample", _ROWS):
            values = part.to_numpy(zero_copy_only=False)
            wrong = part.is_null() if part.null_count else pa.array((values < 0) | (values > 2**31 - 1))
            if pc.any(wrong).as_py():
                remedy = "Number repeated runs from 0."
                raise self.error("sample", start + _first(wrong), "must be an integer from 0.", remedy)
            found[start : start + len(values)] = values
        return found

    def _type(self, name: str) -> pa.DataType:
        if not self.has(name):
            raise self.error(name, None, "the column is missing.", "See docs/outcome-folders.md.")
        kind = self._schema.field(name).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def _batches(self, name: str, n_rows: int) -> Iterator[tuple[int, pa.Array]]:
        """(first row, values) of each batch of one column, dictionaries resolved."""
        kind, start = self._type(name), 0
        try:
            for batch in self._file.iter_batches(n_rows, columns=[name]):
                part = batch.column(0)
                yield start, part.cast(kind) if pa.types.is_dictionary(part.type) else part
                start += len(part)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _texts(self, name: str, n_rows: int, *, nulls: bool = False) -> Iterator[tuple[int, pa.Array]]:
        """The same of a text column, checked; of another type only a column of nulls passes for one."""
        kind = self._type(name)
        textual = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        for start, part in self._batches(name, n_rows):
            if not textual and (pa.types.is_nested(kind) or part.null_count < len(part)):
                raise self.error(name, None, f"must hold text, not {kind}.", "Convert it to strings.")
            if part.null_count and not nulls:
                row = start + _first(part.is_null())
                raise self.error(name, row, "is null.", "Every row needs a value here.")
            yield start, part.cast(pa.string()) if textual else pa.nulls(len(part), pa.string())

    def _refused(self, message: str, remedy: str) -> OutcomeError:
        return OutcomeError(message, file=str(self._path), remedy=remedy)

    def _unreadable(self, error: Exception) -> OutcomeError:
        if isinstance(error, PermissionError):
            return self._refused("may not be read.", "Mend its permissions.")
        first = str(error).splitlines()[0]
        return self._refused(f"not a readable parquet file: {first}", "Write it again.")


def _first(mask: pa.Array) -> int:
    """Position of the first true value."""
    return int(np.flatnonzero(mask.to_numpy(zero_copy_only=False))[0])
