"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: A file that is not there yet, written as it is.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def write_whole(path: Path, content: bytes, *, like: Path | None = None) -> None:
    """Replace a file's content at once, so that a reader, a kill or a full disk never leaves half of it.

    What is no plain file, such as /dev/stdout, is written to as it is.

    Args:
        path: keeps its permissions where it exists.
        content: the new one.
        like: the file whose permissions a new one gets; those of any new file (umask) otherwise.

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
        temporary = place.with_name(f".{place.name[:100]}.{secrets.token_hex(8)}")
        model = place if place.exists() else like
        mode = None if model is None else model.stat().st_mode & 0o777
        # Nobody reads meanwhile who may not read it in its place.
        handle = os.open(temporary, _NEW, 0o666 if mode is None else mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)


def put_in_place(written: Mapping[Path, Path]) -> None:
    """Move finished files to their places, which keep their permissions: temporary -> place."""
    for temporary, place in written.items():
        if place.exists():
            temporary.chmod(place.stat().st_mode & 0o777)
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
