"""Anthropic's Messages API in front of any candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from herdwise.core.native import Native
from herdwise.serving.course import Course
from herdwise.serving.service import Service
from herdwise.serving.wire.anthropic_reply import content, error_body, frame, stop_reason, usage
from herdwise.serving.wire.anthropic_request import to_chat
from herdwise.serving.wire.anthropic_stream import MessageWriter
from herdwise.serving.wire.api import Api, Writer, chat_usage
from herdwise.serving.wire.errors import WireError
from herdwise.serving.wire.openai_chat import ChatRequest, chat_request, json_object

#: Headers that belong to a request as much as its body does.
_HEADERS = (b"anthropic-beta", b"anthropic-version")


class Messages(Api):
    """POST /v1/messages."""

    path: ClassVar[str] = "/v1/messages"

    def read(
        self, raw: bytes, own: Mapping[str, str], headers: Mapping[bytes, bytes], service: Service
    ) -> ChatRequest:
        """See ``Api.read``."""
        return _read(raw, own, headers, service)

    def whole(self, answer: dict[str, Any], request: ChatRequest, course: Course) -> Mapping[str, Any]:
        """See ``Api.whole``; of several choices the first is taken, as this API knows only one."""
        choice: Mapping[str, Any] = (answer.get("choices") or ({},))[0]
        message = choice.get("message") or {}
        blocks = content(message)
        calls = any(block["type"] == "tool_use" for block in blocks)
        reason, sequence = stop_reason(choice, request, calls=calls)
        more = {"herdwise": answer["herdwise"]} if "herdwise" in answer else {}
        return {
            **frame(course.id, answer.get("model")),
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": usage(chat_usage(answer)),
            **more,
        }

    def writer(self, request: ChatRequest, course: Course) -> Writer:
        """See ``Api.writer``."""
        return MessageWriter(request, course.id)

    def error(self, error: WireError) -> Mapping[str, Any]:
        """See ``Api.error``: Anthropic's shape, with OpenAI's fields beside its own."""
        return error_body(error)


def read_count(raw: bytes, own: Mapping[str, str], service: Service) -> dict[str, int]:
    """The answer to POST /v1/messages/count_tokens: the estimate that routing goes by.

    Raises:
        RequestError: as for a message.
    """
    request = _read(raw, own, {}, service)
    return {"input_tokens": math.ceil(request.query.input_tokens)}


def _read(
    raw: bytes, own: Mapping[str, str], headers: Mapping[bytes, bytes], service: Service
) -> ChatRequest:
    asked = json_object(raw)
    chat = to_chat(asked)
    kept = {name.decode(): headers[name].decode("latin-1") for name in _HEADERS if name in headers}
    native = Native(
        "anthropic",
        {key: value for key, value in asked.items() if key != "herdwise"},
        {key: value for key, value in chat.items() if key != "herdwise"},
        kept,
    )
    return chat_request(chat, own, service, asked=asked, native=native)
