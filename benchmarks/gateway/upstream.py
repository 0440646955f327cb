"""nginx as an upstream that answers at once, and as a plain reverse proxy beside the gateways."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.processes import Running, free_port

#: Text chunks of a streamed answer; the first names the role, the last but one ends it, the last is usage.
N_CHUNKS = 34
_WORDS = "A gateway adds a little time to every answer, and the less of it the better for all of us who wait."

_FRAME = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  default_type application/json;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  tcp_nodelay on;
{rest}
}}
"""
_UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /v1/chat/completions {{ default_type {kind}; {body} }}
    location / {{ return 200 '{{"object":"list","data":[{{"id":"bench","object":"model"}}]}}'; }}
  }}
"""
_PROXY = """
  upstream behind {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
"""


def whole_answer() -> str:
    """A small chat completion, as JSON."""
    message = {"role": "assistant", "content": _WORDS}
    answer = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 24, "total_tokens": 84},
    }
    return json.dumps(answer, separators=(",", ":"))


def streamed_answer() -> str:
    """The same in ``N_CHUNKS`` server-sent chunks, then [DONE]."""
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f" {_WORDS.split()[i % 20]}"} for i in range(N_CHUNKS - 3)]
    chunks = [_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    chunks.append(_chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    chunks.append(_chunk([], {"prompt_tokens": 60, "completion_tokens": 31, "total_tokens": 91}))
    return "".join(f"data: {chunk}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def _chunk(choices: list[dict[str, object]], usage: dict[str, int] | None = None) -> str:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "bench",
        "choices": choices,
    }
    return json.dumps(chunk if usage is None else {**chunk, "usage": usage}, separators=(",", ":"))


def nginx_upstream(folder: Path, *, stream: bool, core: int) -> tuple[Running, int]:
    """An upstream that answers every chat with the same, and its port."""
    body = streamed_answer() if stream else whole_answer()
    kind = "text/event-stream" if stream else "application/json"
    port = free_port()
    name = f"upstream ({'stream' if stream else 'whole'})"
    return _nginx(name, folder, _UPSTREAM.format(port=port, kind=kind, body=_returned(body)), core), port


def _returned(body: str) -> str:
    """nginx's words for a body; one of its texts holds 4,096 characters at most."""
    pieces = [body[i : i + 2000] for i in range(0, len(body), 2000)]
    stated = "".join(f"set $body{i} '{piece}'; " for i, piece in enumerate(pieces))
    return f'{stated}return 200 "{"".join(f"${{body{i}}}" for i in range(len(pieces)))}";'


def nginx_proxy(folder: Path, upstream: int, core: int) -> tuple[Running, int]:
    """nginx in front of an upstream's port, and its own port."""
    port = free_port()
    return _nginx("nginx", folder, _PROXY.format(port=port, upstream=upstream), core), port


def _nginx(name: str, folder: Path, rest: str, core: int) -> Running:
    folder.mkdir(parents=True)
    conf = folder / "nginx.conf"
    conf.write_text(_FRAME.format(folder=folder, rest=rest), encoding="utf-8")
    log = folder / "out.log"
    return Running(name, ["nginx", "-p", str(folder), "-c", str(conf)], core=core, log=log)
