"""OpenAI's legacy completions: the prompt is asked as a user message, the answer comes back as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from herdwise.core.errors import RequestError
from herdwise.serving.course import Course
from herdwise.serving.service import Service
from herdwise.serving.wire.api import Api, Writer, data_event
from herdwise.serving.wire.errors import WireError
from herdwise.serving.wire.openai_chat import ChatRequest, chat_request, content_text, json_object


class Completions(Api):
    """POST /v1/completions."""

    path: ClassVar[str] = "/v1/completions"
    counts: ClassVar[bool] = False

    def read(
        self, raw: bytes, own: Mapping[str, str], headers: Mapping[bytes, bytes], service: Service
    ) -> ChatRequest:
        """See ``Api.read``."""
        del headers
        asked = json_object(raw)
        return chat_request(to_chat(asked), own, service, asked=asked)

    def whole(self, answer: dict[str, Any], request: ChatRequest, course: Course) -> Mapping[str, Any]:
        """See ``Api.whole``."""
        del request
        choices = [
            {
                "index": choice.get("index", number),
                "text": content_text((choice.get("message") or {}).get("content")),
                "finish_reason": choice.get("finish_reason"),
                "logprobs": _logprobs(choice.get("logprobs"), 0),
            }
            for number, choice in enumerate(answer.get("choices") or ())
        ]
        return {**_frame(answer, course), "choices": choices, **_extras(answer)}

    def writer(self, request: ChatRequest, course: Course) -> Writer:
        """See ``Api.writer``."""
        del request
        return _Writer(course)


class _Writer(Writer):
    def __init__(self, course: Course) -> None:
        self._course = course
        self._last: Mapping[str, Any] = {}
        #: Characters so far of each choice, by its index: logprobs name the place of each token.
        self._chars: dict[int, int] = {}

    def chunk(self, body: Mapping[str, Any]) -> bytes:
        self._last = body
        choices = []
        for choice in body.get("choices") or ():
            text = content_text((choice.get("delta") or {}).get("content"))
            reason, index = choice.get("finish_reason"), choice.get("index", 0)
            so_far = self._chars.get(index, 0)
            self._chars[index] = so_far + len(text)
            if text or reason is not None:
                logprobs = _logprobs(choice.get("logprobs"), so_far)
                choices.append({"index": index, "text": text, "finish_reason": reason, "logprobs": logprobs})
        if not choices and body.get("usage") is None:
            return b""
        return data_event({**_frame(body, self._course), "choices": choices, **_extras(body)})

    def end(self, explained: Mapping[str, Any] | None) -> bytes:
        last = b""
        if explained is not None:
            frame = _frame(self._last, self._course)
            last = data_event({**frame, "choices": [], "herdwise": explained})
        ask = self._course.returned
        if ask is not None and ask.finish_reason is None:  # the upstream ended well, but did not say why
            choices = [
                {"index": index, "text": "", "finish_reason": "stop", "logprobs": None}
                for index in self._chars or (0,)
            ]
            last = data_event({**_frame(self._last, self._course), "choices": choices}) + last
        return last + b"data: [DONE]\n\n"

    def error(self, error: WireError) -> bytes:
        return data_event(error.body)


def to_chat(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request that asks for the same; fields that both APIs have are passed on untouched.

    Raises:
        RequestError: for what a chat model cannot do: several prompts at once, token ids, a suffix, an echo.
    """
    prompt = asked.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise RequestError(
            "prompt must be one text.",
            param="prompt",
            code="invalid_value",
            remedy="Send several prompts in a request each, and texts instead of token ids.",
        )
    body = {k: v for k, v in asked.items() if k not in {"prompt", "suffix", "echo", "best_of", "logprobs"}}
    for name in ("suffix", "echo"):
        if asked.get(name):
            raise RequestError(
                f"{name} is not possible here: chat models answer the prompt.",
                param=name,
                code="unsupported_value",
            )
    if asked.get("best_of") not in (None, asked.get("n") or 1):
        raise RequestError("best_of must equal n.", param="best_of", code="unsupported_value")
    logprobs = asked.get("logprobs")
    if logprobs is not None:
        if not isinstance(logprobs, int) or isinstance(logprobs, bool) or not 0 <= logprobs <= 20:
            raise RequestError(
                "logprobs must be a whole number from 0 to 20.", param="logprobs", code="invalid_value"
            )
        body["logprobs"] = True
        if logprobs:
            body["top_logprobs"] = logprobs
    body["messages"] = [{"role": "user", "content": prompt}]
    return body


def _frame(answer: Mapping[str, Any], course: Course) -> dict[str, Any]:
    return {
        "id": f"cmpl-{course.id}",
        "object": "text_completion",
        "created": answer.get("created", int(course.created_at)),
        "model": answer.get("model"),
    }


def _extras(answer: Mapping[str, Any]) -> dict[str, Any]:
    names = ("usage", "system_fingerprint", "service_tier", "herdwise")
    return {name: answer[name] for name in names if answer.get(name) is not None}


def _logprobs(told: Any, offset: int) -> dict[str, Any] | None:
    """Chat's logprobs in the older shape: a list per property; places count characters from ``offset``."""
    tokens = told.get("content") if isinstance(told, Mapping) else None
    if not tokens:
        return None
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token["token"])
    tops = [{top["token"]: top["logprob"] for top in token.get("top_logprobs") or ()} for token in tokens]
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": tops if any(tops) else None,
        "text_offset": offsets,
    }
