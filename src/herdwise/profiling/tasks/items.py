"""Items of one's own: a JSONL file, one item per line. docs/profiling.md explains every field."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from herdwise.answers.choice import LETTERS
from herdwise.profiling.benchmark import Benchmark, Item
from herdwise.profiling.tasks.rows import Graders, Problem, decoded, gather, json_lines
from herdwise.profiling.tasks.wording import asked, lettered

_PROMPTS = ("question", "prompt", "messages")
_FIELDS = frozenset(
    {*_PROMPTS, "id", "answer", "reference", "grader", "grader_options", "choices", "tests"}
    | {"benchmark", "split", "category", "meta", "request", "after"}
)
_TEXTS = ("id", "question", "prompt", "grader", "tests", "benchmark", "split", "category", "after")
#: What the profile itself sets or reads, whatever an item wishes.
_NOT_ITS_OWN = ("messages", "model", "stream", "n")


class ItemsFile(Benchmark):
    """Items from a JSONL file; every malformed line is named at once, by file, line and field.

    Args:
        path: the file.
        grader: for items that name none; None = by ``choices`` and ``tests``, else "exact".
        grader_options: for items of that grader, under their own; of None: for "exact".
        split: for items that name none.
    """

    name: ClassVar[str] = "items"

    def __init__(
        self,
        path: str | Path,
        *,
        grader: str | None = None,
        grader_options: dict[str, Any] | None = None,
        split: str | None = None,
    ) -> None:
        self.path, self.grader, self.split = Path(path), grader, split
        self._graders = Graders({grader or "exact": dict(grader_options or {})})

    def items(self) -> Sequence[Item]:
        """See ``Benchmark.items``."""
        return gather(self.path, json_lines(self.path), lambda line: [self._item(line)])

    def _item(self, line: str) -> Item:
        row = decoded(line)
        for name in row:
            if name not in _FIELDS:
                raise Problem(f"{name}: unknown field; what is yours alone goes under meta.")
        for name in _TEXTS:
            if row.get(name) is not None and (not isinstance(row[name], str) or not row[name].strip()):
                raise Problem(f"{name}: must be a text that is not empty.")
        choices = _choices(row)
        by_shape = "choice" if choices else "python_tests" if row.get("tests") else "exact"
        grader_name = row.get("grader") or self.grader or by_shape
        options = self._graders.options(grader_name, _object(row, "grader_options"))
        if row.get("tests") is not None:
            options = {**options, "tests": row["tests"]}
        grader = self._graders.get(grader_name, options)
        text, messages = _prompt(row, choices, grader.instruction)
        item = Item(
            id=row.get("id") or "item-" + hashlib.sha256(line.strip().encode()).hexdigest()[:16],
            text=text,
            messages=messages,
            grader=grader_name,
            reference=_reference(row, choices if grader_name == "choice" else (), grader_name),
            choices=choices,
            options=options,
            benchmark=row.get("benchmark") or self.path.stem,
            split=row.get("split") or self.split,
            category=row.get("category"),
            request=_request(row),
            after=row.get("after"),
        )
        lacking = grader.check(item)
        if lacking is not None:
            raise Problem(lacking.replace("reference:", "answer:") if "reference" not in row else lacking)
        return item


def _object(row: dict[str, Any], name: str) -> dict[str, Any]:
    value = row.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Problem(f"{name}: must be an object.")
    return value


def _request(row: dict[str, Any]) -> dict[str, Any]:
    request = _object(row, "request")
    for name in _NOT_ITS_OWN:
        if name in request:
            raise Problem(f"request.{name}: is set by the profile.")
    return request


def _choices(row: dict[str, Any]) -> tuple[str, ...]:
    choices = row.get("choices")
    if choices is None:
        return ()
    if not isinstance(choices, list) or len(choices) < 2 or len(choices) > len(LETTERS):
        raise Problem(f"choices: must be a list of 2 to {len(LETTERS)} texts.")
    if not all(
        isinstance(c, str | int | float) and not isinstance(c, bool) and str(c).strip() for c in choices
    ):
        raise Problem("choices: each must be a text that is not empty.")
    return tuple(str(c) for c in choices)


def _reference(row: dict[str, Any], choices: tuple[str, ...], grader: str) -> str | None:
    given = [name for name in ("answer", "reference") if row.get(name) is not None]
    if len(given) == 2:
        raise Problem("reference: stands beside answer; give one of them.")
    if not given:
        return None
    value = row[given[0]]
    if grader == "json_schema" and not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if not isinstance(value, str | int | float):
        raise Problem(f"{given[0]}: must be a text or a number.")
    said = str(value).strip()
    if choices and said in choices:
        return LETTERS[choices.index(said)]
    if choices and not isinstance(value, str):
        raise Problem(f"{given[0]}: must be a letter or a choice's text; a position could count from 0 or 1.")
    bare = said.strip("().")
    return bare.upper() if choices and len(bare) == 1 else said


def _prompt(
    row: dict[str, Any], choices: tuple[str, ...], instruction: str
) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    """The text to route on, and the messages to send."""
    given = [name for name in _PROMPTS if row.get(name) is not None]
    if len(given) != 1:
        what = "none stands there" if not given else f"there are {' and '.join(given)}"
        raise Problem(f"question: one of question, prompt or messages is needed; {what}.")
    if given[0] == "messages":
        return _from_messages(row["messages"])
    text = row[given[0]]
    if given[0] == "prompt":
        return text, ({"role": "user", "content": text},)
    text = lettered(text, choices)
    return text, tuple(asked(text, instruction))


def _from_messages(messages: Any) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages
    ):
        raise Problem("messages: must be a list of objects, each with a role.")
    users = [_content(m.get("content")) for m in messages if m["role"] == "user"]
    if not users or not users[-1].strip():
        raise Problem("messages: the last user message must hold a text.")
    return users[-1], tuple(messages)


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return content if isinstance(content, str) else ""
