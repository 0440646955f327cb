"""Nano models in this process: no server, no torch, some milliseconds an answer."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from herdwise.backends.base import Backend, Health
from herdwise.backends.chat_shape import read_chunk, read_completion
from herdwise.backends.nano.model import NanoModel
from herdwise.backends.nano.request import NanoRequest, read_request
from herdwise.backends.nano.speaking import Piece, speak
from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import ArtefactError, ConfigError, InputError, UnreachableError, UnsupportedError
from herdwise.transport.limits import ConcurrencyLimit

#: Where the shipped models are: ``nano/<name>``.
_SHIPPED = Path(__file__).parent.parent / "data"


class Embedded(Backend):
    """A nano model (``backends.nano``) that runs in threads of this process.

    It reads the last user message alone: earlier turns and system messages are ignored, as such a model
    was never taught any. A last message of the assistant's is gone on from. Its tokens are bytes, and without
    a ``temperature`` it takes the likeliest.

    Args:
        candidate: name in the herd.
        model: a shipped model, such as "nano/dates".
        folder: a model folder of one's own, in place of ``model``.
        max_concurrency: answers at a time, each in a thread of its own.
        max_queue: how many more may wait; None = no limit.

    Raises:
        ConfigError: neither or both of ``model`` and ``folder``, or no such name.
    """

    name: ClassVar[str] = "embedded"

    def __init__(
        self,
        candidate: str,
        model: str | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        max_concurrency: int = 2,
        max_queue: int | None = None,
    ) -> None:
        if (model is None) == (folder is None):
            raise ConfigError(
                f"candidate {candidate!r}: the embedded backend needs either `model` or `options: folder`.",
                remedy="`model: nano/<name>` is one that ships with herdwise.",
            )
        self.candidate = candidate
        self.folder = Path(folder) if folder is not None else _shipped(candidate, str(model))
        self.model = model or candidate
        self._limit = ConcurrencyLimit(candidate, max_concurrency=max_concurrency, max_queue=max_queue)
        self._threads = max_concurrency
        self._pool: ThreadPoolExecutor | None = None
        self._nano: NanoModel | None = None
        self._loading = threading.Lock()

    def __repr__(self) -> str:
        return f"Embedded({self.candidate!r}, {self.model!r}, folder={str(self.folder)!r})"

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """See ``Backend.complete``.

        Raises:
            UnsupportedError: for what such a model cannot do, a question beyond its context included.
            UnreachableError: when its folder cannot be loaded.
        """
        request = read_request(body, self.candidate)
        async with self._limit:
            started = time.perf_counter()
            left = threading.Event()
            try:
                n_prompt, choices = await asyncio.get_running_loop().run_in_executor(
                    self._executor(), self._whole, request, left
                )
            finally:
                left.set()
            latency_s = time.perf_counter() - started
        answer = {
            **self._frame("chat.completion"),
            "choices": [_choice(index, pieces, request) for index, pieces in enumerate(choices)],
            "usage": _usage(n_prompt, sum(pieces[-1].n_tokens for pieces in choices)),
        }
        return read_completion(answer, self.candidate, latency_s=latency_s)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See ``Backend.stream``: a chunk per whole character; usage comes last.

        Raises:
            UnsupportedError: for what such a model cannot do, a question beyond its context included.
            UnreachableError: when its folder cannot be loaded.
        """
        request = read_request(body, self.candidate)
        frame = self._frame("chat.completion.chunk")
        async with self._limit:
            left, handed = threading.Event(), _Handover()
            working = asyncio.get_running_loop().run_in_executor(
                self._executor(), self._told, request, left, handed
            )
            # Not the thread's task: what is closed before it began never comes to its end.
            working.add_done_callback(lambda _: handed.end())
            counts = [0] * request.n
            begun: set[int] = set()
            try:
                async for index, piece in handed:
                    if index not in begun:
                        begun.add(index)
                        role = {"index": index, "delta": {"role": "assistant", "content": ""}}
                        yield self._chunk(frame, [{**role, "logprobs": None, "finish_reason": None}])
                    counts[index] = piece.n_tokens
                    delta = {"content": piece.text} if piece.text or not piece.finish_reason else {}
                    told = {"index": index, "delta": delta, "logprobs": _logprobs(piece.logprobs, request)}
                    yield self._chunk(frame, [{**told, "finish_reason": piece.finish_reason}])
                n_prompt = await working
            finally:
                left.set()
                if not working.done():
                    # It looks at `left` between two tokens; the thread is not this request's any longer then.
                    await asyncio.wait((working,))
                if not working.cancelled():
                    working.exception()
            yield self._chunk(frame, [], _usage(n_prompt, sum(counts)))

    async def probe(self) -> Health:
        """See ``Backend.probe``: can the model be loaded?"""
        try:
            nano = await asyncio.get_running_loop().run_in_executor(self._executor(), self._load)
        except UnreachableError as error:
            return Health(False, str(error))
        detail = f"{nano.config.n_params / 1e6:.2f}M parameters, a context of {nano.config.max_context} bytes"
        return Health(True, f"serves {self.model!r}: {detail}", (self.model,))

    async def close(self) -> None:
        """Let go of the threads and the model."""
        pool, self._pool, self._nano = self._pool, None, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=f"nano-{self.candidate}")
        return self._pool

    def _load(self) -> NanoModel:
        """The model, read at first use; a folder that could not be read is tried anew."""
        with self._loading:
            if self._nano is None:
                try:
                    self._nano = NanoModel.load(self.folder)
                except ArtefactError as error:
                    raise UnreachableError(
                        f"candidate {self.candidate!r}: its model cannot be loaded. {error.message}",
                        candidate=self.candidate,
                        remedy=error.remedy,
                    ) from error
            return self._nano

    def _prompt(self, nano: NanoModel, request: NanoRequest) -> list[int]:
        prompt = [*nano.tokens.encode_prompt(request.question), *nano.tokens.encode(request.begun)]
        try:
            nano.room(prompt)
        except InputError as error:
            what = f"{len(prompt)} tokens in a context of {nano.config.max_context}"
            raise UnsupportedError(what, candidate=self.candidate) from error
        return prompt

    def _whole(self, request: NanoRequest, left: threading.Event) -> tuple[int, list[list[Piece]]]:
        """In a thread: tokens of the prompt, and each choice's pieces."""
        nano = self._load()
        prompt = self._prompt(nano, request)
        choices: list[list[Piece]] = []
        for index in range(request.n):
            pieces: list[Piece] = []
            for piece in speak(nano, request, prompt, index):
                pieces.append(piece)
                if left.is_set():
                    break
            choices.append(pieces)
        return len(prompt), choices

    def _told(self, request: NanoRequest, left: threading.Event, handed: _Handover) -> int:
        """In a thread: hand over pieces as they come; tokens of the prompt."""
        nano = self._load()
        prompt = self._prompt(nano, request)
        for index in range(request.n):
            for piece in speak(nano, request, prompt, index):
                if left.is_set():
                    return len(prompt)
                handed.put(index, piece)
        return len(prompt)

    def _frame(self, kind: str) -> dict[str, Any]:
        made = {"id": f"chatcmpl-{uuid.uuid4().hex[:24]}", "object": kind}
        return {**made, "created": int(time.time()), "model": self.model}

    def _chunk(
        self, frame: Mapping[str, Any], choices: list[dict[str, Any]], usage: dict[str, Any] | None = None
    ) -> Chunk:
        told = {**frame, "choices": choices}
        return read_chunk(told if usage is None else {**told, "usage": usage}, self.candidate)


