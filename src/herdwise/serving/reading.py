"""What a finished ask answers: its text's value, or the tools that it calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from herdwise.answers.signals import Signals, read_signals
from herdwise.core.query import Query
from herdwise.routing.hearing import read_value
from herdwise.serving.course import LiveAsk


def ask_value(ask: LiveAsk, query: Query) -> tuple[str | None, str]:
    """As ``routing.hearing.read_value``; an answer without text that calls tools is known by its calls."""
    if not ask.text.strip():
        calls = _calls(ask)
        if calls:
            return msgspec.json.encode(calls).decode(), ""
    return read_value(query, ask.text, ask.finish_reason)


def ask_signals(ask: LiveAsk, value: str | None) -> Signals:
    """Signals of a finished ask; token logprobs where its upstream gave them."""
    bodies = [ask.completion.body] if ask.completion is not None else [chunk.body for chunk in ask.chunks]
    calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in _called(ask)]
    return read_signals(ask.text, ask.finish_reason, bodies=bodies, calls=calls, value=value)


def _calls(ask: LiveAsk) -> list[tuple[str, Any]]:
    """Name and arguments of each tool call, in order; arguments decoded where they are JSON."""
    return [(name, _plain(arguments)) for name, arguments in _called(ask)]


def _called(ask: LiveAsk) -> list[tuple[str, str]]:
    """Name and arguments of each tool call as they were written, in order."""
    if ask.completion is not None:
        pieces: Iterable[Mapping[str, Any]] = _of_choice(ask.completion.body, "message")
    else:
        pieces = [piece for chunk in ask.chunks for piece in _of_choice(chunk.body, "delta")]
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for place, piece in enumerate(pieces):
        stated = piece.get("index")
        number = stated if isinstance(stated, int) else place
        function = piece.get("function") or {}
        names[number] = names.get(number, "") + _written(function.get("name"))
        arguments[number] = arguments.get(number, "") + _written(function.get("arguments"))
    return [(names[number], arguments[number]) for number in sorted(names)]


def _of_choice(body: Mapping[str, Any], part: str) -> list[Mapping[str, Any]]:
    choices: Any = body.get("choices") or ({},)
    calls = (choices[0].get(part) or {}).get("tool_calls")
    return [call for call in calls or () if isinstance(call, Mapping)]


def _written(part: Any) -> str:
    """A part of a call as text; some upstreams send arguments as objects."""
    if isinstance(part, str):
        return part
    return "" if part is None else msgspec.json.encode(part).decode()


def _plain(arguments: str) -> Any:
    """Arguments with their keys sorted, so that the same call reads the same; the text itself if no JSON."""
    try:
        value = msgspec.json.decode(arguments)
        return msgspec.json.decode(msgspec.json.encode(value, order="sorted"))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return arguments
