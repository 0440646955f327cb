"""One choice of an answer as it is said: pieces of text with their tokens, cut at a stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from herdwise.backends.nano.model import NanoModel
from herdwise.backends.nano.request import NanoRequest
from herdwise.backends.nano.sampling import Token
from herdwise.backends.nano.tokens import END, ByteTokens, TextStream


@dataclass(slots=True)
class Piece:
    """What can be told at once.

    Args:
        text: whole characters, of which no stop can begin any more.
        logprobs: OpenAI's entries of the tokens said since the last piece, where they were asked for.
        finish_reason: "stop" or "length" in the last piece, else None.
        n_tokens: said so far, the end mark not counted.
    """

    text: str
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None
    n_tokens: int = 0


def speak(model: NanoModel, request: NanoRequest, prompt: list[int], choice: int) -> Iterator[Piece]:
    """One choice, piece by piece; the last has the finish reason.

    Args:
        model: who speaks.
        request: as read.
        prompt: question and what is begun of the answer, in tokens.
        choice: its number; each draws with a seed of its own.

    Raises:
        InputError: when the context has no room.
    """
    room = model.room(prompt)
    said = model.generate(
        prompt,
        room if request.max_tokens is None else min(room, request.max_tokens),
        temperature=request.temperature,
        top_p=request.top_p,
        seed=None if request.seed is None else (request.seed + choice) % 2**64,
        n_top=request.n_top or 0,
    )
    stream, held, n_tokens = TextStream(model.tokens), _Held(request.stops), 0
    entries: list[dict[str, Any]] = []
    reason = "length"
    for token in said:
        if token.token == END:
            reason = "stop"
            break
        n_tokens += 1
        if request.n_top is not None:
            entries.append(_entry(model.tokens, token))
        text = held.feed(stream.feed(token.token))
        if held.stopped:
            yield Piece(text, entries, "stop", n_tokens)
            return
        if text or entries:
            yield Piece(text, entries, None, n_tokens)
            entries = []
    text = held.feed(stream.end())
    yield Piece(text + held.rest(), entries, "stop" if held.stopped else reason, n_tokens)


class _Held:
    """Keeps back what may be the beginning of a stop."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops, self._text = stops, ""
        self.stopped = False

    def feed(self, text: str) -> str:
        if not self._stops:
            return text
        self._text += text
        found = [at for stop in self._stops if (at := self._text.find(stop)) >= 0]
        if found:
            self.stopped = True
            told, self._text = self._text[: min(found)], ""
            return told
        most = min(len(self._text), max(map(len, self._stops)) - 1)
        held = next((n for n in range(most, 0, -1) if self._may_begin(self._text[-n:])), 0)
        cut = len(self._text) - held
        told, self._text = self._text[:cut], self._text[cut:]
        return told

    def rest(self) -> str:
        told, self._text = self._text, ""
        return told

    def _may_begin(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stops)


def _entry(tokens: ByteTokens, token: Token) -> dict[str, Any]:
    entry = _one(tokens, token.token, token.logprob)
    entry["top_logprobs"] = [_one(tokens, *alternative) for alternative in token.top]
    return entry


def _one(tokens: ByteTokens, token: int, logprob: float) -> dict[str, Any]:
    data = tokens.bytes_of((token,))
    return {"token": data.decode("utf-8", errors="replace"), "logprob": logprob, "bytes": list(data)}