class _Handover:
    """Pieces from a thread to the event loop; the loop is woken once for all that it has not yet taken."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, Piece] | None] = deque()
        self._woken = asyncio.Event()
        self._waking = False

    def put(self, index: int, piece: Piece) -> None:
        self._hand((index, piece))

    def end(self) -> None:
        self._hand(None)

    def _hand(self, what: tuple[int, Piece] | None) -> None:
        self._waiting.append(what)
        if not self._waking:
            self._waking = True
            self._loop.call_soon_threadsafe(self._woken.set)

    async def __aiter__(self) -> AsyncGenerator[tuple[int, Piece], None]:
        while True:
            await self._woken.wait()
            self._woken.clear()
            # Before the queue is looked at: what is put from now on wakes anew.
            self._waking = False
            while self._waiting:
                handed = self._waiting.popleft()
                if handed is None:
                    return
                yield handed


def _shipped(candidate: str, model: str) -> Path:
    kind, _, own = model.partition("/")
    if kind != "nano" or not own or not own.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(
            f"candidate {candidate!r}: {model!r} is no model of the embedded backend.",
            remedy="It is nano/<name>, or a folder under `options: folder`.",
        )
    return _SHIPPED / kind / own


def _choice(index: int, pieces: list[Piece], request: NanoRequest) -> dict[str, Any]:
    entries = [entry for piece in pieces for entry in piece.logprobs]
    return {
        "index": index,
        "message": {"role": "assistant", "content": "".join(piece.text for piece in pieces)},
        "logprobs": _logprobs(entries, request),
        "finish_reason": pieces[-1].finish_reason,
    }


def _logprobs(entries: list[dict[str, Any]], request: NanoRequest) -> dict[str, Any] | None:
    return None if request.n_top is None else {"content": entries, "refusal": None}


def _usage(n_prompt: int, n_said: int) -> dict[str, Any]:
    return {"prompt_tokens": n_prompt, "completion_tokens": n_said, "total_tokens": n_prompt + n_said}
