"""Mangled requests: whatever comes, the answer is a good one or a clear refusal, never an error of ours."""

from __future__ import annotations

import copy
import random
from typing import Any

REQUEST: dict[str, Any] = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "7"},
        {"role": "user", "content": "And now? [Flag: small model]"},
    ],
    "stream": False,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "max_tokens": 5,
    "herdwise": {"cost_weight": 1, "prefer": {"cost": 1}, "candidates": ["small", "large"]},
}
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    0.5,
    1e308,
    2**70,
    "",
    "x" * 99,
    "\u0000",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
]


def mangled(rng: random.Random, value: Any) -> Any:
    """One place of it, at any depth, made odd."""
    whole = node = copy.deepcopy(value)
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.7:
            node = node[key]
            continue
        if isinstance(node, dict) and rng.random() < 0.2:
            del node[key]
        else:
            node[key] = copy.deepcopy(rng.choice(ODD))
        return whole


async def test_a_mangled_request_is_answered_or_refused_but_never_an_error_of_ours(endpoint: Any) -> None:
    e = await endpoint(flags_in_prompt=True)
    # The upstream of these tests is not at issue here.
    plain = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]
    }
    for upstream in e.upstreams.values():
        upstream.extra["/v1/chat/completions"] = plain
    rng = random.Random(7)
    seen: set[int] = set()
    for _ in range(400):
        body = mangled(rng, REQUEST)
        reply = await e.send("POST", "/v1/chat/completions", body)
        if body.get("stream") is True and reply.status == 502:
            continue  # the upstream above does not stream
        assert reply.status in {200, 400, 404, 422}, body
        if reply.status != 200:
            assert reply.error["type"] == "invalid_request_error"
        seen.add(reply.status)
    assert {200, 400, 404} <= seen


async def test_mangled_feedback_is_refused(endpoint: Any) -> None:
    e = await endpoint()
    rng = random.Random(7)
    said = {"decision_id": "x", "score": 1, "comment": "fine", "demonstration": "x"}
    for _ in range(100):
        reply = await e.send("POST", "/v1/feedback", mangled(rng, said))
        assert reply.status in {400, 404}
        assert reply.error
