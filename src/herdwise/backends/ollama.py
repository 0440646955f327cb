"""Ollama's own API, which takes what its OpenAI-compatible one does not: context length, keep-alive."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from herdwise.backends.base import Health, reading, translating
from herdwise.backends.chat_shape import read_chunk, read_completion
from herdwise.backends.http import HttpBackend
from herdwise.backends.ollama_shape import ending, logprobs, new_frame, to_delta, to_ollama, usage
from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import BadResponseError
from herdwise.transport.client import HttpClient, Timeouts
from herdwise.transport.content import json_object
from herdwise.transport.failures import from_error_object


class Ollama(HttpBackend):
    """One model of an Ollama server.

    Args:
        candidate, model, api_key, headers, timeouts, client, max_concurrency, max_queue: see
            ``HttpBackend``.
        base_url: the server's root, without ``/v1``.
        model_options: Ollama's ``options`` for every request that does not state them, such as
            ``{"num_ctx": 8192}``.
        keep_alive: how long the model stays loaded, such as "10m"; None = the server's default.

    Raises:
        ConfigError: as ``HttpBackend``.
    """

    name: ClassVar[str] = "ollama"

    def __init__(
        self,
        candidate: str,
        base_url: str = "http://127.0.0.1:11434",
        model: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        client: HttpClient | None = None,
        max_concurrency: int | None = None,
        max_queue: int | None = None,
        model_options: Mapping[str, Any] | None = None,
        keep_alive: str | float | None = None,
    ) -> None:
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
        self._options, self._keep_alive = dict(model_options or {}), keep_alive

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """See ``Backend.complete``."""
        sent = {**self._translated(body), "stream": False}
        async with self._limit:
            started = time.perf_counter()
            answer = await self._client.read_json(self._call(self._under("api", "chat"), sent))
            latency_s = time.perf_counter() - started
        self._check(answer)
        with reading(self.candidate):
            delta = to_delta(answer, self.candidate, 0)
            calls = [{k: v for k, v in call.items() if k != "index"} for call in delta.pop("tool_calls", ())]
            message = {
                "role": "assistant",
                "content": delta.pop("content", "" if not calls else None),
                **delta,
            }
            if calls:
                message["tool_calls"] = calls
            reason = ending(answer, calls=bool(calls))
            choice = {"index": 0, "message": message, "finish_reason": reason, **logprobs(answer)}
            told = {**new_frame("chat.completion"), "model": self.model, "choices": [choice]}
            told["usage"] = usage(answer)
            return read_completion(told, self.candidate, latency_s=latency_s)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See ``Backend.stream``. Ends well only with ``done``."""
        sent = {**self._translated(body), "stream": True}
        frame = {**new_frame("chat.completion.chunk"), "model": self.model}
        calls, began = 0, False
        async with self._limit:
            lines = self._client.events(self._call(self._under("api", "chat"), sent), lines=True)
            try:
                async for line in lines:
                    answer = json_object(line.data, self.candidate)
                    self._check(answer)
                    with reading(self.candidate):
                        delta = to_delta(answer, self.candidate, calls)
                        calls += len(delta.get("tool_calls", ()))
                        if not began:
                            began, delta = True, {"role": "assistant", "content": "", **delta}
                        reason = ending(answer, calls=calls > 0)
                        choice = {"index": 0, "delta": delta, "finish_reason": reason, **logprobs(answer)}
                        chunk = read_chunk({**frame, "choices": [choice]}, self.candidate)
                    yield chunk
                    if reason is not None:
                        if (counts := usage(answer)) is not None:
                            yield read_chunk({**frame, "choices": [], "usage": counts}, self.candidate)
                        return
            finally:
                await lines.aclose()
        raise BadResponseError(
            f"candidate {self.candidate!r}: the stream ended before the answer did.", candidate=self.candidate
        )

    async def embed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Backend.embed``."""
        sent = {key: body[key] for key in ("input", "dimensions") if key in body}
        async with self._limit:
            call = self._call(self._under("api", "embed"), {**sent, **self._server(), "model": self.model})
            answer = await self._client.read_json(call)
        self._check(answer)
        vectors = answer.get("embeddings")
        if not isinstance(vectors, list):
            raise BadResponseError(
                f"candidate {self.candidate!r} sent no embeddings.", candidate=self.candidate
            )
        count = answer.get("prompt_eval_count")
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)],
            "model": self.model,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }

    async def probe(self) -> Health:
        """See ``Backend.probe``: asks for the list of models."""
        return await self._listed(self._under("api", "tags"), "models", "name")

    def _translated(self, body: Mapping[str, Any]) -> dict[str, Any]:
        with translating(self.candidate):
            sent = to_ollama(body, self.candidate, self._options)
        return {**self._server(), **sent, "model": self.model}

    def _server(self) -> dict[str, Any]:
        return {} if self._keep_alive is None else {"keep_alive": self._keep_alive}

    def _check(self, answer: Mapping[str, Any]) -> None:
        """Errors are plain texts here, also in the midst of a stream.

        Raises:
            UpstreamStatusError: when the answer is one.
        """
        error = answer.get("error")
        if error:
            raise from_error_object({"error": {"message": str(error)}}, self.candidate, self._secrets)
