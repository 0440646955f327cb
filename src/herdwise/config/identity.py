"""What stands behind a candidate's name: whoever answers under it may change while the name stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

from herdwise.config.tree import CandidateNode


def identity(node: CandidateNode) -> str:
    """Backend and model, and of a model in a folder its weights too: another model is another identity.

    It stands in files: of options, which may hold a key under any name, it tells a digest.

    Raises:
        OSError: when the folder's files cannot be read.
    """
    told = f"{node.backend} {node.model or node.name}"
    if node.base_url is None and node.options:
        told += f" {hashlib.sha256(repr(sorted(node.options.items())).encode()).hexdigest()}"
    files = [(file.name, _sha256(file)) for file in _files(node)]
    return f"{told} {files}" if files else told


def folder_state(node: CandidateNode) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of the files that a candidate is read from; () where it is read from none.

    Cheap, and other after each write: what a reload compares. A folder that is missing holds nothing.
    """
    stats = [(file.name, file.stat()) for file in _files(node)]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _files(node: CandidateNode) -> list[Path]:
    folder = node.options.get("folder")
    if not isinstance(folder, str) or not Path(folder).is_dir():
        return []
    return sorted(file for file in Path(folder).iterdir() if file.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
