"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes, *, like: Path | None = None) -> None:
    """Replace a file's content at once, so that a reader, a kill or a full disk never leaves half of it.

    What is no plain file, such as /dev/stdout, is written to as it is.

    Args:
        path: keeps its permissions where it exists.
        content: the new one.
        like: the file whose permissions a new one gets; all may read it otherwise.

    Raises:
        OSError: naming the path, also where the disk is full.
    """
    with naming(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        place = path.resolve()  # a link to it stays one
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            model = place if place.exists() else like
            mode = 0o644 if model is None else model.stat().st_mode & 0o777
            Path(temporary).chmod(mode)
            Path(temporary).replace(place)
        finally:
            Path(temporary).unlink(missing_ok=True)


def put_in_place(written: Mapping[Path, Path]) -> None:
    """Move finished files to their places: temporary -> place."""
    for temporary, place in written.items():
        temporary.chmod(0o644)
        temporary.replace(place)


def append_line(file: int, line: bytes, path: Path) -> None:
    """Add a line to a journal, whole or not at all; a kill of this process cannot undo it.

    Args:
        file: open for appending, by this process alone.
        line: with its end.
        path: of the file, for messages.

    Raises:
        OSError: naming the path; where the disk was full, nothing of the line is left.
    """
    left = memoryview(line)
    try:
        while left:
            left = left[os.write(file, left) :]
    except OSError as error:
        begun = len(line) - len(left)
        if begun:
            os.ftruncate(file, os.fstat(file).st_size - begun)
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system name this path where they name none of their own."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
