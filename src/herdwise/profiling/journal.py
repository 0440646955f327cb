"""The journal of a profile: one JSON line per event, so that no paid answer is ever asked for twice.

journal.jsonl begins with a header that names the profile by its fingerprint; then come answers, grades
and failures as they happen. A line is handed to the operating system before the next step, so a killed
process loses nothing; the disk is waited for once a second, so a power cut loses at most that.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from herdwise.core.errors import ArtefactError, ConfigError
from herdwise.profiling.benchmark import Item
from herdwise.storage.whole_files import append_line

VERSION = 2
_SYNC_S = 1.0

#: (item id, candidate, sample).
Pair = tuple[str, str, int]


class Header(msgspec.Struct, frozen=True, tag_field="kind", tag="profile"):
    """First line: which profile this is."""

    version: int
    fingerprint: str
    n_items: int
    candidates: list[str]
    samples: int
    sampling: dict[str, Any]
    started: str


class Answered(msgspec.Struct, frozen=True, tag_field="kind", tag="answer"):
    """A completion came back, and may have been paid for.

    ``tokens`` are those of its text with their logprobs, where the backend gave them; ``at_most_usd`` is the
    most that it can have cost, where that is known but the cost is not.
    """

    item: str
    candidate: str
    sample: int
    text: str
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_s: float | None = None
    cost_usd: float | None = None
    tokens: list[tuple[str, float]] | None = None
    at_most_usd: float | None = None


class Graded(msgspec.Struct, frozen=True, tag_field="kind", tag="grade"):
    """It was graded; ``by`` is the digest of grader, reference and options, so that a mended reference
    is graded anew without asking again."""

    item: str
    candidate: str
    sample: int
    by: str
    quality: float | None
    answer: str | None
    note: str = ""


class Replied(msgspec.Struct, frozen=True, tag_field="kind", tag="reply"):
    """A judge answered a grader's question; ``asked`` is the question's digest."""

    judge: str
    asked: str
    text: str
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_s: float | None = None
    cost_usd: float | None = None
    at_most_usd: float | None = None


class Failed(msgspec.Struct, frozen=True, tag_field="kind", tag="failure", omit_defaults=True):
    """No answer came, or no judge's reply; asked again when the profile is resumed.

    ``at_most_usd`` is what it may have cost nevertheless, as a timeout may; None = nothing, or unknown.
    """

    item: str
    candidate: str
    sample: int
    error: str
    message: str
    at_most_usd: float | None = None


Line = Header | Answered | Graded | Replied | Failed
_DECODER = msgspec.json.Decoder(Line)


@dataclass
class Record:
    """What a journal holds.

    Args:
        header: None for a journal that was just begun.
        answers, grades: by pair.
        replies: of judges, by their questions' digests.
        lost_usd: what calls that failed may have cost.
        torn: whether the last line was cut off by a kill, and left out.
    """

    header: Header | None = None
    answers: dict[Pair, Answered] = field(default_factory=dict)
    grades: dict[Pair, Graded] = field(default_factory=dict)
    replies: dict[str, Replied] = field(default_factory=dict)
    lost_usd: float = 0.0
    torn: bool = False
    n_bytes: int = 0


def _digest(*parts: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def grading_digest(item: Item, judge: str | None = None) -> str:
    """Digest of all that the item's grade depends on: grader, reference, options, who judges."""
    parts = [item.grader, item.reference, item.choices, item.options]
    return _digest(*parts, *([] if judge is None else [judge]))[:16]


def question_digest(judge: str, messages: Sequence[Mapping[str, Any]], request: Mapping[str, Any]) -> str:
    """Digest of what is asked of a judge, and of what stands behind it."""
    return _digest(judge, messages, request)[:32]


def fingerprint(
    items: Sequence[Item], candidates: Mapping[str, str], samples: int, sampling: Mapping[str, Any]
) -> str:
    """Digest of all that is asked: items with their messages and requests, candidates, samples, sampling.

    Args:
        items: what is asked.
        candidates: name -> what stands behind it, such as the upstream's model name.
        samples: times each is asked.
        sampling: temperature and the like.
    """
    asked: list[tuple[Any, ...]] = [
        (i.id, i.messages, i.request, i.after) if i.request or i.after else (i.id, i.messages) for i in items
    ]
    return _digest(asked, candidates, samples, sampling)


def read_journal(path: Path) -> Record:
    """What a journal holds; an empty record where there is no file.

    Raises:
        ArtefactError: when a line other than the last is not of this format, or the format is newer.
    """
    record = Record()
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        try:
            event = _DECODER.decode(line)
        except msgspec.MsgspecError as error:
            if not line.endswith(b"\n"):
                record.torn = True
                break
            raise ArtefactError(
                f"{path}, line {number}: {error}", remedy="Mend or remove that line, or choose another --out."
            ) from error
        record.n_bytes += len(line)
        if isinstance(event, Header):
            if event.version > VERSION:
                raise ArtefactError(
                    f"{path}: journal format {event.version} is not known here.", remedy="Update herdwise."
                )
            record.header = event
        elif isinstance(event, Answered):
            record.answers[event.item, event.candidate, event.sample] = event
        elif isinstance(event, Graded):
            record.grades[event.item, event.candidate, event.sample] = event
        elif isinstance(event, Replied):
            record.replies[event.asked] = event
        else:
            record.lost_usd += event.at_most_usd or 0.0
    if record.header is None and record.n_bytes:
        raise ArtefactError(
            f"{path}: does not begin with a profile's header.", remedy="Choose another --out."
        )
    return record


class Journal:
    """An open journal: read once, then only added to, by one process at a time.

    Args:
        path: the file, made where it is missing.
        header: of the profile that is to be run or resumed.
        foreign: whether a journal of other questions will do, as for grading anew.

    Raises:
        ConfigError: when the file belongs to another profile, or another process has it open.
        ArtefactError: when it is damaged elsewhere than in its last line.
    """

    def __init__(self, path: Path, header: Header, *, foreign: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._file, path)
            self.record = read_journal(path)
            found = self.record.header
            if found is not None and found.fingerprint != header.fingerprint and not foreign:
                raise ConfigError(
                    f"{path} belongs to another profile ({found.n_items} items,"
                    f" {', '.join(found.candidates)}, {found.samples} samples, sampling {found.sampling}).",
                    remedy="Give the same items, candidates and options to resume it, or another --out.",
                )
            os.ftruncate(self._file, self.record.n_bytes)
            if self.record.n_bytes and os.pread(self._file, 1, self.record.n_bytes - 1) != b"\n":
                os.write(self._file, b"\n")  # the last line is whole; only its end was cut off
        except BaseException:
            os.close(self._file)
            raise
        self._synced_s = time.monotonic()
        if found is None:
            self.add(header)

    def add(self, event: Line) -> None:
        """Write one line; it survives a kill of this process from here on."""
        append_line(self._file, msgspec.json.encode(event) + b"\n", self._path)
        if time.monotonic() - self._synced_s >= _SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._file)
        self._synced_s = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            os.close(self._file)


def _lock(file: int, path: Path) -> None:
    """Two processes that fill one journal would pay everything twice. The lock ends with its process."""
    if sys.platform == "win32":  # no flock there; the header still guards against another profile
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigError(
            f"{path} is in use: another process runs this profile.", remedy="Wait for it, or end it."
        ) from error
