"""Rows of a benchmark's file, and the items made of them: every malformed row is named at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from herdwise.core.errors import HerdwiseError, ItemsError
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import GRADERS, Grader
from herdwise.profiling.options import create

#: More problems than this are counted, not listed.
_LISTED = 20
#: What is wrong with the fields of most files is explained there.
REMEDY = "docs/profiling.md explains the fields."


class Problem(Exception):  # noqa: N818 - one row's, gathered into an ItemsError
    """What is wrong with one row, beginning with the field."""


#: (where it stands, for people; what stands there).
Row = tuple[str, Any]


def json_lines(path: Path) -> Iterator[Row]:
    """The lines of a JSONL file that are not empty, undecoded.

    Raises:
        ItemsError: when it cannot be read.
    """
    # Only "\n" ends a line: JSON may hold U+2028 and its like unescaped.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            yield f"line {number}", line


def decoded(line: str) -> dict[str, Any]:
    """One line's object.

    Raises:
        Problem: when it is none.
    """
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise Problem("must be a JSON object.")
    return row


def table_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV or parquet file as objects.

    Args:
        path: parquet by its suffix, else CSV; that has a header if its first row names the first column.
        columns: those that must stand there, in the order of a file without header.

    Raises:
        ItemsError: when it cannot be read, or lacks a column.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path, columns)
        return
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if header is None:
                names = [cell.strip() for cell in cells]
                if columns[0] in names:
                    _lacking(path, [c for c in columns if c not in names])
                    header = names
                    continue
                header = list(columns)
            where = f"line {reader.line_num}"
            if len(cells) != len(header):
                wanted = f"{len(cells)} cells where {len(header)} are expected ({', '.join(header)})."
                yield where, Problem(wanted)
                continue
            yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ItemsError(f"{path}, line {reader.line_num}: not a CSV: {error}") from error


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except FileNotFoundError as error:
        raise ItemsError(f"{path}: there is no such file.") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise ItemsError(f"{path}: not parquet: {error}") from error
    _lacking(path, [c for c in columns if c not in table.column_names])
    number = 0
    for batch in table.to_batches():
        for row in batch.to_pylist():
            yield f"row {number}", row
            number += 1


def _lacking(path: Path, columns: Sequence[str]) -> None:
    if columns:
        raise ItemsError(
            f"{path}: lacks {'column' if len(columns) == 1 else 'columns'} {', '.join(columns)}.",
            remedy=REMEDY,
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ItemsError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise ItemsError(f"{path}: cannot be read: {error.strerror}.", remedy="Name a file.") from error
    except UnicodeDecodeError as error:
        raise ItemsError(f"{path}: cannot be read: {error}.", remedy="It must be UTF-8.") from error


def gather(path: Path, rows: Iterable[Row], make: Callable[[Any], Sequence[Item]]) -> list[Item]:
    """The items of all rows.

    Args:
        path: for messages.
        rows: of it; a ``Problem`` in place of a row is reported like those that ``make`` raises.
        make: a row's items.

    Raises:
        ItemsError: naming every malformed row, or that there is none.
    """
    items: list[Item] = []
    problems: list[str] = []
    first: dict[str, str] = {}
    for where, row in rows:
        try:
            if isinstance(row, Problem):
                raise row
            for item in make(row):
                if item.id in first:
                    raise Problem(f"id: {item.id!r} stands on {first[item.id]} already.")
                first[item.id] = where
                items.append(replace(item, where=f"{path}, {where}"))
        except Problem as problem:
            problems.append(f"{where}, {problem}")
    if problems:
        listed = "\n".join(f"  {p}" for p in problems[:_LISTED])
        more = f"\n  and {len(problems) - _LISTED} more." if len(problems) > _LISTED else ""
        raise ItemsError(f"{path}: {len(problems)} malformed:\n{listed}{more}", remedy=REMEDY)
    if not items:
        raise ItemsError(f"{path}: holds no items.", remedy=REMEDY)
    return items


def text_of(row: dict[str, Any], name: str) -> str:
    """A cell that must hold a text.

    Raises:
        Problem: when it holds none.
    """
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Problem(f"{name}: must be a text that is not empty.")
    return value


class Graders:
    """Graders by name and options, each made once.

    Args:
        default: options that a grader of that name gets where an item does not set them: name -> options.
    """

    def __init__(self, default: dict[str, dict[str, Any]] | None = None) -> None:
        self._default = default or {}
        self._made: dict[bytes, Grader] = {}

    def options(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """An item's own options over the defaults."""
        return {**self._default.get(name, {}), **given}

    def get(self, name: str, options: dict[str, Any]) -> Grader:
        """The grader.

        Raises:
            Problem: when nobody registered it, or it takes no such options.
        """
        key = msgspec.json.encode([name, options], order="sorted")
        if key not in self._made:
            try:
                self._made[key] = create(GRADERS, name, options)
            except HerdwiseError as error:
                raise Problem(f"grader: {error}") from error
        return self._made[key]

    def check(self, item: Item) -> Item:
        """The item, once its grader lacks nothing.

        Raises:
            Problem: naming what is missing.
        """
        lacking = self.get(item.grader, dict(item.options)).check(item)
        if lacking is not None:
            raise Problem(lacking)
        return item
