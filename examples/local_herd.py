"""A real local HTTP herd without any model: three small programs behind an OpenAI-compatible API.

    python examples/local_herd.py --port 18000 --items items.jsonl

serves ``adder`` (knows sums), ``clerk`` (knows capitals) and ``allrounder`` (knows either, six times out
of ten), and writes the questions that a profile can ask them. runs/life_cycle.sh leads a herd's life with it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Greece": "Athens",
    "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen",
    "Poland": "Warsaw", "Hungary": "Budapest", "Austria": "Vienna", "Ireland": "Dublin", "Japan": "Tokyo",
    "China": "Beijing", "India": "Delhi", "Kenya": "Nairobi", "Egypt": "Cairo", "Ghana": "Accra",
    "Peru": "Lima", "Chile": "Santiago", "Cuba": "Havana", "Canada": "Ottawa", "Jordan": "Amman",
    "Nepal": "Kathmandu", "Laos": "Vientiane", "Iran": "Tehran", "Iraq": "Baghdad", "Senegal": "Dakar",
    "Uganda": "Kampala", "Latvia": "Riga", "Estonia": "Tallinn", "Croatia": "Zagreb", "Serbia": "Belgrade",
}  # fmt: skip
PHRASES = ("What is the capital of {}?", "Name the capital city of {}.", "Which city is the seat of {}?")
MODELS = ("adder", "clerk", "allrounder")


def items() -> list[dict[str, str]]:
    """The questions, with their answers."""
    made = [
        {
            "id": f"capital-{i}-{k}",
            "question": phrase.format(country),
            "answer": city,
            "benchmark": "capitals",
        }
        for i, (country, city) in enumerate(CAPITALS.items())
        for k, phrase in enumerate(PHRASES)
    ]
    for i in range(100):
        a, b = 10 + (37 * i) % 89, 10 + (53 * i) % 83
        made.append(
            {
                "id": f"sum-{i}",
                "question": f"How much is {a} + {b}?",
                "answer": str(a + b),
                "benchmark": "sums",
            }
        )
    return made


def answer(model: str, question: str) -> str:
    """What a model says; deterministic."""
    numbers = re.search(r"(\d+) \+ (\d+)", question)
    country = next((c for c in CAPITALS if c in question), None)
    right = (
        str(int(numbers[1]) + int(numbers[2])) if numbers else CAPITALS.get(country or "", "I do not know.")
    )
    if model == "adder":
        return right if numbers else "I only do sums."
    if model == "clerk":
        return right if country else "I only know capitals."
    lucky = hashlib.sha256(question.encode()).digest()[0] < 154
    return right if lucky else "I am not sure."


def create_app() -> Starlette:
    """The upstream."""

    async def models(_: Request) -> Response:
        listed = [{"id": m, "object": "model", "created": 0, "owned_by": "local"} for m in MODELS]
        return JSONResponse({"object": "list", "data": listed})

    async def chat(request: Request) -> Response:
        body: dict[str, Any] = msgspec.json.decode(await request.body())
        model, question = body["model"], str(body["messages"][-1]["content"])
        if model not in MODELS:
            error = {
                "message": f"no model {model}",
                "type": "invalid_request_error",
                "code": "model_not_found",
            }
            return JSONResponse({"error": error}, status_code=404)
        text = answer(model, question)
        usage = {
            "prompt_tokens": len(question) // 4,
            "completion_tokens": max(len(text) // 4, 1),
            "total_tokens": len(question) // 4 + max(len(text) // 4, 1),
        }
        head = {"id": f"chatcmpl-{time.time_ns()}", "created": int(time.time()), "model": model}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})

        async def events() -> Any:
            deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
            deltas += [({"content": piece}, None) for piece in re.findall(r"\S+\s*", text)]
            deltas.append(({}, "stop"))
            for delta, finish in deltas:
                choice = {"index": 0, "delta": delta, "finish_reason": finish}
                chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
                yield b"data: " + msgspec.json.encode(chunk) + b"\n\n"
            if (body.get("stream_options") or {}).get("include_usage"):
                chunk = {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
                yield b"data: " + msgspec.json.encode(chunk) + b"\n\n"
            yield b"data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    return Starlette(
        routes=[Route("/v1/models", models), Route("/v1/chat/completions", chat, methods=["POST"])]
    )


def main() -> None:
    """Write the items, then serve until stopped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=18000)
    parser.add_argument("--items", type=Path, help="write the questions here, as JSON lines")
    options = parser.parse_args()
    if options.items:
        options.items.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in items()))
    uvicorn.run(create_app(), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
