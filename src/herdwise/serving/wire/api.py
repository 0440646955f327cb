"""The seam between a public API and the one inner form: OpenAI's chat request, answer and chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from herdwise.serving.course import Course
from herdwise.serving.service import Service
from herdwise.serving.wire.errors import WireError
from herdwise.serving.wire.openai_chat import ChatRequest

encode = msgspec.json.Encoder().encode


class Writer(ABC):
    """One reply that is streamed: inner chunks in, bytes of server-sent events out."""

    @abstractmethod
    def chunk(self, body: Mapping[str, Any]) -> bytes:
        """What an inner chunk becomes; may be nothing yet."""

    @abstractmethod
    def end(self, explained: Mapping[str, Any] | None) -> bytes:
        """The last events of an answer that is complete.

        Args:
            explained: the ``herdwise`` object, where it was asked for.
        """

    @abstractmethod
    def error(self, error: WireError) -> bytes:
        """The last event of an answer that breaks off."""


class Api(ABC):
    """One public API. Holds no state of a request."""

    path: ClassVar[str]
    #: Whether its replies are made of token counts that a stream of chat chunks states only on request.
    counts: ClassVar[bool] = True

    @abstractmethod
    def read(
        self, raw: bytes, own: Mapping[str, str], headers: Mapping[bytes, bytes], service: Service
    ) -> ChatRequest:
        """A request, translated to the inner form.

        Args:
            raw: the HTTP body.
            own: the ``x-herdwise-*`` headers, lower case, prefix included.
            headers: all headers.
            service: whose herd, policies and defaults hold.

        Raises:
            RequestError: naming the field at fault.
        """

    @abstractmethod
    def whole(self, answer: dict[str, Any], request: ChatRequest, course: Course) -> Mapping[str, Any]:
        """A whole answer.

        Args:
            answer: a ``chat.completion`` object; ``herdwise`` stands in it where it was asked for.
            request: what it answers.
            course: its course.
        """

    @abstractmethod
    def writer(self, request: ChatRequest, course: Course) -> Writer:
        """Who writes a streamed answer."""

    def error(self, error: WireError) -> Mapping[str, Any]:
        """The body of an error; OpenAI's shape unless the API has one of its own."""
        return error.body


def data_event(body: Mapping[str, Any]) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + encode(body) + b"\n\n"


def named_event(body: Mapping[str, Any]) -> bytes:
    """A server-sent event that is named by its ``type``."""
    return f"event: {body['type']}\ndata: ".encode() + encode(body) + b"\n\n"


def is_json(text: str) -> bool:
    """Whether a text, such as a tool call's arguments so far, is complete JSON."""
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def count(told: Mapping[str, Any], name: str) -> int | None:
    """A token count; None where it is not stated, or is no count."""
    value = told.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def details(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of the usage that holds more counts; empty where it is not stated."""
    value = told.get(name)
    return value if isinstance(value, Mapping) else {}


def chat_usage(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The ``usage`` of an inner answer or chunk, where it states any."""
    usage = body.get("usage")
    return usage if isinstance(usage, Mapping) else None
