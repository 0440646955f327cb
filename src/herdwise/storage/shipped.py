"""Where outcome folders are: a path, or the name of one that ships with the package. Reads nothing."""

from __future__ import annotations

import os
from pathlib import Path

from herdwise.core.errors import OutcomeError

#: Outcome folders that ship with the package, reachable by name; where they are in its data.
SHIPPED = {"mmlu_pro": "mmlu_pro", "nano": "nano/outcomes"}


def outcome_folder(path_or_name: str | os.PathLike[str]) -> Path:
    """The folder itself: a path as it stands, or the name of one that ships with the package.

    Raises:
        OutcomeError: when there is no such folder.
    """
    path = Path(path_or_name)
    if path.is_dir():
        return path
    if str(path_or_name) in SHIPPED:
        return Path(__file__).parent.parent / "data" / SHIPPED[str(path_or_name)]
    raise OutcomeError(
        "is a file; a folder is expected." if path.exists() else "there is no such folder.",
        file=str(path_or_name),
        remedy=f"Give a folder with queries.parquet, outcomes.parquet and candidates.csv, or a shipped name:"
        f" {', '.join(SHIPPED)}.",
    )
