"""candidates.csv: the herd of an outcome folder. An empty cell means unknown."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import OutcomeError
from herdwise.core.money import UNKNOWN_PRICE, Price

REQUIRED = ("candidate", "params_b", "active_params_b", "open_weights")
OPTIONAL = (
    "usd_per_mtok",
    "input_usd_per_mtok",
    "output_usd_per_mtok",
    "context_tokens",
    "modalities",
    "tools",
    "json_schema",
    "licence",
    "released",
)

_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


def _size(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise ValueError
    return value


def _amount(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError
    return value


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError


def _tokens(text: str) -> int:
    value = float(text)
    if value <= 0 or value != int(value):
        raise ValueError
    return int(value)


def read_candidates(path: Path) -> Herd:
    """Read candidates.csv.

    Raises:
        OutcomeError: naming column and line (from 1, the header being line 1).
    """
    file = str(path)
    if not path.exists():
        raise OutcomeError("the file is missing.", file=file, remedy="See docs/outcome-folders.md.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OutcomeError(f"not UTF-8: {error}", file=file, remedy="Save it as UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise OutcomeError(f"not a CSV: {error}", file=file, row=reader.line_num) from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    for name in REQUIRED:
        if name not in header:
            raise OutcomeError(
                "the column is missing.", file=file, column=name, row=1, remedy="See docs/outcome-folders.md."
            )
    for name in header:
        if name and header.count(name) > 1:
            raise OutcomeError(
                "the column stands twice.", file=file, column=name, row=1, remedy="Remove one of them."
            )
    candidates: list[Candidate] = []
    seen: set[str] = set()
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise OutcomeError(
                f"{len(cells)} cells where the header has {len(header)}.",
                file=file,
                row=line,
                remedy="Leave a cell empty where a value is unknown, and quote those that hold a comma.",
            )
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        candidate = _candidate(row, file, line)
        if candidate.name in seen:
            raise OutcomeError(
                f"{candidate.name!r} stands twice.",
                file=file,
                column="candidate",
                row=line,
                remedy="Rename or remove one of them.",
            )
        seen.add(candidate.name)
        candidates.append(candidate)
    return Herd(candidates)


def _candidate(row: dict[str, str], file: str, line: int) -> Candidate:
    def cell(name: str, parse: Callable[[str], Any], wanted: str) -> Any:
        text = row.get(name, "")
        if not text:
            return None
        try:
            return parse(text)
        except (ValueError, OverflowError):
            raise OutcomeError(
                f"{text!r} must be {wanted}.", file=file, column=name, row=line, remedy="Empty means unknown."
            ) from None

    if not row["candidate"] or any(unicodedata.category(c) == "Cc" for c in row["candidate"]):
        raise OutcomeError(
            f"{row['candidate']!r} is no name." if row["candidate"] else "is empty.",
            file=file,
            column="candidate",
            row=line,
            remedy="A candidate needs a name without control characters.",
        )
    flat = cell("usd_per_mtok", _amount, "USD, at least 0")
    input_price = cell("input_usd_per_mtok", _amount, "USD, at least 0")
    output_price = cell("output_usd_per_mtok", _amount, "USD, at least 0")
    price = Price(
        flat if input_price is None else input_price, flat if output_price is None else output_price
    )
    modalities = row.get("modalities", "")
    return Candidate(
        name=row["candidate"],
        params_b=cell("params_b", _size, "billions of parameters, above 0"),
        active_params_b=cell("active_params_b", _size, "billions of parameters, above 0"),
        open_weights=cell("open_weights", _flag, "True or False"),
        price=UNKNOWN_PRICE if price == UNKNOWN_PRICE else price,
        context_tokens=cell("context_tokens", _tokens, "a whole number of tokens"),
        modalities=frozenset(modalities.replace(";", " ").replace(",", " ").split()) if modalities else None,
        tools=cell("tools", _flag, "True or False"),
        json_schema=cell("json_schema", _flag, "True or False"),
        licence=row.get("licence") or None,
        released=cell("released", dt.date.fromisoformat, "a date such as 2024-07-23"),
    )


def write_candidates(herd: Herd, path: Path) -> None:
    """Write candidates.csv; optional columns only where something is known."""
    rows = [_row(c) for c in herd]
    used = [name for name in OPTIONAL if any(row[name] != "" for row in rows)]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(
            handle, fieldnames=[*REQUIRED, *used], extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


def _row(c: Candidate) -> dict[str, object]:
    known = {
        "candidate": c.name,
        "params_b": c.params_b,
        "active_params_b": c.active_params_b,
        "open_weights": c.open_weights,
        "usd_per_mtok": None,
        "input_usd_per_mtok": c.price.input_usd_per_mtok,
        "output_usd_per_mtok": c.price.output_usd_per_mtok,
        "context_tokens": c.context_tokens,
        "modalities": ";".join(sorted(c.modalities)) if c.modalities else None,
        "tools": c.tools,
        "json_schema": c.json_schema,
        "licence": c.licence,
        "released": c.released,
    }
    return {name: "" if value is None else value for name, value in known.items()}
