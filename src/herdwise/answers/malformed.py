"""Is an answer broken in form: JSON that does not parse, a tool call whose arguments are none?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from herdwise.answers.extract import without_thinking

#: "json": what claims to be JSON does not parse; "tool_call": a call without name or JSON arguments.
Malformed = Literal["json", "tool_call"]

_FENCED = re.compile(r"```[ \t]*json[5c]?[ \t]*\n(.*?)(\n[ \t]*```|\Z)", re.DOTALL | re.IGNORECASE)
# Calls that the server should have taken out of the text: the template's own marks are left in it.
_MARKED = re.compile(
    r"<tool_call>(.*?)(?:</tool_call>|\Z)|\[TOOL_CALLS\](.*)|<\|python_tag\|>(.*)", re.DOTALL
)


def read_malformed(text: str, calls: Iterable[Mapping[str, Any]] = ()) -> Malformed | None:
    """Why an answer is broken in form, None where nothing is.

    Args:
        text: the completion. Prose is never malformed; a text is held to be JSON where it is fenced as such,
            or begins as an object or a list of objects does.
        calls: tool calls in OpenAI's shape.

    >>> read_malformed('{"a": 1'), read_malformed('{"a": 1}'), read_malformed("{x} is a set.")
    ('json', None, None)
    """
    for call in calls:
        function = call.get("function")
        if not isinstance(function, Mapping) or not function.get("name"):
            return "tool_call"
        if not _is_object(function.get("arguments")):
            return "tool_call"
    said = without_thinking(text).strip()
    for match in _MARKED.finditer(said):
        inside = next((part for part in match.groups() if part is not None), "").strip()
        if inside[:1] in {"{", "["} and not _parses(inside):
            return "tool_call"
    for match in _FENCED.finditer(said):
        if match[1].strip() and not _parses(match[1].strip()):
            return "json"
    claims = re.match(r'\{\s*(?:"|\}\s*\Z)|\[\s*(?:\{|\]\s*\Z)', said)
    if claims and "```" not in said and not _parses(said):
        return "json"
    return None


def _parses(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _is_object(arguments: Any) -> bool:
    if isinstance(arguments, Mapping) or arguments is None or arguments == "":
        return True  # a call without arguments
    if not isinstance(arguments, str):
        return False
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
