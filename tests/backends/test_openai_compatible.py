"""The OpenAI-compatible backend against a real server, in all the ways that one can misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.completion import Chunk, Completion, Usage
from herdwise.core.errors import (
    BackendError,
    BadResponseError,
    ConfigError,
    ConnectError,
    OverloadedError,
    RateLimitError,
    TimeoutError_,
    UpstreamStatusError,
)
from herdwise.transport.client import HttpClient, Limits, Timeouts

SECRET = "sk-very-secret-key"
BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hello there, my friend"}]}
ECHO = "echo: Hello there, my friend"
#: For what must time out; everything else gets time enough on a busy machine.
QUICK = Timeouts(connect_s=1.0, first_byte_s=0.3, idle_s=0.3, total_s=0.6)
PATIENT = Timeouts(connect_s=20.0, first_byte_s=20.0, idle_s=20.0, total_s=40.0)


@pytest.fixture
async def client() -> Any:
    made = HttpClient(Limits(max_body_bytes=1_000_000, max_event_bytes=100_000))
    yield made
    await made.close()


def backend(up: Any, client: HttpClient | None = None, **options: Any) -> OpenAICompatible:
    options = {"timeouts": PATIENT, "api_key": SECRET, **options}
    return OpenAICompatible("small", up.base_url, "test-model", client=client, **options)


async def collect(made: OpenAICompatible, body: Any = BODY) -> list[Chunk]:
    return [chunk async for chunk in made.stream(body)]


#: behaviour -> (error of a whole answer, error of a stream); None = it ends well.
OUTCOMES: dict[str, tuple[type | None, type | None]] = {
    "ok": (None, None),
    "slow": (TimeoutError_, TimeoutError_),
    "hang_before_headers": (TimeoutError_, TimeoutError_),
    "hang_mid_stream": (TimeoutError_, TimeoutError_),
    "reset_before_headers": (ConnectError, ConnectError),
    "close_before_headers": (ConnectError, ConnectError),
    "reset_mid_stream": (ConnectError, ConnectError),
    "close_mid_stream": (ConnectError, ConnectError),
    "end_mid_stream": (BadResponseError, BadResponseError),
    "rate_limited": (RateLimitError, RateLimitError),
    "overloaded": (RateLimitError, RateLimitError),
    "server_error": (UpstreamStatusError, UpstreamStatusError),
    "html_error": (UpstreamStatusError, UpstreamStatusError),
    "redirect": (UpstreamStatusError, UpstreamStatusError),
    "context_length_exceeded": (UpstreamStatusError, UpstreamStatusError),
    "key_refused": (UpstreamStatusError, UpstreamStatusError),
    "truncated_json": (BadResponseError, BadResponseError),
    "malformed_sse": (BadResponseError, BadResponseError),
    "wrong_content_type": (BadResponseError, BadResponseError),
    "wrong_charset": (BadResponseError, BadResponseError),
    "huge_body": (BadResponseError, BadResponseError),
    "slow_bytes": (None, None),
    "empty_answer": (None, None),
    "empty_body": (BadResponseError, BadResponseError),
    "no_choices": (BadResponseError, BadResponseError),
    "no_finish_reason": (None, None),
    "no_done": (None, None),
    "hang_after_done": (None, None),
    "no_content_type": (None, None),
    "error_event": (UpstreamStatusError, UpstreamStatusError),
    "says": (None, None),
    "not_http": (BadResponseError, BadResponseError),
}


@pytest.mark.parametrize("behaviour", OUTCOMES)
async def test_every_misbehaviour_is_the_right_error_names_the_candidate_and_keeps_the_key(
    faulty_upstream: Any, client: HttpClient, behaviour: str
) -> None:
    up = await faulty_upstream()
    up.behave(behaviour, **({"delay_s": 5.0} if behaviour == "slow" else {}))
    hangs = TimeoutError_ in OUTCOMES[behaviour]
    made = backend(up, client, timeouts=QUICK if hangs else PATIENT)
    for expected, call in zip(OUTCOMES[behaviour], (made.complete(BODY), collect(made)), strict=True):
        if expected is None:
            async with asyncio.timeout(60):
                await call
            continue
        with pytest.raises(BackendError) as caught:
            async with asyncio.timeout(60):
                await call
        error = caught.value
        assert type(error) is expected
        assert error.candidate == "small"
        assert "'small'" in error.message
        assert SECRET not in f"{error} {error!r} {error.body} {error.__cause__!r}"
    await up.until(lambda: up.in_flight == 0)


async def test_every_behaviour_of_the_faulty_server_is_walked(faulty_upstream: Any) -> None:
    up = await faulty_upstream()
    assert set(up.behaviours) == OUTCOMES.keys()


async def test_after_every_misbehaviour_the_same_client_serves_the_next_request(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    made, hasty = backend(up, client), backend(up, client, timeouts=Timeouts(1.0, 0.1, 0.1, 0.2))
    for behaviour in OUTCOMES:
        up.behave(behaviour)
        await asyncio.gather(hasty.complete(BODY), return_exceptions=True)
        up.behave("ok")
        assert (await made.complete(BODY)).text == ECHO


async def test_a_whole_answer_is_read_and_its_object_kept(faulty_upstream: Any, client: HttpClient) -> None:
    up = await faulty_upstream()
    done = await backend(up, client).complete(BODY)
    assert isinstance(done, Completion)
    assert (done.candidate, done.text, done.finish_reason) == ("small", ECHO, "stop")
    assert done.usage == Usage(4, 5)
    assert done.body["object"] == "chat.completion"
    assert done.latency_s is not None
    assert done.latency_s > 0
    assert done.first_token_s is None


async def test_a_stream_gives_the_same_text_its_reason_and_true_usage(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    chunks = await collect(backend(up, client))
    assert "".join(c.text for c in chunks) == ECHO
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]
    assert [c.usage for c in chunks if c.usage] == [Usage(4, 5)]
    assert chunks[-1].body["choices"] == []


async def test_unknown_fields_tools_and_images_pass_untouched_and_only_the_model_changes(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    ]
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": parts, "x_unknown": [1, None]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "none",
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
        "x_vendor": {"deep": [1.5, "é", {"a": False}]},
        "seed": 7,
    }
    made = backend(up, client)
    await made.complete(body)
    await collect(made, body)
    whole, streamed = up.bodies
    assert whole == {**body, "model": "test-model"}
    assert streamed == {
        **body,
        "model": "test-model",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert body["model"] == "auto"


async def test_a_whole_answer_never_asks_for_a_stream(faulty_upstream: Any, client: HttpClient) -> None:
    up = await faulty_upstream()
    await backend(up, client).complete({**BODY, "stream": True, "stream_options": {"include_usage": True}})
    assert up.bodies[0].keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("given", "option", "sent"),
    [
        (None, True, {"include_usage": True}),
        (None, False, None),
        ({"include_usage": False}, True, {"include_usage": False}),
        ({"include_usage": True}, False, {"include_usage": True}),
        ({"other": 1}, True, {"other": 1, "include_usage": True}),
    ],
)
async def test_usage_is_asked_for_unless_the_client_or_the_option_says_otherwise(
    faulty_upstream: Any, client: HttpClient, given: Any, option: bool, sent: Any
) -> None:
    up = await faulty_upstream()
    body = BODY if given is None else {**BODY, "stream_options": given}
    await collect(backend(up, client, include_usage=option), body)
    assert up.bodies[0].get("stream_options") == sent


async def test_tool_calls_come_through_whole_and_streamed(faulty_upstream: Any, client: HttpClient) -> None:
    up = await faulty_upstream()
    body = {**BODY, "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]}
    made = backend(up, client)
    done = await made.complete(body)
    assert (done.text, done.finish_reason) == ("", "tool_calls")
    call = done.body["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call["name"] == "look_up"
    deltas = [c.body["choices"][0]["delta"] for c in await collect(made, body) if c.body["choices"]]
    pieces = [t["function"]["arguments"] for d in deltas for t in d.get("tool_calls", ())]
    assert "".join(pieces) == call["arguments"]


async def test_the_key_and_extra_headers_are_sent_and_never_shown(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream(api_key=SECRET)
    made = backend(up, client, headers={"X-Org": "organisation-1"})
    await made.complete(BODY)
    assert up.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert up.requests[0].headers["x-org"] == "organisation-1"
    assert SECRET not in repr(made)
    wrong = backend(up, client, api_key="sk-another-secret")
    with pytest.raises(UpstreamStatusError, match="401") as caught:
        await wrong.complete(BODY)
    assert "sk-another-secret" not in f"{caught.value} {caught.value.body}"


async def test_the_upstreams_error_object_and_status_are_kept(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    up.behave("context_length_exceeded")
    with pytest.raises(UpstreamStatusError, match="maximum context length") as caught:
        await backend(up, client).complete(BODY)
    assert caught.value.status == 400
    assert caught.value.body["error"]["code"] == "context_length_exceeded"  # type: ignore[index]


async def test_a_rate_limit_says_when_to_come_back(faulty_upstream: Any, client: HttpClient) -> None:
    up = await faulty_upstream()
    up.behave([("rate_limited", {"retry_after": 3}), ("rate_limited", {"retry_after": None})])
    made = backend(up, client)
    for seconds in (3.0, None):
        with pytest.raises(RateLimitError) as caught:
            await made.complete(BODY)
        assert caught.value.retry_after_s == seconds


async def test_nobody_listening_is_a_connect_error_with_a_remedy(
    closed_port: int, client: HttpClient
) -> None:
    made = OpenAICompatible("gone", f"http://127.0.0.1:{closed_port}/v1", client=client)
    said = f"'gone' cannot be reached: .* at 127.0.0.1:{closed_port}"
    with pytest.raises(ConnectError, match=said) as caught:
        await made.complete(BODY)
    assert "running" in caught.value.remedy
    assert not (await made.probe()).reachable


@pytest.mark.parametrize(
    "behaviour", ["hang_mid_stream", "reset_mid_stream", "end_mid_stream", "error_event"]
)
async def test_what_came_before_a_stream_broke_was_delivered(
    faulty_upstream: Any, client: HttpClient, behaviour: str
) -> None:
    up = await faulty_upstream()
    up.behave(behaviour, after=3)
    texts: list[str] = []

    async def follow() -> None:
        made = backend(up, client, timeouts=QUICK if behaviour == "hang_mid_stream" else PATIENT)
        async for chunk in made.stream(BODY):
            texts.append(chunk.text)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(BackendError):
        await follow()
    assert "".join(texts) == "echo: Hello there,"


async def test_closing_the_iterator_closes_the_upstream_connection(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    up.behave("hang_mid_stream")
    stream = backend(up, client, timeouts=Timeouts()).stream(BODY)
    assert [(await anext(stream)).text for _ in range(2)] == ["", "echo:"]
    assert (up.disconnects, up.in_flight) == (0, 1)
    await stream.aclose()
    await up.until(lambda: up.disconnects == 1 and up.in_flight == 0)


async def test_cancelling_an_ask_closes_the_upstream_connection(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    up.behave("hang_before_headers")
    made = backend(up, client, timeouts=Timeouts(), max_concurrency=1)
    for ask in (made.complete(BODY), collect(made)):
        before = up.disconnects
        task = asyncio.create_task(ask)  # type: ignore[var-annotated, arg-type]
        await up.until(lambda: up.in_flight == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await up.until(lambda before=before: up.disconnects == before + 1 and up.in_flight == 0)
    up.behave("ok")
    assert (await made.complete(BODY)).text == ECHO


async def test_streams_and_whole_answers_keep_one_connection(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    made = backend(up, client)
    for _ in range(3):
        await collect(made)
        await made.complete(BODY)
    assert (up.connections_made, up.disconnects) == (1, 0)


async def test_the_answer_is_not_in_an_errors_words(faulty_upstream: Any, client: HttpClient) -> None:
    up = await faulty_upstream()
    up.behave("truncated_json")
    for call in (backend(up, client).complete(BODY), collect(backend(up, client))):
        with pytest.raises(BadResponseError) as caught:
            await call
        assert "chatcmpl" not in str(caught.value)


async def test_past_its_queue_a_candidate_is_overloaded_and_recovers(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    up.behave("hang_before_headers")
    made = backend(up, client, timeouts=Timeouts(), max_concurrency=1, max_queue=1)
    held = asyncio.create_task(made.complete(BODY))
    waiting = asyncio.create_task(collect(made))
    await up.until(lambda: up.in_flight == 1)
    with pytest.raises(OverloadedError):
        await made.complete(BODY)
    with pytest.raises(OverloadedError):
        await collect(made)
    assert len(up.bodies) == 1
    up.behave("ok")
    held.cancel()
    assert "".join(c.text for c in await waiting) == ECHO
    await asyncio.gather(held, return_exceptions=True)


async def test_a_probe_says_whether_the_model_is_known(faulty_upstream: Any, client: HttpClient) -> None:
    up = await faulty_upstream(models=("test-model", "other:latest"))
    health = await backend(up, client).probe()
    assert (health.reachable, health.models) == (True, ("test-model", "other:latest"))
    assert "serves 'test-model'" in health.detail
    tagged = await OpenAICompatible("c", up.base_url, "other", client=client).probe()
    assert "serves" in tagged.detail
    stranger = await OpenAICompatible("c", up.base_url, "third", client=client).probe()
    assert stranger.reachable
    assert "not 'third'" in stranger.detail
    assert all(r.method == "GET" for r in up.requests)


async def test_a_probe_that_cannot_list_models_still_says_what_it_found(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    up.behave("server_error", everywhere=True, status=404)
    assert (await backend(up, client).probe()).reachable
    up.behave("key_refused", everywhere=True)
    refused = await backend(up, client).probe()
    assert not refused.reachable
    assert "api_key" in refused.detail
    assert SECRET not in refused.detail
    up.behave("hang_before_headers", everywhere=True)
    assert not (await backend(up, client, timeouts=QUICK).probe()).reachable


async def test_its_own_client_is_closed_with_it_and_a_shared_one_is_not(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    own, shared = backend(up), backend(up, client)
    await own.complete(BODY)
    await shared.complete(BODY)
    assert len(up.connections) == 2
    for made in (own, own, shared):
        await made.close()
    await up.until(lambda: len(up.connections) == 1)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://h/v1", "http://", "http://[::1", "/v1"])
def test_a_base_url_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url") as caught:
        OpenAICompatible("c", url)
    assert "http://127.0.0.1:11434/v1" in caught.value.remedy


def test_a_key_in_the_base_url_or_with_a_line_break_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAICompatible("c", "http://user:hidden@h/v1")
    assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigError, match="line break") as caught:
        OpenAICompatible("c", "http://h/v1", api_key=f"{SECRET}\n")
    assert SECRET not in str(caught.value)


async def test_a_base_url_may_end_in_a_slash(faulty_upstream: Any, client: HttpClient) -> None:
    up = await faulty_upstream()
    made = OpenAICompatible("test-model", up.base_url + "/", client=client)
    assert (await made.complete(BODY)).text == ECHO


async def test_a_query_in_the_base_url_is_kept_on_every_path_and_not_shown(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    url = f"{up.base_url}/?api-version=2024-10-21&key={SECRET}"
    made = OpenAICompatible("c", url, "test-model", client=client)
    assert (await made.complete(BODY)).text == ECHO
    await made.probe()
    paths = [r.path.partition("?") for r in up.requests]
    assert [p[0] for p in paths] == ["/v1/chat/completions", "/v1/models"]
    assert {p[2] for p in paths} == {f"api-version=2024-10-21&key={SECRET}"}
    assert SECRET not in f"{made!r} {made.base_url}"


async def test_a_base_url_without_a_path_is_taken_as_it_stands(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream(extra={"/models": {"data": [{"id": "c"}]}})
    for url in (f"http://127.0.0.1:{up.port}", f"http://127.0.0.1:{up.port}/"):
        assert (await OpenAICompatible("c", url, client=client).probe()).models == ("c",)


async def test_after_a_storm_of_faults_no_connection_task_or_slot_is_left(faulty_upstream: Any) -> None:
    up = await faulty_upstream()
    own = HttpClient(Limits(max_body_bytes=100_000, max_event_bytes=10_000))
    limits = Timeouts(connect_s=5.0, first_byte_s=1.0, idle_s=1.0, total_s=1.5)
    made = backend(up, own, timeouts=limits, max_concurrency=8, max_queue=200)
    up.behave([*up.behaviours, *reversed(up.behaviours), "ok"])
    before = asyncio.all_tasks()
    asks = [made.complete(BODY) if i % 2 else collect(made) for i in range(2 * len(up.behaviours))]
    ends = await asyncio.gather(*asks, return_exceptions=True)  # type: ignore[call-overload]
    assert {type(end) for end in ends if isinstance(end, BaseException)} == {
        BadResponseError,
        ConnectError,
        RateLimitError,
        TimeoutError_,
        UpstreamStatusError,
    }
    assert (await backend(up, own).complete(BODY)).text == ECHO
    await own.close()
    await up.until(lambda: not up.connections and up.in_flight == 0)
    assert asyncio.all_tasks() == before


async def test_the_answers_limit_goes_by_the_name_that_the_upstream_knows(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    made = backend(up, client, limit_field="max_completion_tokens")
    await made.complete({**BODY, "max_tokens": 3})
    await collect(made, {**BODY, "max_completion_tokens": 4, "max_tokens": 9})
    await made.complete({**BODY, "max_tokens": None})
    await backend(up, client).complete({**BODY, "max_tokens": 5})
    names = ("max_tokens", "max_completion_tokens")
    told = [{name: sent[name] for name in names if name in sent} for sent in up.bodies]
    assert told == [{"max_completion_tokens": 3}, {"max_completion_tokens": 4}, {}, {"max_tokens": 5}]
    with pytest.raises(ConfigError, match="max_completion_tokens or max_tokens"):
        backend(up, client, limit_field="limit")


async def test_fields_that_the_upstream_refuses_are_left_out_of_what_it_gets(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream()
    made = backend(up, client, leave_out=["reasoning_effort", "seed"])
    body = {**BODY, "reasoning_effort": "low", "temperature": 0.5}
    await made.complete(body)
    await collect(made, body)
    for sent in up.bodies:
        assert "reasoning_effort" not in sent
        assert sent["temperature"] == 0.5
    assert body["reasoning_effort"] == "low"


async def test_what_our_own_wire_adds_to_a_request_is_not_sent(
    faulty_upstream: Any, client: HttpClient
) -> None:
    from herdwise.core.native import NATIVE, Native

    up = await faulty_upstream()
    thought = {"role": "assistant", "content": "Yes?", "thinking_blocks": [{"type": "thinking"}]}
    body = {**BODY, "messages": [*BODY["messages"], thought, *BODY["messages"]]}
    body[NATIVE] = Native("anthropic", {}, {})
    made = backend(up, client)
    await made.complete(body)
    await collect(made, body)
    plain = {"role": "assistant", "content": "Yes?"}
    for sent in up.bodies:
        assert sent["messages"] == [*BODY["messages"], plain, *BODY["messages"]]
        assert NATIVE not in sent
    assert "thinking_blocks" in body["messages"][1]
