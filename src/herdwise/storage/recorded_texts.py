"""The full texts of an outcome folder for a server that replays them, without pyarrow in its memory.

pyarrow and what it leaves behind take some 60 MB, as much as the rest of a server; a server reads the texts
once and keeps a few megabytes of them. So a child process reads them and hands them over as JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from herdwise.core.errors import OutcomeError
from herdwise.storage.shipped import outcome_folder


class RecordedTexts(msgspec.Struct):
    """What was recorded.

    Args:
        texts: [query id, candidate, full text] of each completion.
        questions: query id -> text, of the queries that have a completion.
    """

    texts: list[tuple[str, str, str]]
    questions: dict[str, str]


class _Failed(msgspec.Struct, tag=True):
    message: str
    file: str
    remedy: str


class _Read(msgspec.Struct, tag=True):
    recorded: RecordedTexts


def read_recorded_texts(path_or_name: str | os.PathLike[str]) -> RecordedTexts:
    """Read texts.parquet and the queries that it belongs to, in a child process.

    Raises:
        OutcomeError: when the folder is missing, malformed, or has no texts.
    """
    folder = outcome_folder(path_or_name)
    code = f"from {__name__} import _main; _main()"
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own module
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, check=True
    )
    got = msgspec.json.decode(done.stdout, type=_Read | _Failed)
    if isinstance(got, _Failed):
        error = OutcomeError("", file=got.file, remedy=got.remedy)
        error.message = got.message
        raise error
    return got.recorded


def _main() -> None:
    from herdwise.storage.outcomes import read_query_texts, read_texts

    folder = Path(sys.argv[1])
    answer: _Read | _Failed
    try:
        texts = read_texts(folder)
        if not texts:
            raise OutcomeError(
                "there is no recorded text.",
                file=str(folder / "texts.parquet"),
                remedy="Only a folder with texts.parquet can be replayed.",
            )
        rows = [(query, candidate, text) for (query, candidate), text in texts.items()]
        questions = read_query_texts(folder, {query for query, _ in texts})
        answer = _Read(RecordedTexts(rows, questions))
    except OutcomeError as error:
        answer = _Failed(error.message, error.file, error.remedy)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
