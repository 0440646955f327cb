"""Items of one's own: a JSONL file, one item per line. docs/profiling.md explains every field."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from herdwise.answers.choice import LETTERS
from herdwise.core.errors import HerdwiseError, ItemsError
from herdwise.profiling.benchmark import Benchmark, Item
from herdwise.profiling.graders.base import GRADERS, Grader

_PROMPTS = ("question", "prompt", "messages")
_FIELDS = frozenset(
    {*_PROMPTS, "id", "answer", "reference", "grader", "grader_options", "choices", "tests"}
    | {"benchmark", "split", "category", "meta"}
)
_TEXTS = ("id", "question", "prompt", "grader", "tests", "benchmark", "split", "category")
#: More problems than this are counted, not listed.
_LISTED = 20


class ItemsFile(Benchmark):
    """Items from a JSONL file; every malformed line is named at once, by file, line and field.

    Args:
        path: the file.
        grader: for items that name none and have no ``choices`` or ``tests``.
    """

    name: ClassVar[str] = "items"

    def __init__(self, path: str | Path, *, grader: str = "exact") -> None:
        self.path, self.grader = Path(path), grader
        self._graders: dict[bytes, Grader] = {}

    def items(self) -> Sequence[Item]:
        """See ``Benchmark.items``."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ItemsError(f"{self.path}: there is no such file.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ItemsError(f"{self.path}: cannot be read: {error}", remedy="It must be UTF-8.") from error
        items: list[Item] = []
        problems: list[str] = []
        first: dict[str, int] = {}
        # Only "\n" ends a line: JSON may hold U+2028 and its like unescaped.
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            if not line.strip():
                continue
            try:
                item = self._item(line)
                if item.id in first:
                    raise _Problem(f"id: {item.id!r} stands on line {first[item.id]} already.")
            except _Problem as problem:
                problems.append(f"line {number}, {problem}")
                continue
            first[item.id] = number
            items.append(item)
        if problems:
            listed = "\n".join(f"  {p}" for p in problems[:_LISTED])
            more = f"\n  and {len(problems) - _LISTED} more." if len(problems) > _LISTED else ""
            raise ItemsError(
                f"{self.path}: {len(problems)} malformed:\n{listed}{more}",
                remedy="docs/profiling.md explains the fields.",
            )
        if not items:
            raise ItemsError(f"{self.path}: holds no items.", remedy="Write one JSON object per line.")
        return items

    def _item(self, line: str) -> Item:
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise _Problem(f"not JSON: {error}") from error
        if not isinstance(row, dict):
            raise _Problem("must be a JSON object.")
        for name in row:
            if name not in _FIELDS:
                raise _Problem(f"{name}: unknown field; what is yours alone goes under meta.")
        for name in _TEXTS:
            if row.get(name) is not None and (not isinstance(row[name], str) or not row[name].strip()):
                raise _Problem(f"{name}: must be a text that is not empty.")
        choices = _choices(row)
        grader_name = row.get("grader") or (
            "choice" if choices else "python_tests" if row.get("tests") else None
        )
        grader_name = grader_name or self.grader
        options = row.get("grader_options") or {}
        if not isinstance(options, dict):
            raise _Problem("grader_options: must be an object.")
        if row.get("tests") is not None:
            options = {**options, "tests": row["tests"]}
        grader = self._grader(grader_name, options)
        text, messages = _prompt(row, choices, grader.instruction)
        item = Item(
            id=row.get("id") or "item-" + hashlib.sha256(line.strip().encode()).hexdigest()[:16],
            text=text,
            messages=messages,
            grader=grader_name,
            reference=_reference(row, choices if grader_name == "choice" else ()),
            choices=choices,
            options=options,
            benchmark=row.get("benchmark") or self.path.stem,
            split=row.get("split"),
            category=row.get("category"),
        )
        lacking = grader.check(item)
        if lacking is not None:
            raise _Problem(lacking.replace("reference:", "answer:") if "reference" not in row else lacking)
        return item

    def _grader(self, name: str, options: dict[str, Any]) -> Grader:
        key = msgspec.json.encode([name, options], order="sorted")
        if key not in self._graders:
            try:
                self._graders[key] = GRADERS.create(name, **options)
            except HerdwiseError as error:
                raise _Problem(f"grader: {error}") from error
        return self._graders[key]


class _Problem(Exception):  # noqa: N818 - one line's, gathered into an ItemsError
    """What is wrong with one line, beginning with the field."""


def _choices(row: dict[str, Any]) -> tuple[str, ...]:
    choices = row.get("choices")
    if choices is None:
        return ()
    if not isinstance(choices, list) or len(choices) < 2 or len(choices) > len(LETTERS):
        raise _Problem(f"choices: must be a list of 2 to {len(LETTERS)} texts.")
    if not all(
        isinstance(c, str | int | float) and not isinstance(c, bool) and str(c).strip() for c in choices
    ):
        raise _Problem("choices: each must be a text that is not empty.")
    return tuple(str(c) for c in choices)


def _reference(row: dict[str, Any], choices: tuple[str, ...]) -> str | None:
    given = [name for name in ("answer", "reference") if row.get(name) is not None]
    if len(given) == 2:
        raise _Problem("reference: stands beside answer; give one of them.")
    if not given:
        return None
    value = row[given[0]]
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if not isinstance(value, str | int | float):
        raise _Problem(f"{given[0]}: must be a text or a number.")
    said = str(value).strip()
    if choices and said in choices:
        return LETTERS[choices.index(said)]
    if choices and not isinstance(value, str):
        raise _Problem(
            f"{given[0]}: must be a letter or a choice's text; a position could count from 0 or 1."
        )
    bare = said.strip("().")
    return bare.upper() if choices and len(bare) == 1 else said


def _prompt(
    row: dict[str, Any], choices: tuple[str, ...], instruction: str
) -> tuple[str, tuple[dict[str, Any], ...]]:
    """The text to route on, and the messages to send."""
    given = [name for name in _PROMPTS if row.get(name) is not None]
    if len(given) != 1:
        what = "none stands there" if not given else f"there are {' and '.join(given)}"
        raise _Problem(f"question: one of question, prompt or messages is needed; {what}.")
    if given[0] == "messages":
        return _from_messages(row["messages"])
    text = row[given[0]]
    if given[0] == "prompt":
        return text, ({"role": "user", "content": text},)
    lettered = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    text = "\n".join([text, *lettered])
    asked = f"{text}\n\n{instruction}" if instruction else text
    return text, ({"role": "user", "content": asked},)


def _from_messages(messages: Any) -> tuple[str, tuple[dict[str, Any], ...]]:
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages
    ):
        raise _Problem("messages: must be a list of objects, each with a role.")
    users = [_content(m.get("content")) for m in messages if m["role"] == "user"]
    if not users or not users[-1].strip():
        raise _Problem("messages: the last user message must hold a text.")
    return users[-1], tuple(messages)


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return content if isinstance(content, str) else ""
