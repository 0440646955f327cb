"""What makes two requests the same to the cache, and what a request says of the cache itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from herdwise.core.native import NATIVE, Native
from herdwise.serving.admission import Client
from herdwise.serving.threads import tool_loop
from herdwise.serving.wire.openai_chat import ChatRequest

_encode = msgspec.json.Encoder(order="deterministic").encode
#: How the answer is sent, not what it is: one entry serves whole answers and streams.
_MANNER = frozenset({"stream", "stream_options", NATIVE})
#: A conversation's last message, where what is alike may stand for it.
_BLANK = "\0"


@dataclass(frozen=True, slots=True)
class Wish:
    """What one request wants of the cache.

    Args:
        read, store: whether an answer may be taken from it, and kept in it.
        max_age_s: oldest answer that is taken; None = the cache's own limit.
    """

    read: bool = True
    store: bool = True
    max_age_s: float | None = None

    @property
    def told(self) -> str:
        """For the header of an answer that was not looked up."""
        return "refresh" if self.store else "off"


_ALL, _NOTHING = Wish(), Wish(read=False, store=False)


def wished(request: ChatRequest, cache_control: bytes | None, *, only_deterministic: bool) -> Wish:
    """What a request wants of the cache: its ``herdwise.cache`` goal, else its ``cache-control`` header.

    Requests within a tool loop take no part: their answers are steps of a course, not ends.

    Args:
        request: the request.
        cache_control: ``no-cache``, ``no-store`` and ``max-age`` are known.
        only_deterministic: whether requests that leave the answer to chance take no part.
    """
    body = request.body
    if tool_loop(body["messages"]):
        return _NOTHING
    if only_deterministic and body.get("temperature") != 0 and body.get("seed") is None:
        return _NOTHING
    use = request.own_goals.get("cache")
    if use is not None:
        return Wish(read=use in {"use", "read"}, store=use in {"use", "refresh"})
    return _ALL if cache_control is None else _directives(cache_control)


def _directives(header: bytes) -> Wish:
    told = {}
    for part in header.decode("latin-1").lower().split(","):
        name, _, value = part.strip().partition("=")
        told[name] = value.strip('" ')
    age = told.get("max-age", "")
    max_age_s = float(age) if age.isdecimal() else None  # isdigit() is true of a raised 2 as well
    read = "no-cache" not in told and max_age_s != 0
    return Wish(read=read, store="no-store" not in told, max_age_s=max_age_s)


def request_key(request: ChatRequest, client: Client, herd: Sequence[str], *, shared: bool) -> bytes:
    """Names all requests that have the same answer: 16 bytes.

    Everything counts that may change the answer: the whole body but for how it is sent (``user`` too, so
    that an application's users are kept apart where it names them), who is to answer or which policy
    decides and among whom, the goals with the config's, and the client, unless answers are shared.
    """
    body = {name: value for name, value in request.body.items() if name not in _MANNER and name != "model"}
    return _digest(request, client, herd, shared, body, _native(request.body))


def alike_key(
    request: ChatRequest, client: Client, herd: Sequence[str], *, shared: bool
) -> tuple[bytes, str] | None:
    """Names all requests that differ in the last user message alone, and that message.

    None where there is no such message, or it holds more than text.
    """
    messages = _without_last(request.body["messages"])
    if messages is None:
        return None
    body = {name: value for name, value in request.body.items() if name not in _MANNER and name != "model"}
    native = _native(request.body)
    if native is not None:
        asked = native["body"].get("messages")
        blanked = _without_last(asked) if isinstance(asked, list) else None
        if blanked is None:
            return None
        native = {**native, "body": {**native["body"], "messages": blanked[0]}}
    key = _digest(request, client, herd, shared, {**body, "messages": messages[0]}, native)
    return key, messages[1]


def _native(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a backend of the client's own API would be sent in the body's place."""
    found = body.get(NATIVE)
    if not isinstance(found, Native):
        return None
    asked = {name: value for name, value in found.body.items() if name not in {"stream", "model"}}
    return {"api": found.api, "body": asked, "headers": found.headers}


def _digest(
    request: ChatRequest,
    client: Client,
    herd: Sequence[str],
    shared: bool,
    body: Mapping[str, Any],
    native: Mapping[str, Any] | None,
) -> bytes:
    # What a key may not ask, or no longer may, it is not given either.
    terms = None if client.key is None else client.key.terms
    limits = () if terms is None else (terms.candidates, terms.policies)
    whose: list[Any] = [None if one is None else sorted(one) for one in limits]
    whose.append("shared" if shared else client.scope.hex())
    among = herd if request.candidate is None else ()
    counts = [whose, request.candidate, request.policy, among, request.goals, body, native]
    return hashlib.blake2b(_encode(counts), digest_size=16).digest()


def _without_last(messages: list[Any]) -> tuple[list[Any], str] | None:
    last = messages[-1] if messages else None
    if not isinstance(last, Mapping) or last.get("role") != "user":
        return None
    content = last.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
            return None
        texts = [part.get("text") for part in content]
        content = "\n".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str) or not content.strip():
        return None
    return [*messages[:-1], {**last, "content": _BLANK}], content
