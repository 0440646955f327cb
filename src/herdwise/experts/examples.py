"""Examples: a query and the answer that an expert shall give. One JSON object per line in a file."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from herdwise.core.errors import ItemsError
from herdwise.storage.whole_files import write_whole

#: What stands between reasoning and answer, and where a trained expert's answer is read from.
ANSWER_MARK = "The answer is "


class Example(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One example.

    Args:
        query: what is asked.
        answer: the answer alone.
        reasoning: the steps to it; "" = none are known.
        weight: in training; 0 = not at all.
        source: who made it, such as a teacher's name.
    """

    query: str
    answer: str
    reasoning: str = ""
    weight: float = 1.0
    source: str = ""

    def target(self, *, with_reasoning: bool = False) -> str:
        """What the expert learns to write."""
        if with_reasoning and self.reasoning:
            return f"{self.reasoning}\n{ANSWER_MARK}{self.answer}"
        return self.answer


_DECODER = msgspec.json.Decoder(Example)
_FORM = 'Write one {"query": ..., "answer": ...} per line.'


def plain(text: str) -> str:
    """A text by which repeats are told: blanks collapsed, case folded."""
    return " ".join(text.split()).casefold()


def read_examples(path: str | os.PathLike[str]) -> list[Example]:
    """Read a JSONL file of examples.

    Raises:
        ItemsError: when it is missing, empty or malformed, naming file, line and field.
    """
    file = Path(path)
    try:
        lines = file.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except OSError as error:
        raise ItemsError(
            f"{file}: cannot be read: {error.strerror}.", remedy="Name a JSONL file that may be read."
        ) from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            example = _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ItemsError(
                f"{file}, line {number}: {error}.",
                remedy=_FORM,
            ) from None
        if not example.query.strip() or not example.weight >= 0:
            problem = "query: is empty" if not example.query.strip() else "weight: must be 0 or more"
            raise ItemsError(f"{file}, line {number}, {problem}.", remedy="Mend or remove the line.")
        found.append(example)
    if not found:
        raise ItemsError(
            f"{file}: holds no examples.", remedy='Write one {"query": ..., "answer": ...} per line.'
        )
    return found


def write_examples(path: str | os.PathLike[str], examples: Iterable[Example]) -> None:
    """Write a JSONL file of examples, whole or not at all."""
    write_whole(Path(path), b"".join(msgspec.json.encode(example) + b"\n" for example in examples))


def pretty(value: object) -> bytes:
    """A value as indented JSON, for a file that people read too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def digest_of(examples: Sequence[Example]) -> str:
    """Hex digest: the same examples in the same order give the same one."""
    return hashlib.sha256(msgspec.json.encode(examples)).hexdigest()
