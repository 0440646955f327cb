"""Any server that speaks OpenAI's chat completions: providers, vLLM, llama.cpp, LM Studio, Ollama's /v1."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from herdwise.backends.base import Health
from herdwise.backends.chat_shape import read_chunk, read_completion
from herdwise.backends.http import HttpBackend
from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import BackendError, BadResponseError, ConfigError
from herdwise.core.native import NATIVE
from herdwise.transport.client import HttpClient, Timeouts
from herdwise.transport.content import json_object
from herdwise.transport.failures import from_error_object
from herdwise.transport.sse import Event

#: Not the upstream's: streaming is set here, and ``core.native`` is ours.
_NOT_PASSED = frozenset({"stream", "stream_options", NATIVE})
_LIMITS = ("max_completion_tokens", "max_tokens")
#: What our own Anthropic backend adds to a message; a client that sends it back may be routed here next.
_FOREIGN = "thinking_blocks"


class OpenAICompatible(HttpBackend):
    """One model behind an OpenAI-compatible API.

    The request passes through untouched save ``model`` (the upstream's own name), ``stream``, and, in a
    stream, ``stream_options.include_usage``: it is asked for unless the client said otherwise, because
    the ledger needs true token counts. The upstream then sends one more chunk whose ``choices`` are empty
    and which carries ``usage``; it is given on like any other, and serving keeps it from clients that did
    not ask for it. ``include_usage=False`` is for upstreams that refuse the option.

    Args:
        candidate, model, headers, timeouts, client, max_concurrency, max_queue: see ``HttpBackend``.
        base_url: up to and including the version, such as ``http://127.0.0.1:11434/v1``.
        api_key: sent as a bearer token; never shown.
        include_usage: ask for token counts in streams.
        limit_field: the one name by which the upstream takes the answer's longest length, "max_tokens" or
            "max_completion_tokens"; None = it takes either, and gets it as the client named it.
        leave_out: fields of a request that the upstream refuses, and can do without.

    Raises:
        ConfigError: when ``base_url`` is not an http(s) URL, the key cannot stand in a header, or
            ``limit_field`` is another name.
    """

    name: ClassVar[str] = "openai_compatible"

    def __init__(
        self,
        candidate: str,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        client: HttpClient | None = None,
        max_concurrency: int | None = None,
        max_queue: int | None = None,
        include_usage: bool = True,
        limit_field: str | None = None,
        leave_out: Sequence[str] = (),
    ) -> None:
        if limit_field not in {None, *_LIMITS}:
            raise ConfigError(
                f"candidate {candidate!r}: limit_field {limit_field!r} is not known.",
                remedy=f"It is {' or '.join(_LIMITS)}.",
            )
        super().__init__(
            candidate,
            base_url,
            model,
            api_key=api_key,
            headers=headers,
            timeouts=timeouts,
            client=client,
            max_concurrency=max_concurrency,
            max_queue=max_queue,
        )
        self._chat_url = self._under("chat", "completions")
        self._include_usage, self._limit_field = include_usage, limit_field
        self._leave_out = tuple(leave_out)

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """See ``Backend.complete``. ``stream`` and ``stream_options`` are taken out of the request."""
        sent = {k: v for k, v in body.items() if k not in _NOT_PASSED}
        sent["model"], sent["messages"] = self.model, _own_messages(body)
        self._fit(sent)
        async with self._limit:
            started = time.perf_counter()
            answer = await self._client.read_json(self._call(self._chat_url, sent))
            latency_s = time.perf_counter() - started
        if "error" in answer and "choices" not in answer:
            raise from_error_object(answer, self.candidate, self._secrets)
        return read_completion(answer, self.candidate, latency_s=latency_s)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See ``Backend.stream``. Ends well only after ``[DONE]`` or a finish reason."""
        async with aclosing(self.stream_together(body)) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def stream_together(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[Chunk], None]:
        """See ``Backend.stream_together``. What arrived before a chunk that is none is given on."""
        sent = {**body, "model": self.model, "messages": _own_messages(body), "stream": True}
        sent.pop(NATIVE, None)
        self._fit(sent)
        options = sent.get("stream_options")
        if self._include_usage and (options is None or "include_usage" not in options):
            sent["stream_options"] = {**(options or {}), "include_usage": True}
        ended = False
        async with self._limit:
            call = self._call(self._chat_url, sent)
            async with aclosing(self._client.events_together(call, last="[DONE]")) as batches:
                async for events in batches:
                    if events[0].data == "[DONE]":
                        return
                    chunks, problem = self._read(events)
                    if chunks:
                        ended = ended or any(chunk.finish_reason is not None for chunk in chunks)
                        yield chunks
                    if problem is not None:
                        raise problem
        if not ended:
            raise BadResponseError(
                f"candidate {self.candidate!r}: the stream ended before the answer did.",
                candidate=self.candidate,
            )

    def _read(self, events: Sequence[Event]) -> tuple[list[Chunk], BackendError | None]:
        """The chunks of some events, up to the first that is none; and why it is none."""
        chunks: list[Chunk] = []
        try:
            for event in events:
                if not event.data or event.data.isspace():
                    continue
                content = json_object(event.data, self.candidate)
                if event.event == "error" or content.get("error"):
                    raise from_error_object(content, self.candidate, self._secrets)
                chunks.append(read_chunk(content, self.candidate))
        except BackendError as error:
            return chunks, error
        return chunks, None

    def _fit(self, sent: dict[str, Any]) -> None:
        """What the config says of this upstream's peculiarities."""
        for name in self._leave_out:
            sent.pop(name, None)
        if self._limit_field is not None:
            stated = [limit for name in _LIMITS if (limit := sent.pop(name, None)) is not None]
            if stated:
                sent[self._limit_field] = stated[0]

    async def embed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Backend.embed``."""
        sent = {**body, "model": self.model}
        async with self._limit:
            answer = await self._client.read_json(self._call(self._under("embeddings"), sent))
        if "error" in answer and "data" not in answer:
            raise from_error_object(answer, self.candidate, self._secrets)
        return answer

    async def probe(self) -> Health:
        """See ``Backend.probe``: asks for the list of models."""
        return await self._listed(self._under("models"), "data", "id")


def _own_messages(body: Mapping[str, Any]) -> Any:
    messages = body.get("messages")
    if not any(_FOREIGN in message for message in messages or ()):
        return messages
    return [{key: value for key, value in message.items() if key != _FOREIGN} for message in messages or ()]
