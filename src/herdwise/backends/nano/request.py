"""What a chat request asks of a nano model, which reads one question and writes one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from herdwise.core.errors import UnsupportedError

_MOST_CHOICES = 16
_MOST_STOPS = 4
_MOST_TOP = 20


@dataclass(frozen=True, slots=True)
class NanoRequest:
    """A request, read.

    Args:
        question: the last user message; what came before it is not read.
        begun: what the answer goes on from, a last message of the assistant's; mostly "".
        max_tokens: of an answer; None = as many as the context holds.
        temperature, top_p, seed: see ``Sampler``.
        n: choices.
        stops: texts before which an answer ends.
        n_top: alternatives told per token; None = no logprobs.
    """

    question: str
    begun: str
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    n: int
    stops: tuple[str, ...]
    n_top: int | None


def read_request(body: Mapping[str, Any], candidate: str) -> NanoRequest:
    """Read an OpenAI chat request.

    Without a ``temperature`` the likeliest token is taken: a nano model answers what has one answer.
    Penalties and the like, which only tune, are left out.

    Raises:
        UnsupportedError: for pictures, tools, a schema, several logs of odds than can be told, or fields
            that make no sense.
    """

    def refused(what: str) -> UnsupportedError:
        return UnsupportedError(what, candidate=candidate)

    def number(key: str, default: float, low: float, high: float) -> float:
        value = body.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise refused(f"{key} = {value!r}")
        return value

    def count(key: str, low: int, high: int) -> int | None:
        if body.get(key) is None:
            return None
        value = number(key, low, low, high)
        if not isinstance(value, int):
            raise refused(f"{key} = {value!r}")
        return value

    for key in ("tools", "functions", "audio", "prediction", "logit_bias"):
        if body.get(key):
            raise refused(key)
    shape = body.get("response_format")
    if shape is not None and not (isinstance(shape, Mapping) and shape.get("type") == "text"):
        raise refused("response_format")
    messages = body.get("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise refused("a request without messages")
    last = messages[-1]
    begun = _text(last, candidate) if _role(last) == "assistant" else ""
    asked = next((message for message in reversed(messages) if _role(message) == "user"), None)
    if asked is None:
        raise refused("a request without a user message")
    stops = body.get("stop")
    stops = [] if stops is None else [stops] if isinstance(stops, str) else stops
    if (
        not isinstance(stops, Sequence)
        or len(stops) > _MOST_STOPS
        or not all(isinstance(s, str) and s for s in stops)
    ):
        raise refused("such a stop")
    stated = [limit for key in ("max_completion_tokens", "max_tokens") if (limit := count(key, 1, 2**31))]
    n_top = count("top_logprobs", 0, _MOST_TOP) or 0
    return NanoRequest(
        question=_text(asked, candidate),
        begun=begun,
        max_tokens=stated[0] if stated else None,
        temperature=float(number("temperature", 0.0, 0.0, 2.0)),
        top_p=float(number("top_p", 1.0, 1e-9, 1.0)),
        seed=count("seed", -(2**63), 2**63),
        n=count("n", 1, _MOST_CHOICES) or 1,
        stops=tuple(stops),
        n_top=n_top if body.get("logprobs") else None,
    )


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None


def _text(message: Mapping[str, Any], candidate: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [] if content is None else content
    if not isinstance(parts, Sequence):
        raise UnsupportedError("such content", candidate=candidate)
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            raise UnsupportedError(f"content of the type {kind!r}", candidate=candidate)
        texts.append(text)
    return "".join(texts)
