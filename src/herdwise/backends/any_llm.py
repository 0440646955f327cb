"""Any provider that the library any-llm reaches (Gemini, Bedrock ...); needs the extra ``providers``.

The library and each provider's own SDK do the calls: they keep their own connections, and what they do not
pass on (unknown fields, some of OpenAI's) is theirs to say.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, ClassVar, cast

from herdwise.backends.base import Backend, Health
from herdwise.backends.chat_shape import read_chunk, read_completion
from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import (
    BackendError,
    BadResponseError,
    ConfigError,
    ConnectError,
    MissingExtraError,
    RateLimitError,
    TimeoutError_,
    UnsupportedError,
    UpstreamStatusError,
)
from herdwise.core.native import NATIVE
from herdwise.transport.client import Timeouts
from herdwise.transport.limits import ConcurrencyLimit

#: Errors of the library that state no status, and the one that fits.
_STATUSES = {
    "AuthenticationError": 401,
    "InsufficientFundsError": 402,
    "ModelNotFoundError": 404,
    "InvalidRequestError": 400,
    "ContextLengthExceededError": 400,
    "ContentFilterError": 400,
}
_LONGEST_MESSAGE = 500
_PROBE_S = 10.0


class AnyLLMProvider(Backend):
    """One model of one provider.

    Args:
        candidate: name in the herd, used in errors.
        provider: the library's name for the provider, such as "gemini".
        model: the provider's name for the model; None = the candidate's.
        api_key: never shown; None = where the library looks for it by itself.
        base_url: None = the provider's own.
        timeouts: ``first_byte_s`` and ``idle_s`` hold for streams, ``total_s`` for all; None = no limit
            but the library's.
        max_concurrency: asks at a time; None = no limit.
        max_queue: how many more may wait; None = no limit.

    Raises:
        MissingExtraError: when any-llm is not installed.
        ConfigError: when it does not know the provider, lacks that provider's SDK, or finds no key.
    """

    name: ClassVar[str] = "any_llm"

    def __init__(
        self,
        candidate: str,
        provider: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        max_concurrency: int | None = None,
        max_queue: int | None = None,
    ) -> None:
        self.candidate, self.model, self._provider = candidate, model or candidate, provider
        self._timeouts = timeouts or Timeouts(None, None, None, None)
        self._limit = ConcurrencyLimit(candidate, max_concurrency=max_concurrency, max_queue=max_queue)
        self._secret = api_key or ""
        try:
            self._errors: Any = importlib.import_module("any_llm.exceptions")
            library: Any = importlib.import_module("any_llm")
        except ImportError:
            raise MissingExtraError(f"candidate {candidate!r} (backend any_llm)", extra="providers") from None
        options = {"api_key": api_key, "api_base": base_url, "unified_exceptions": True}
        try:
            try:
                # Retrying is the policy's business.
                self._llm: Any = library.AnyLLM.create(provider, max_retries=0, **options)
            except self._errors.UnsupportedParameterError:  # this provider's SDK has no such setting
                self._llm = library.AnyLLM.create(provider, **options)
        except ImportError as error:
            remedy = f"pip install 'any-llm-sdk[{provider}]'"
            raise ConfigError(f"candidate {candidate!r}: {_first_line(error)}", remedy=remedy) from None
        except self._errors.AnyLLMError as error:
            raise ConfigError(f"candidate {candidate!r}: {_first_line(error)}") from None

        self._known = frozenset(inspect.signature(self._llm.acompletion).parameters) - {"kwargs"}
        self._openai_like = any(c.__name__ == "BaseOpenAIProvider" for c in type(self._llm).__mro__)

    def __repr__(self) -> str:
        return f"AnyLLMProvider({self.candidate!r}, {self._provider!r}, {self.model!r})"

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """See ``Backend.complete``."""
        sent = {k: v for k, v in body.items() if k not in {"stream", "stream_options"}}
        async with self._limit:
            started = time.perf_counter()
            answer = await self._within(self._timeouts.total_s, self._llm.acompletion(**self._asked(sent)))
            latency_s = time.perf_counter() - started
        return read_completion(_plain(answer), self.candidate, latency_s=latency_s)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See ``Backend.stream``. Ends well only after a finish reason."""
        options = {"include_usage": True, **(body.get("stream_options") or {})}
        asked = self._asked({**body, "stream": True, "stream_options": options})
        times = self._timeouts
        began = ended = False
        deadline = None if times.total_s is None else time.monotonic() + times.total_s
        async with self._limit:
            opened = await self._within(times.first_byte_s, self._llm.acompletion(**asked))
            chunks = cast("AsyncIterator[Any]", aiter(opened))
            try:
                while True:
                    limit_s = times.idle_s if began else times.first_byte_s
                    if deadline is not None:
                        left_s = deadline - time.monotonic()
                        limit_s = left_s if limit_s is None else min(limit_s, left_s)
                    try:
                        told = await self._within(limit_s, anext(chunks))
                    except StopAsyncIteration:
                        break
                    began = True
                    chunk = read_chunk(_plain(told), self.candidate)
                    ended = ended or chunk.finish_reason is not None
                    yield chunk
            finally:
                await _close(opened, "aclose")
        if not ended:
            raise BadResponseError(
                f"candidate {self.candidate!r}: the stream ended before the answer did.",
                candidate=self.candidate,
            )

    async def probe(self) -> Health:
        """See ``Backend.probe``: asks for the list of models, where the provider has one."""
        if not self._llm.SUPPORTS_LIST_MODELS:
            return Health(True, f"{self._provider} does not list its models; it was not asked")
        try:
            listed = await self._within(_PROBE_S, self._llm.alist_models())
        except BackendError as error:
            return Health(False, str(error))
        models = tuple(str(entry.id) for entry in listed)
        known = self.model in models
        return Health(
            True,
            f"serves {self.model!r}" if known else f"lists {len(models)} models, but not {self.model!r}",
            models,
        )

    async def close(self) -> None:
        """Close the connections of the provider's SDK, where it has a client of its own."""
        await _close(getattr(self._llm, "client", None), "close")

    def _asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The call's arguments. Fields that the library does not know are passed on where it can."""
        known = {k: v for k, v in body.items() if k in self._known}
        others = {k: v for k, v in body.items() if k not in self._known and k != NATIVE}
        if others and self._openai_like:
            others = {"extra_body": others}
        return {**known, **others, "model": self.model}

    async def _within(self, limit_s: float | None, call: Any) -> Any:
        """The call's result, its errors as those of the one tree."""
        try:
            async with asyncio.timeout(limit_s) as timeout:
                return await call
        except TimeoutError:
            if not timeout.expired():
                raise self._timed_out("it timed out") from None
            raise self._timed_out(f"nothing came within {limit_s:g} s") from None
        except self._errors.UnsupportedParameterError as error:
            raise UnsupportedError(_first_line(error), candidate=self.candidate) from None
        except self._errors.AnyLLMError as error:
            raise self._translated(error) from None

    def _timed_out(self, what: str) -> TimeoutError_:
        return TimeoutError_(f"candidate {self.candidate!r}: {what}.", candidate=self.candidate)

    def _translated(self, error: Any) -> BackendError:
        kind = type(error).__name__
        status = error.status_code or _STATUSES.get(kind)
        said = _first_line(error)
        said = said.replace(self._secret, "[redacted]") if self._secret else said
        told = f"candidate {self.candidate!r}: {said}"
        if kind == "RateLimitError" or status in {429, 529}:
            after = getattr(error, "retry_after", None)
            plain = str(after).isascii() and str(after).replace(".", "", 1).isdigit()
            after_s = float(after) if after is not None and plain else None
            return RateLimitError(told, candidate=self.candidate, status=status or 429, retry_after_s=after_s)
        if kind == "GatewayTimeoutError":
            return self._timed_out(said)
        cause = type(error.original_exception).__name__
        if status is None and ("Connect" in cause or "Timeout" in cause):
            fault = self._timed_out(said) if "Timeout" in cause else None
            return fault or ConnectError(told, candidate=self.candidate)
        return UpstreamStatusError(told, candidate=self.candidate, status=status)


async def _close(what: Any, method: str) -> None:
    closing = getattr(what, method, None)
    if closing is not None:
        ended = closing()
        if inspect.isawaitable(ended):
            await ended


def _plain(answer: Any) -> dict[str, Any]:
    """The library's object as OpenAI's: its ``reasoning`` is ``reasoning_content`` elsewhere."""
    told: dict[str, Any] = answer.model_dump(mode="json", exclude_none=True)
    for choice in told.get("choices", ()):
        part = choice.get("message") or choice.get("delta") or {}
        reasoning = part.pop("reasoning", None)
        if isinstance(reasoning, Mapping):
            reasoning = reasoning.get("content")
        if reasoning:
            part["reasoning_content"] = reasoning
        choice.setdefault("finish_reason", None)
    return told


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:_LONGEST_MESSAGE]
