"""Any server that speaks OpenAI's chat completions: providers, vLLM, llama.cpp, LM Studio, Ollama's /v1."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

import msgspec
from yarl import URL

from herdwise.backends.base import Backend, Health
from herdwise.backends.chat_shape import read_chunk, read_completion
from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import BackendError, BadResponseError, ConfigError, UpstreamStatusError
from herdwise.core.native import NATIVE
from herdwise.transport.client import Call, HttpClient, Timeouts
from herdwise.transport.content import json_object
from herdwise.transport.failures import from_error_object
from herdwise.transport.limits import ConcurrencyLimit

#: Longest wait for a list of models, in seconds: a probe answers "is it there?", not a question.
_PROBE_S = 10.0
#: Not the upstream's: streaming is set here, and ``core.native`` is ours.
_NOT_PASSED = frozenset({"stream", "stream_options", NATIVE})
#: What our own Anthropic backend adds to a message; a client that sends it back may be routed here next.
_FOREIGN = "thinking_blocks"


class OpenAICompatible(Backend):
    """One model behind an OpenAI-compatible API.

    The request passes through untouched save ``model`` (the upstream's own name), ``stream``, and, in a
    stream, ``stream_options.include_usage``: it is asked for unless the client said otherwise, because
    the ledger needs true token counts. The upstream then sends one more chunk whose ``choices`` are empty
    and which carries ``usage``; it is given on like any other, and serving keeps it from clients that did
    not ask for it. ``include_usage=False`` is for upstreams that refuse the option.

    Args:
        candidate: name in the herd, used in errors.
        base_url: up to and including the version, such as ``http://127.0.0.1:11434/v1``; a query, such as
            ``?api-version=...``, is kept on every path.
        model: the upstream's name for the model; None = the candidate's.
        api_key: sent as a bearer token; never shown.
        headers: sent with every request; never shown.
        timeouts: for every call; None = the client's.
        client: shared by all candidates; None = one of its own, closed with the backend.
        max_concurrency: asks at a time; None = no limit.
        max_queue: how many more may wait; None = no limit.
        include_usage: ask for token counts in streams.

    Raises:
        ConfigError: when ``base_url`` is not an http(s) URL, or the key cannot stand in a header.
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
    ) -> None:
        self.candidate, self.model = candidate, model or candidate
        self._base = _checked_url(candidate, base_url)
        self._chat_url = self._under("chat", "completions")
        self._timeouts, self._include_usage = timeouts, include_usage
        self._client, self._owns_client = client or HttpClient(), client is None
        self._limit = ConcurrencyLimit(candidate, max_concurrency=max_concurrency, max_queue=max_queue)
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        for key, value in self._headers.items():
            if any(c in key + value for c in "\r\n\0"):
                raise ConfigError(
                    f"candidate {candidate!r}: the header {key!r} holds a line break.",
                    remedy="Is there a stray line break at the end of its key?",
                )
        hidden = (api_key, *(headers or {}).values(), *self._base.query.values())
        self._secrets = tuple(s for s in hidden if s and len(s) >= 8)

    def __repr__(self) -> str:
        return f"OpenAICompatible({self.candidate!r}, {self.base_url!r}, {self.model!r})"

    @property
    def base_url(self) -> str:
        """Where it is, without its query, in which some providers put a key."""
        return str(self._base.with_query(None))

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """See ``Backend.complete``. ``stream`` and ``stream_options`` are taken out of the request."""
        sent = {k: v for k, v in body.items() if k not in _NOT_PASSED}
        sent["model"], sent["messages"] = self.model, _own_messages(body)
        async with self._limit:
            started = time.perf_counter()
            answer = await self._client.read_json(self._chat(sent))
            latency_s = time.perf_counter() - started
        if "error" in answer and "choices" not in answer:
            raise from_error_object(answer, self.candidate, self._secrets)
        return read_completion(answer, self.candidate, latency_s=latency_s)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See ``Backend.stream``. Ends well only after ``[DONE]`` or a finish reason."""
        sent = {**body, "model": self.model, "messages": _own_messages(body), "stream": True}
        sent.pop(NATIVE, None)
        options = sent.get("stream_options")
        if self._include_usage and (options is None or "include_usage" not in options):
            sent["stream_options"] = {**(options or {}), "include_usage": True}
        ended = False
        async with self._limit:
            events = self._client.events(self._chat(sent), last="[DONE]")
            try:
                async for event in events:
                    if event.data == "[DONE]":
                        return
                    if not event.data.strip():
                        continue
                    content = json_object(event.data, self.candidate)
                    if event.event == "error" or content.get("error"):
                        raise from_error_object(content, self.candidate, self._secrets)
                    chunk = read_chunk(content, self.candidate)
                    ended = ended or chunk.finish_reason is not None
                    yield chunk
            finally:
                await events.aclose()
        if not ended:
            raise BadResponseError(
                f"candidate {self.candidate!r}: the stream ended before the answer did.",
                candidate=self.candidate,
            )

    async def probe(self) -> Health:
        """See ``Backend.probe``: asks for the list of models."""
        limits = self._timeouts or self._client.timeouts
        call = Call(
            "GET",
            self._under("models"),
            self.candidate,
            headers=self._headers,
            timeouts=Timeouts(connect_s=limits.connect_s, total_s=_at_most(limits.total_s, _PROBE_S)),
            secrets=self._secrets,
        )
        try:
            answer = await self._client.read_json(call)
        except UpstreamStatusError as error:
            listless = error.status in {404, 405, 501}
            return Health(listless, "reachable; it does not list its models" if listless else str(error))
        except BackendError as error:
            return Health(False, str(error))
        data = answer.get("data")
        if not isinstance(data, list):
            return Health(True, "reachable; its list of models cannot be read")
        models = tuple(str(entry["id"]) for entry in data if isinstance(entry, dict) and "id" in entry)
        known = self.model in models or f"{self.model}:latest" in models
        return Health(
            True,
            f"serves {self.model!r}" if known else f"lists {len(models)} models, but not {self.model!r}",
            models,
        )

    async def close(self) -> None:
        """Close the connections, unless the client is shared."""
        if self._owns_client:
            await self._client.close()

    def _under(self, *path: str) -> URL:
        return self._base.joinpath(*path).with_query(self._base.query)

    def _chat(self, sent: Mapping[str, Any]) -> Call:
        return Call(
            "POST",
            self._chat_url,
            self.candidate,
            data=msgspec.json.encode(sent),
            headers=self._headers,
            timeouts=self._timeouts,
            secrets=self._secrets,
        )


def _own_messages(body: Mapping[str, Any]) -> Any:
    messages = body.get("messages")
    if not any(_FOREIGN in message for message in messages or ()):
        return messages
    return [{key: value for key, value in message.items() if key != _FOREIGN} for message in messages or ()]


def _checked_url(candidate: str, base_url: str) -> URL:
    try:
        url = URL(base_url)
        usable = url.scheme in {"http", "https"} and bool(url.host)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"candidate {candidate!r}: base_url {base_url!r} is not an http or https URL.",
            remedy="It looks like http://127.0.0.1:11434/v1.",
        )
    if url.user or url.password:
        raise ConfigError(
            f"candidate {candidate!r}: base_url holds a user name or password.",
            remedy="Give it as api_key or headers.",
        )
    return url.with_path(url.path.rstrip("/")).with_query(url.query)


def _at_most(limit_s: float | None, most_s: float) -> float:
    return most_s if limit_s is None else min(limit_s, most_s)
