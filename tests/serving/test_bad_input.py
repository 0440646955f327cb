"""Bad input: the right status, OpenAI's error shape, the field at fault. Nothing reaches an upstream."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from herdwise.core.candidate import Candidate

USER = {"role": "user", "content": "Hello"}
CHAT = "/v1/chat/completions"


async def test_a_body_that_is_not_json_is_refused(endpoint: Any) -> None:
    e = await endpoint()
    bodies = [b"", b"{", b"\xff\xfe", b'{"a": "\xff"}', b"[" * 100_000, b'{"model": NaN}', b'{"a":"\\ud800"}']
    for body in bodies:
        reply = await e.send("POST", CHAT, body)
        assert (reply.status, reply.error["code"]) == (400, "invalid_json")


async def test_a_body_that_is_no_object_is_refused(endpoint: Any) -> None:
    e = await endpoint()
    for body in (b"[]", b'"auto"', b"null", b"1"):
        reply = await e.send("POST", CHAT, body)
        assert (reply.status, reply.error["code"]) == (400, "invalid_json")


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "Hello"}, "messages"),
    ({"messages": ["Hello"]}, "messages[0]"),
    ({"messages": [USER, {"content": "Hello"}]}, "messages[1].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [USER, {"role": "assistant"}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": ["Hi"]}]}, "messages[0].content[0]"),
    ({"model": None}, "model"),
    ({"model": 3}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": 1}, "stream_options"),
    ({"tools": {}}, "tools"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": "many"}, "max_completion_tokens"),
    ({"herdwise": []}, "herdwise"),
    ({"herdwise": {"max_cost": 1}}, "herdwise.max_cost"),
    ({"herdwise": {"cost_weight": -1}}, "herdwise.cost_weight"),
    ({"herdwise": {"cost_weight": None}}, "herdwise.cost_weight"),
    ({"herdwise": {"min_quality": 60}}, "herdwise.min_quality"),
    ({"herdwise": {"prefer": {"speed": 1}}}, "herdwise.prefer.speed"),
    ({"herdwise": {"released_after": "soon"}}, "herdwise.released_after"),
    ({"herdwise": {"candidates": ["nobody"]}}, "herdwise.candidates"),
    ({"herdwise": {"generalist": "nobody"}}, "herdwise.generalist"),
    ({"herdwise": {"policy": "guess"}}, "herdwise.policy"),
    ({"herdwise": {"policy": "single"}, "model": "small"}, "herdwise.policy"),
    ({"herdwise": {"policy": "single"}, "model": "auto/other"}, "herdwise.policy"),
]


async def test_a_field_at_fault_is_named(endpoint: Any) -> None:
    e = await endpoint()
    for change, param in FIELDS:
        body = {"model": "auto", "messages": [USER], **change}
        reply = await e.send("POST", CHAT, {k: v for k, v in body.items() if v is not None})
        assert (reply.status, reply.error["param"]) == (400, param), change
        assert reply.error["type"] == "invalid_request_error"
    assert all(upstream.bodies == [] for upstream in e.upstreams.values())


async def test_an_assistants_message_with_tool_calls_needs_no_content(endpoint: Any) -> None:
    e = await endpoint()
    call = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    said = [
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "7"},
    ]
    reply = await e.chat(messages=said)
    assert reply.status == 200
    assert e.upstreams["large"].bodies[0]["messages"] == said


async def test_an_unknown_header_of_ours_is_refused_by_name(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat(headers={"x-herdwise-max-cost": "1"})
    assert (reply.status, reply.error["param"]) == (400, "herdwise.max_cost")
    reply = await e.chat(headers={"x-herdwise-max-params-b": "big"})
    assert (reply.status, reply.error["param"]) == (400, "herdwise.max_params_b")


async def test_an_unknown_model_is_404_in_openais_shape(endpoint: Any) -> None:
    e = await endpoint()
    for model in ("gpt-9", "auto/guess", "AUTO"):
        reply = await e.chat(model=model)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "model_not_found", "model")
        assert "large" in reply.error["message"]
    with pytest.raises(openai.NotFoundError):
        await e.client.chat.completions.create(model="gpt-9", messages=[USER])


async def test_a_context_too_long_for_every_candidate_is_400_and_says_so(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat("word " * 8000)
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
    assert reply.error["removed"].keys() == {"large", "small"}
    only_long = await e.chat("word " * 4000)
    assert only_long.json["model"] == "large"


async def test_constraints_that_nobody_meets_are_422_and_say_what_removed_whom(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat(herdwise={"max_params_b": 1, "tags": ["on-premises"]})
    assert (reply.status, reply.error["code"]) == (422, "no_candidate")
    assert reply.error["removed"] == {"large": "params_b 70 > 1", "small": "params_b 8 > 1"}
    assert "large: params_b 70 > 1" in reply.error["message"]


async def test_weighing_a_cost_that_nobody_knows_is_refused_with_the_remedy(endpoint: Any) -> None:
    e = await endpoint(candidates=[Candidate("unpriced", quality=0.5)])
    reply = await e.chat(herdwise={"cost_weight": 1})
    assert (reply.status, reply.error["code"]) == (400, "unknown_cost")
    assert reply.error["param"] == "herdwise.cost_weight"
    assert "input_usd_per_mtok" in reply.error["message"]


async def test_min_quality_without_a_generalist_is_refused_with_the_remedy(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat(herdwise={"min_quality": 0.99})
    assert reply.status == 400
    assert "generalist" in reply.error["message"]
    handed = await e.chat(herdwise={"min_quality": 0.99, "generalist": "small"})
    assert handed.json["model"] == "small"


async def test_a_flag_that_says_nothing_known_is_refused(endpoint: Any) -> None:
    e = await endpoint(flags_in_prompt=True)
    reply = await e.chat("Hi [Flag: prettiest model]")
    assert (reply.status, reply.error["code"]) == (400, "unknown_flag")


async def test_a_body_too_large_is_413_whether_its_length_is_stated_or_not(endpoint: Any) -> None:
    e = await endpoint(max_body_bytes=1000)
    reply = await e.chat("x" * 2000)
    assert (reply.status, reply.error["code"]) == (413, "body_too_large")

    async def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100

    async with e.session.post(f"{e.url}{CHAT}", data=pieces()) as answer:
        assert answer.status == 413
    assert (await e.chat("x" * 200)).status == 200


async def test_a_wrong_method_is_405_and_an_unknown_path_404(endpoint: Any) -> None:
    e = await endpoint()
    for method, path, allow in (("GET", CHAT, "POST"), ("GET", "/v1/feedback", "POST")):
        reply = await e.send(method, path)
        assert (reply.status, reply.headers["allow"]) == (405, allow)
        assert reply.error["code"] == "method_not_allowed"
    for path in ("/", "/v1", "/v1/chat", "/v1/chat/completions/", "/v1/../healthz", "/admin"):
        reply = await e.send("GET", path)
        if reply.status != 200:  # the client itself resolves dots
            assert (reply.status, reply.error["code"]) == (404, "not_found")


FEEDBACK: list[Any] = [
    b"{",
    {},
    {"decision_id": 7, "score": 1},
    {"decision_id": "x", "score": 2},
    {"decision_id": "x", "score": -0.1},
    {"decision_id": "x", "thumbs": "sideways"},
    {"decision_id": "x", "score": 1, "thumbs": "up"},
    {"decision_id": "x"},
    {"decision_id": "x", "stars": 5},
]


async def test_feedback_that_cannot_be_read_is_400(endpoint: Any) -> None:
    e = await endpoint()
    for body in FEEDBACK:
        reply = await e.send("POST", "/v1/feedback", body)
        assert reply.status == 400, body
        assert reply.error["type"] == "invalid_request_error"


async def test_feedback_and_questions_for_an_unknown_decision_are_404(endpoint: Any) -> None:
    e = await endpoint()
    given = await e.send("POST", "/v1/feedback", {"decision_id": "nope", "score": 1})
    asked = await e.send("GET", "/v1/decisions/nope")
    assert given.status == asked.status == 404
    assert given.error["code"] == asked.error["code"] == "decision_not_found"


async def test_without_a_key_the_doors_are_shut_but_for_health(endpoint: Any) -> None:
    e = await endpoint(api_keys=("first-key", "second-key"))
    doors = (("POST", CHAT), ("GET", "/v1/models"), ("POST", "/v1/feedback"), ("GET", "/v1/decisions/x"))
    for method, path in doors:
        for shown in (
            None,
            "Bearer wrong",
            "Bearer ",
            "first-key",
            "Basic first-key",
            "Bearer first-ke\u00ff",
        ):
            headers = {} if shown is None else {"Authorization": shown}
            reply = await e.send(method, path, b"{}", headers)
            assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
    assert (await e.send("GET", "/healthz")).status == 200
    assert (await e.send("GET", "/readyz")).status == 200
    with pytest.raises(openai.AuthenticationError):
        await e.client.chat.completions.create(model="auto", messages=[USER])
    good = await e.chat(headers={"Authorization": "Bearer second-key"})
    assert good.status == 200
    # The client's key is ours; it is not passed on.
    assert "authorization" not in e.upstreams["large"].requests[-1].headers
