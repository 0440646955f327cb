"""The backend seam: one object per candidate, which turns a chat request into a completion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import BadResponseError, UnsupportedError
from herdwise.core.registry import Registry


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe of the upstream found.

    Args:
        reachable: whether it answered at all.
        detail: for people: the error, or what it serves.
        models: names that it lists, None when it has no list.
    """

    reachable: bool
    detail: str = ""
    models: tuple[str, ...] | None = None


@contextmanager
def translating(candidate: str) -> Iterator[None]:
    """While a request is translated to another API: fields of the wrong kind are the request's fault.

    A backend that passes requests on leaves their refusal to its upstream; one that reads them cannot.

    Raises:
        UnsupportedError: in place of the errors that such fields cause.
    """
    try:
        yield
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise UnsupportedError("a request with fields of the wrong kind", candidate=candidate) from error


@contextmanager
def reading(candidate: str) -> Iterator[None]:
    """While an answer of another API is translated: fields of the wrong kind are its server's fault.

    Raises:
        BadResponseError: in place of the errors that such fields cause.
    """
    try:
        yield
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise BadResponseError(
            f"candidate {candidate!r} sent an answer with fields of the wrong kind.", candidate=candidate
        ) from error


class Backend(ABC):
    """Reaches one candidate. Made once, used by many requests at the same time.

    ``body`` is an OpenAI chat-completions request as the client sent it, unknown fields included; a
    backend sets ``model`` to the upstream's own name and passes the rest on, save what stands under
    ``herdwise`` (see ``core.native``), which is for backends of that API alone. Errors are raised as
    ``herdwise.core.errors.BackendError``, and never retried here: the policy decides what follows.
    """

    name: ClassVar[str]

    @abstractmethod
    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """One whole answer.

        Raises:
            BackendError: when this candidate cannot answer.
        """

    @abstractmethod
    def stream(self, body: Mapping[str, Any]) -> AsyncIterator[Chunk]:
        """The answer in pieces; closing the iterator closes the upstream call.

        Raises:
            BackendError: before the first chunk, or in the midst of the stream.
        """

    async def stream_together(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[Chunk], None]:
        """As ``stream``, but chunks that arrived together come together, so that they are passed on as one.

        A backend that reads several at a time says so here; of others each comes alone.
        """
        async with aclosing(cast("AsyncGenerator[Chunk, None]", self.stream(body))) as chunks:
            async for chunk in chunks:
                yield (chunk,)

    async def embed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Vectors of texts: a request and an answer of OpenAI's embeddings API.

        Raises:
            UnsupportedError: from a backend that cannot embed, the default.
            BackendError: when this candidate cannot answer.
        """
        raise UnsupportedError("embeddings", candidate=str(body.get("model", self.name)))

    @abstractmethod
    async def probe(self) -> Health:
        """Is it reachable, and does it know its model? Costs no tokens."""

    async def close(self) -> None:
        """Give back connections."""
        return


BACKENDS: Registry[Backend] = Registry("backend", "herdwise.backends")
