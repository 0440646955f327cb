"""OpenAI's Responses API in front of any candidate. Stateless: nothing is kept that could be gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from herdwise.serving.course import Course
from herdwise.serving.service import Service
from herdwise.serving.wire.api import Api, Writer
from herdwise.serving.wire.openai_chat import ChatRequest, chat_request, json_object
from herdwise.serving.wire.responses_reply import ResponseWriter
from herdwise.serving.wire.responses_request import to_chat


class Responses(Api):
    """POST /v1/responses."""

    path: ClassVar[str] = "/v1/responses"

    def read(
        self, raw: bytes, own: Mapping[str, str], headers: Mapping[bytes, bytes], service: Service
    ) -> ChatRequest:
        """See ``Api.read``."""
        del headers
        asked = json_object(raw)
        return chat_request(to_chat(asked), own, service, asked=asked)

    def whole(self, answer: dict[str, Any], request: ChatRequest, course: Course) -> Mapping[str, Any]:
        """See ``Api.whole``; of several choices the first is taken, as this API knows only one."""
        writer = ResponseWriter(request, course)
        events: list[bytes] = []
        choice: Mapping[str, Any] = (answer.get("choices") or ({},))[0]
        writer.take(events, choice.get("message") or {}, choice)
        more = {"herdwise": answer["herdwise"]} if "herdwise" in answer else {}
        return {**writer.response(events, answer), **more}

    def writer(self, request: ChatRequest, course: Course) -> Writer:
        """See ``Api.writer``."""
        return ResponseWriter(request, course)
