"""What was done to make an expert: each step's inputs, figures and files, so that none is done twice."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from herdwise.core.errors import ArtefactError, InputError
from herdwise.core.version import __version__
from herdwise.experts.examples import pretty
from herdwise.storage.whole_files import write_whole

#: Figures of a step, and the files or folders that it wrote, within the expert's folder.
Work = tuple[dict[str, Any], list[Path]]

FORMAT = "herdwise-expert"
VERSION = 1


class Step(msgspec.Struct, frozen=True):
    """One step that was done.

    Args:
        name: such as "curate".
        inputs: JSON values that decide its result: settings, seeds, digests of files.
        digest: of name, inputs and version.
        figures: what it found, as JSON values.
        files: path within the folder -> sha256, of what it wrote.
        seconds: it took.
        done_at: when it ended, UTC.
        herdwise: the version that did it.
    """

    name: str
    inputs: dict[str, Any]
    digest: str
    figures: dict[str, Any]
    files: dict[str, str]
    seconds: float
    done_at: str
    herdwise: str


class _Document(msgspec.Struct, frozen=True):
    format: str
    version: int
    expert: str
    steps: list[Step]


class Manifest:
    """manifest.json of an expert's folder.

    Args:
        folder: where the expert is made.
        expert: its name.

    Raises:
        ArtefactError: when there is one that cannot be read, or it is another expert's.
    """

    def __init__(self, folder: Path, expert: str) -> None:
        self.folder, self.expert = folder, expert
        self.path = folder / "manifest.json"
        self.steps: list[Step] = []
        if self.path.exists():
            self.steps = _read(self.path, expert).steps

    def step(self, name: str) -> Step | None:
        """What was done under that name last."""
        return next((step for step in reversed(self.steps) if step.name == name), None)

    def run(self, name: str, inputs: Mapping[str, Any], work: Callable[[], Work]) -> tuple[Step, bool]:
        """Do a step, unless it was done with the same inputs and its files are as it left them.

        Args:
            name: of the step.
            inputs: JSON values.
            work: does it.

        Returns:
            The step, and whether it was done anew.
        """
        given: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(inputs, order="sorted"))
        digest = hashlib.sha256(msgspec.json.encode([name, VERSION, given], order="sorted")).hexdigest()
        known = self.step(name)
        if known is not None and known.digest == digest and self._stands(known):
            return known, False
        # What comes after it was made of what it is about to change.
        places = [i for i, step in enumerate(self.steps) if step.name == name]
        if places:
            del self.steps[places[0] :]
            self._write()
        started = time.perf_counter()
        figures, written = work()
        files = {
            file.relative_to(self.folder).as_posix(): sha256(file)
            for path in written
            for file in ([path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()))
        }
        step = Step(
            name=name,
            inputs=given,
            digest=digest,
            figures=msgspec.json.decode(msgspec.json.encode(figures)),
            files=files,
            seconds=round(time.perf_counter() - started, 3),
            done_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            herdwise=__version__,
        )
        self.steps.append(step)
        self._write()
        return step, True

    def _stands(self, step: Step) -> bool:
        return all(
            (self.folder / name).is_file() and sha256(self.folder / name) == digest
            for name, digest in step.files.items()
        )

    def _write(self) -> None:
        document = _Document(FORMAT, VERSION, self.expert, self.steps)
        write_whole(self.path, pretty(document))


def refuse_others(folder: Path, own: str, replaced: Sequence[str]) -> None:
    """Whoever replaces what stands in a folder asks first whether it is another's, such as a served router.

    Args:
        folder: that was named.
        own: a file that tells that it was written here before.
        replaced: names in the folder that will be replaced or removed.

    Raises:
        InputError: when one of them is there without it.
    """
    there = [name for name in replaced if (folder / name).exists()]
    if there and not (folder / own).exists():
        raise InputError(
            f"{folder} holds {', '.join(there)}, which would be replaced, and no {own} of an earlier run.",
            remedy="Choose another --out.",
        )


def _read(path: Path, expert: str) -> _Document:
    remedy = "Choose another --out."
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except msgspec.MsgspecError as error:
        raise ArtefactError(f"{path} is no expert's manifest: {error}.", remedy=remedy) from None
    if document.format != FORMAT or document.version > VERSION:
        raise ArtefactError(f"{path}: {document.format} {document.version} is not known here.", remedy=remedy)
    if document.expert != expert:
        raise ArtefactError(f"{path} belongs to the expert {document.expert!r}.", remedy=remedy)
    return document


def sha256(file: Path) -> str:
    """Hex digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
