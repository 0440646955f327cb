"""What the client sends reaches the candidate as it is, and what the candidate says reaches the client."""

from __future__ import annotations

from typing import Any

PIXEL = "data:image/png;base64,iVBORw0KGgo="
EVERYTHING: dict[str, Any] = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "boss"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Wh\u00e4t is thi\u015f? \u5f71\u50cf \U0001f600"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            ],
        },
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "look_up",
                "description": "Looks up.",
                "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
                "strict": True,
            },
        }
    ],
    "tool_choice": "none",
    "parallel_tool_calls": False,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object", "additionalProperties": False}},
    },
    "temperature": 0.7,
    "top_p": 0.30000000000000004,
    "n": 1,
    "seed": 12345678901234567890,
    "stop": ["\n\n", "END"],
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"50256": -100},
    "presence_penalty": -1.5,
    "max_completion_tokens": 50,
    "user": "someone",
    "metadata": {"a": "b"},
    "reasoning_effort": "low",
    "some_future_field": {"nested": [1, 2.5, None, True, "x"]},
}


async def test_every_field_known_or_not_reaches_the_candidate_untouched(endpoint: Any) -> None:
    e = await endpoint()
    for stream in (False, True):
        sent = {**EVERYTHING, "stream": stream, "herdwise": {"candidates": ["large"]}}
        reply = await e.send("POST", "/v1/chat/completions", sent)
        assert reply.status == 200
        got = e.upstreams["large"].bodies[-1]
        assert got.pop("model") == "up-large"
        # Usage is asked for in streams, because the ledger needs it; nothing else is added.
        assert got.pop("stream_options", None) == ({"include_usage": True} if stream else None)
        assert got.pop("stream", False) is stream
        assert got == {k: v for k, v in EVERYTHING.items() if k != "model"}


async def test_unknown_fields_of_the_answer_reach_the_client(endpoint: Any) -> None:
    e = await endpoint()
    upstream = e.upstreams["large"]
    frame = {"id": "x-1", "object": "chat.completion", "created": 5, "model": "up-large-2024-08-06"}
    message = {"role": "assistant", "content": "Hi", "reasoning_content": "Hm.", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": []}}
    answer = {**frame, "choices": [choice], "usage": None, "system_fingerprint": "fp", "extra": {"a": [1.0]}}
    upstream.extra["/v1/chat/completions"] = answer
    reply = await e.chat()
    assert reply.json == {**answer, "model": "large"}


async def test_our_own_headers_and_the_clients_key_stay_here(endpoint: Any) -> None:
    e = await endpoint()
    own = {"x-herdwise-candidates": "large", "Authorization": "Bearer mine", "Cookie": "a=b"}
    await e.chat(headers=own)
    got = e.upstreams["large"].requests[-1].headers
    assert not any(name.startswith("x-herdwise") for name in got)
    assert "authorization" not in got
    assert "cookie" not in got


async def test_a_request_for_several_choices_gets_them(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat(n=3)
    assert len(reply.json["choices"]) == 3
