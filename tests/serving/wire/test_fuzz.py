"""Any JSON is a request or a RequestError, by every API; any reply is read, or a BackendError."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herdwise.backends.anthropic_reply import MessageStream
from herdwise.backends.anthropic_reply import to_completion as from_message
from herdwise.backends.anthropic_request import to_messages
from herdwise.backends.base import Backend, Health, reading, translating
from herdwise.backends.chat_shape import read_chunk, read_completion
from herdwise.backends.ollama_shape import ending, logprobs, to_delta, to_ollama, usage
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import BackendError, InputError, RequestError
from herdwise.core.money import Price
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import APIS
from herdwise.serving.service import Service, Settings
from herdwise.serving.wire.anthropic_messages import read_count
from herdwise.serving.wire.flags import take_flags
from herdwise.serving.wire.goals import RequestGoals, merged, read_goals, read_headers

_QUICK = settings(max_examples=60, deadline=None)


class Unasked(Backend):
    """Nobody gets this far."""

    name = "unasked"

    async def complete(self, body: Any) -> Any:
        raise NotImplementedError

    async def stream(self, body: Any) -> Any:
        raise NotImplementedError

    async def probe(self) -> Health:
        return Health(False)


HERD = Herd(
    [
        Candidate("a", quality=0.5, price=Price(1.0, 2.0), context_tokens=8000, tools=True, params_b=8.0),
        Candidate("b", quality=0.6, price=Price(1.0, 2.0), json_schema=True, modalities=frozenset({"text"})),
    ]
)
SERVICE = Service(
    DeclaredRouter(HERD),
    {"a": Unasked(), "b": Unasked()},
    {"single": Single()},
    settings=Settings(flags_in_prompt=True),
)

#: Words that mean something somewhere, so that what is drawn gets further than the first check.
_WORDS = st.sampled_from(
    [
        *(
            "auto",
            "auto/single",
            "a",
            "b",
            "user",
            "assistant",
            "system",
            "tool",
            "developer",
            "text",
            "function",
        ),
        *("image_url", "input_text", "output_text", "input_image", "input_audio", "input_file", "tool_use"),
        *(
            "tool_result",
            "image",
            "document",
            "thinking",
            "redacted_thinking",
            "refusal",
            "message",
            "auto",
            "any",
        ),
        *(
            "function_call",
            "function_call_output",
            "reasoning",
            "json_schema",
            "json_object",
            "none",
            "required",
        ),
        *(
            "base64",
            "url",
            "image/png",
            "aGk=",
            "data:image/png;base64,aGk=",
            "https://x.example/a.png",
            "low",
        ),
        *(
            "[Flag: smallest model]",
            "[Flag: cost=nan]",
            "[Flag: cost=1e5, x]",
            "[Flag:]",
            "Hello",
            "{}",
            "{",
            "",
        ),
        *(
            "end_turn",
            "tool_calls",
            "stop",
            "length",
            "usd",
            "tokens",
            "2024-01-01",
            "\0",
            "\ud7ff",
            "1",
            "-1",
        ),
        *(
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
        ),
        *("text_delta", "thinking_delta", "signature_delta", "input_json_delta", "message_stop", "ping"),
    ]
)
_KEYS = st.sampled_from(
    [
        *("model", "messages", "role", "content", "type", "text", "tools", "tool_choice", "function", "name"),
        *(
            "arguments",
            "parameters",
            "tool_calls",
            "tool_call_id",
            "id",
            "index",
            "image_url",
            "url",
            "input",
        ),
        *(
            "stream",
            "stream_options",
            "include_usage",
            "response_format",
            "json_schema",
            "schema",
            "max_tokens",
        ),
        *(
            "max_completion_tokens",
            "max_output_tokens",
            "temperature",
            "seed",
            "stop",
            "n",
            "logprobs",
            "logit",
        ),
        *(
            "herdwise",
            "cost_weight",
            "policy",
            "prefer",
            "candidates",
            "max_calls",
            "max_seconds",
            "tags",
            "cache",
        ),
        *("instructions", "output", "call_id", "reasoning", "effort", "include", "store", "format", "prompt"),
        *(
            "system",
            "stop_sequences",
            "metadata",
            "user_id",
            "thinking",
            "output_config",
            "source",
            "media_type",
        ),
        *(
            "data",
            "is_error",
            "tool_use_id",
            "input_schema",
            "cache_control",
            "budget_tokens",
            "disable_parallel",
        ),
        *(
            "message",
            "delta",
            "choices",
            "usage",
            "finish_reason",
            "stop_reason",
            "done",
            "done_reason",
            "error",
        ),
        *(
            "content_block",
            "signature",
            "partial_json",
            "prompt_tokens",
            "input_tokens",
            "eval_count",
            "modalities",
        ),
        *("prompt_eval_count", "created", "detail", "input_audio", "file", "file_data", "filename", "suffix"),
        *(
            "echo",
            "best_of",
            "user",
            "refusal",
            "function_call",
            "completion_tokens",
            "strict",
            "description",
        ),
    ]
)
#: Refused whatever they hold but nothing; where they are drawn all the time, nothing else is tried.
_REFUSED = frozenset({"store", "suffix", "echo", "herdwise"})
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    _WORDS,
    st.integers(-2, 3),
    st.sampled_from([2**63, 10**30, -(10**20), 1e308, 0.5]),
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=18,
)
_PARTS = st.fixed_dictionaries(
    {"type": _WORDS}, optional={"text": _WORDS | _JSON, "image_url": _JSON, "source": _JSON}
)
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"]) | _JSON},
        optional={
            "content": _WORDS | st.lists(_PARTS | _JSON, max_size=3) | _JSON,
            "tool_calls": _JSON,
            "type": _WORDS,
        },
    ),
    min_size=1,
    max_size=3,
)
_SAID = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant"]),
        "content": st.one_of(
            st.just("Hello"),
            _WORDS.map(lambda word: word or "Hello"),
            st.lists(
                st.fixed_dictionaries({"type": st.just("text"), "text": _WORDS}), min_size=1, max_size=3
            ),
        ),
    },
    optional={"name": _JSON, "tool_calls": st.lists(st.dictionaries(_KEYS, _JSON, max_size=3), max_size=2)},
)
_TALK = st.one_of(st.lists(_SAID, min_size=1, max_size=3), _MESSAGES)
#: What is a request but for some field or other.
_ALMOST = st.builds(
    lambda own, more: {**more, **own},
    st.fixed_dictionaries(
        {
            "model": st.sampled_from(["auto", "a", "auto/single"]),
            "messages": _TALK,
            "input": _WORDS.map(lambda word: word or "Hello") | _TALK,
        },
        optional={"prompt": _WORDS.map(lambda word: word or "Hello")},
    ),
    st.dictionaries(_KEYS.filter(lambda key: key not in _REFUSED), _JSON, max_size=3),
)
_BODIES = st.one_of(_ALMOST, _ALMOST, _ALMOST, st.dictionaries(_KEYS, _JSON, max_size=6), _JSON)
_HEADERS = st.dictionaries(
    st.sampled_from([name.replace("_", "-") for name in RequestGoals.__struct_fields__] + ["explain", "x"]),
    st.one_of(
        _WORDS, st.sampled_from(["1", "nan", "inf", "1e400", "a,b", "cost=1, size=x", "cost", "true", "\xff"])
    ),
    max_size=1,
)


def read(api: Any, raw: bytes, own: dict[str, str]) -> Any:
    """The request, or None where it was refused."""
    with contextlib.suppress(RequestError):
        return api().read(raw, own, {}, SERVICE)
    return None


@pytest.mark.parametrize("api", APIS, ids=[api.path for api in APIS])
@given(_BODIES, _HEADERS)
@_QUICK
def test_any_json_is_a_request_or_refused(api: Any, body: Any, stated: dict[str, str]) -> None:
    own = {f"x-herdwise-{name}": value for name, value in stated.items()}
    request = read(api, json.dumps(body).encode(), own)
    if request is None:
        return
    json.dumps(request.own_goals, default=str)
    with contextlib.suppress(InputError):
        SERVICE.ranker.situation(request.query, request.goals)
    sent = {key: value for key, value in request.body.items() if key != "herdwise"}
    for translate in (
        lambda: to_messages(sent, "a", max_tokens=100, reasoning="budget"),
        lambda: to_ollama(sent, "a", {}),
    ):
        with contextlib.suppress(BackendError), translating("a"):
            translate()


@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
@_QUICK
def test_any_bytes_are_a_request_or_refused(raw: bytes) -> None:
    for api in APIS:
        read(api, raw, {})
    with contextlib.suppress(RequestError):
        read_count(raw, {}, SERVICE)


@given(_JSON, _HEADERS)
@_QUICK
def test_any_goals_are_goals_or_refused(value: Any, stated: dict[str, str]) -> None:
    given_goals = []
    for reader, what in ((read_goals, value), (read_headers, stated)):
        with contextlib.suppress(RequestError):
            given_goals.append(reader(what))
    with contextlib.suppress(InputError):
        merged(SERVICE.goals, HERD, *given_goals)


@given(st.one_of(st.text(max_size=60), st.lists(_WORDS | st.text(max_size=8), max_size=6).map(" ".join)))
@_QUICK
def test_any_text_is_taken_with_its_flags_or_refused(text: str) -> None:
    with contextlib.suppress(RequestError):
        bare, wishes = take_flags(text)
        assert len(bare) <= len(text)
        assert all(0 <= weight < 1e6 for weight in wishes.values())


def _anthropic(reply: Any) -> None:
    with reading("a"):
        read_completion(from_message(reply, "a"), "a")


def _ollama(reply: Any) -> None:
    with reading("a"):
        delta = to_delta(reply, "a", 0)
        choice = {"index": 0, "delta": delta, "finish_reason": ending(reply, calls=False), **logprobs(reply)}
        read_chunk({"choices": [choice], "usage": usage(reply)}, "a")


def _chat(reply: Any) -> None:
    read_completion(reply, "a")


def _chunk(reply: Any) -> None:
    read_chunk(reply, "a")


@pytest.mark.parametrize("reader", [_anthropic, _ollama, _chat, _chunk])
@given(st.dictionaries(_KEYS, _JSON, max_size=6))
@_QUICK
def test_any_reply_is_read_or_a_bad_response(reader: Callable[[Any], None], reply: Any) -> None:
    with contextlib.suppress(BackendError):
        reader(reply)


_EVENTS = st.fixed_dictionaries(
    {"type": _WORDS | _JSON},
    optional={
        "message": st.dictionaries(_KEYS, _JSON, max_size=3) | _JSON,
        "content_block": st.dictionaries(_KEYS, _JSON, max_size=3) | _JSON,
        "delta": st.dictionaries(_KEYS, _WORDS | _JSON, max_size=4) | _JSON,
        "usage": _JSON,
    },
)


@given(st.lists(_EVENTS, max_size=6))
@_QUICK
def test_any_events_of_anthropics_are_chunks_or_a_bad_response(events: list[Any]) -> None:
    stream = MessageStream("a")
    with contextlib.suppress(BackendError), reading("a"):
        for event in [{"type": "message_start", "message": {}}, *events]:
            for chunk in stream.feed(event):
                read_chunk(chunk, "a")
