"""What is read from a chat request before anybody is asked."""

from __future__ import annotations

import doctest
import json
from typing import Any

import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import RequestError
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.service import Service, Settings
from herdwise.serving.wire import flags, openai_chat
from herdwise.serving.wire.openai_chat import CONTEXT_CHARS, ChatRequest, read_chat, routed_text


def service(**settings: Any) -> Service:
    herd = Herd([Candidate("a")])
    backends: Any = {"a": None}
    return Service(DeclaredRouter(herd), backends, {"single": Single()}, settings=Settings(**settings))


def read(*messages: Any, headers: Any = None, flags: bool = False, **body: Any) -> ChatRequest:
    raw = json.dumps({"model": "auto", "messages": list(messages), **body}).encode()
    return read_chat(raw, headers or {}, service(flags_in_prompt=flags))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_examples_in_docstrings_hold() -> None:
    for module in (openai_chat, flags):
        assert doctest.testmod(module).failed == 0


def test_a_long_last_user_message_is_routed_on_alone() -> None:
    long = "Which of the particles that are known today has the greatest mass of all?"
    said = [{"role": "system", "content": "Be brief."}, user("Hello"), user(long)]
    assert routed_text(said) == long
    tool_loop = [user(long), {"role": "assistant", "content": None}, {"role": "tool", "content": "7"}]
    assert routed_text(tool_loop) == long


def test_a_short_follow_up_is_routed_with_what_came_before_it_up_to_a_limit() -> None:
    assert routed_text([user("What is a quark?"), user("Why?")]) == "What is a quark?\nWhy?"
    assert routed_text([user("x" * CONTEXT_CHARS), user("Why?")]) == "Why?"


def test_without_a_user_message_the_last_one_is_routed_on() -> None:
    assert routed_text([{"role": "system", "content": "Say hello."}]) == "Say hello."
    picture = [user([{"type": "image_url", "image_url": {"url": "data:"}}])]
    assert routed_text(picture) == ""


def test_all_characters_of_all_messages_count_for_the_context() -> None:
    request = read(
        {"role": "system", "content": "12345"}, user([{"type": "text", "text": "678"}]), user("90")
    )
    assert request.query.chars == 10
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    looped = read(user("12"), {"role": "assistant", "tool_calls": [call]})
    assert (looped.query.chars or 0) > 40
    assert (read(user("12"), tools=[call]).query.chars or 0) > 40


def test_requirements_of_the_query_are_read() -> None:
    parts = [
        {"type": "text", "text": "Hi"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
    ]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    query = read(user(parts), tools=[{"type": "function"}], response_format=schema, max_tokens=7).query
    assert query.modalities == {"image", "audio"}
    assert query.tools == ({"type": "function"},)
    assert query.json_schema
    assert query.max_output_tokens == 7
    plain = read(user("Hi"), response_format={"type": "json_object"}, max_tokens=7, max_completion_tokens=9)
    assert not plain.query.json_schema
    assert plain.query.max_output_tokens == 9


def test_the_herdwise_object_is_taken_out_and_nothing_else() -> None:
    request = read(user("Hi"), herdwise={"cost_weight": 0}, something={"else": [1, None]})
    assert dict(request.body) == {
        "model": "auto",
        "messages": [user("Hi")],
        "something": {"else": [1, None]},
    }


def test_flags_are_taken_out_of_user_messages_only() -> None:
    text = "Tell me [Flag: cheap model, latency=0.5] more"
    said = ({"role": "system", "content": "[Flag: size]"}, user([{"type": "text", "text": text}]))
    request = read(*said, flags=True)
    assert request.goals.preferences.cost == 1
    assert request.goals.preferences.latency == 0.5
    assert request.goals.preferences.size == 0
    assert request.body["messages"] == [said[0], user([{"type": "text", "text": "Tell me more"}])]
    assert request.query.text == "Tell me more"
    untouched = read(*said)
    assert untouched.body["messages"] == list(said)
    assert untouched.goals.preferences.neutral


def test_the_herdwise_object_wins_over_flags() -> None:
    request = read(user("Hi [flag: smallest]"), flags=True, herdwise={"prefer": {"size": 0}})
    assert request.goals.preferences.size == 0


def test_a_flag_with_an_impossible_weight_is_refused() -> None:
    for flag in ("cost=lots", "cost=-1", "cost=nan", "", "="):
        with pytest.raises(RequestError, match="flag"):
            read(user(f"Hi [Flag: {flag}]"), flags=True)
