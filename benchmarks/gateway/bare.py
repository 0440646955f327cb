"""A bare pass-through on the same server and client as ours: what Python does before anything is decided.

python bare.py PORT UPSTREAM_PORT
"""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import msgspec
import uvicorn

_sessions: list[aiohttp.ClientSession] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Parse, rewrite the model, pass on; a stream is given on as its bytes come."""
    if scope["type"] == "lifespan":
        await receive()
        _sessions.append(aiohttp.ClientSession())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await _sessions[0].close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["method"] != "POST":
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    raw, more = b"", True
    while more:
        message = await receive()
        raw, more = raw + message.get("body", b""), message.get("more_body", False)
    body = msgspec.json.decode(raw)
    body["model"] = "bench"
    url = f"http://127.0.0.1:{sys.argv[2]}/v1/chat/completions"
    headers = {"Content-Type": "application/json"}
    async with _sessions[0].post(url, data=msgspec.json.encode(body), headers=headers) as answer:
        kind = answer.headers["Content-Type"].encode()
        start: dict[str, Any] = {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(b"content-type", kind)],
        }
        if not body.get("stream"):
            content = msgspec.json.encode(msgspec.json.decode(await answer.read()))
            start["headers"].append((b"content-length", str(len(content)).encode()))
            await send(start)
            await send({"type": "http.response.body", "body": content})
            return
        await send(start)
        async for piece in answer.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="error", access_log=False
    )
