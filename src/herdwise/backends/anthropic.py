"""Anthropic's own Messages API, and whoever else speaks it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from herdwise.backends.anthropic_reply import MessageStream, to_completion
from herdwise.backends.anthropic_request import Reasoning, to_messages
from herdwise.backends.base import Health, reading, translating
from herdwise.backends.chat_shape import read_chunk, read_completion
from herdwise.backends.http import HttpBackend
from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import BadResponseError, ConfigError
from herdwise.core.native import native_of
from herdwise.transport.client import HttpClient, Timeouts
from herdwise.transport.content import json_object
from herdwise.transport.failures import from_error_object

_VERSION = "2023-06-01"


class Anthropic(HttpBackend):
    """One model behind Anthropic's Messages API.

    A request that came by the same API is sent on as it came, but for ``model``, ``stream`` and thoughts
    without a signature (they are other candidates'). A chat request is translated: system messages go to
    the front; ``seed``, penalties and the like are left out; ``cache_control`` on parts and tools stays.

    Args:
        candidate, model, headers, timeouts, client, max_concurrency, max_queue: see ``HttpBackend``.
        base_url: up to and including the version.
        api_key: sent as ``x-api-key``; never shown.
        max_tokens: longest answer where a request states none, which this API does not allow.
        reasoning: how ``reasoning_effort`` is said: "effort" (adaptive thinking, today's models), "budget"
            (a budget of tokens, models before them) or "none".

    Raises:
        ConfigError: as ``HttpBackend``; also for another ``reasoning``.
    """

    name: ClassVar[str] = "anthropic"

    def __init__(
        self,
        candidate: str,
        base_url: str = "https://api.anthropic.com/v1",
        model: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        client: HttpClient | None = None,
        max_concurrency: int | None = None,
        max_queue: int | None = None,
        max_tokens: int = 8192,
        reasoning: Reasoning = "effort",
    ) -> None:
        if reasoning not in {"effort", "budget", "none"}:
            raise ConfigError(
                f"candidate {candidate!r}: reasoning {reasoning!r} is not known.",
                remedy="It is effort, budget or none.",
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
        self._headers.setdefault("anthropic-version", _VERSION)
        self._max_tokens, self._reasoning = max_tokens, reasoning

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """See ``Backend.complete``."""
        sent, headers = self._translated(body)
        async with self._limit:
            started = time.perf_counter()
            answer = await self._client.read_json(self._call(self._under("messages"), sent, headers))
            latency_s = time.perf_counter() - started
        if "error" in answer:
            raise from_error_object(answer, self.candidate, self._secrets)
        with reading(self.candidate):
            told = to_completion(answer, self.candidate)
            return read_completion(told, self.candidate, latency_s=latency_s)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See ``Backend.stream``. Ends well only after ``message_stop``, or a stop reason."""
        sent, headers = self._translated(body)
        message, ended = MessageStream(self.candidate), False
        async with self._limit:
            call = self._call(self._under("messages"), {**sent, "stream": True}, headers)
            events = self._client.events(call)
            try:
                async for event in events:
                    content = json_object(event.data, self.candidate)
                    if "error" in (event.event, content.get("type")):
                        raise from_error_object(content, self.candidate, self._secrets)
                    with reading(self.candidate):
                        chunks = [read_chunk(told, self.candidate) for told in message.feed(content)]
                    for chunk in chunks:
                        ended = ended or chunk.finish_reason is not None
                        yield chunk
                    if content.get("type") == "message_stop":
                        return
            finally:
                await events.aclose()
        if not ended:
            raise BadResponseError(
                f"candidate {self.candidate!r}: the stream ended before the answer did.",
                candidate=self.candidate,
            )

    async def probe(self) -> Health:
        """See ``Backend.probe``: asks for the list of models."""
        return await self._listed(self._under("models").update_query(limit="1000"), "data", "id")

    def _key_headers(self, api_key: str) -> dict[str, str]:
        return {"x-api-key": api_key}

    def _translated(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The request, and the headers that belong to it."""
        native = native_of(body, self.name)
        if native is None:
            with translating(self.candidate):
                sent = to_messages(
                    body, self.candidate, max_tokens=self._max_tokens, reasoning=self._reasoning
                )
            return {**sent, "model": self.model}, {}
        sent = {key: value for key, value in native.body.items() if key != "stream"}
        sent["model"], sent["messages"] = self.model, _signed(native.body["messages"])
        sent.setdefault("max_tokens", self._max_tokens)
        headers = dict(native.headers)
        own = self._headers.get("anthropic-beta")
        if own and "anthropic-beta" in headers:
            headers["anthropic-beta"] = f"{own},{headers['anthropic-beta']}"
        return sent, headers


def _signed(messages: list[Any]) -> list[Any]:
    """Without thoughts that no signature vouches for: they are other candidates', and would be refused."""

    def kept(block: Any) -> bool:
        thought = isinstance(block, dict) and block.get("type") == "thinking"
        return not thought or bool(block.get("signature"))

    told = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list) and not all(kept(block) for block in content):
            message = {**message, "content": [block for block in content if kept(block)]}  # noqa: PLW2901
        told.append(message)
    return told
