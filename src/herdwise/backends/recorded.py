"""Answers with what a candidate wrote when it was recorded; invents nothing."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from herdwise.backends.base import Backend, Health
from herdwise.backends.chat_shape import content_text, read_chunk, read_completion
from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import ConfigError, NoRecordError, OutcomeError
from herdwise.storage.recorded_texts import read_recorded_texts
from herdwise.storage.shipped import outcome_folder

#: A word with the white space before it, the last one with what follows too: joined, they are the text.
_WORD = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")

_reading = threading.Lock()


@dataclass(frozen=True)
class Archive:
    """The recorded texts of one outcome folder.

    Args:
        name: of the folder, for messages.
        ids: normalised question -> ids of the queries that ask it.
        questions: query id -> the question as it was recorded.
        texts: (query id, candidate) -> the full answer.
    """

    name: str
    ids: Mapping[str, tuple[str, ...]]
    questions: Mapping[str, str]
    texts: Mapping[tuple[str, str], str]

    def find(self, question: str, candidate: str) -> tuple[str, str] | None:
        """Query id and text of a candidate's answer; None where there is no record."""
        for query_id in self.ids.get(normalise(question), ()):
            text = self.texts.get((query_id, candidate))
            if text is not None:
                return query_id, text
        return None

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names with at least one text, sorted."""
        return tuple(sorted({candidate for _, candidate in self.texts}))


def normalise(question: str) -> str:
    """Runs of white space become one space, and none is left at the ends.

    >>> normalise("  Which\\n one? ")
    'Which one?'
    """
    return " ".join(question.split())


def read_archive(outcomes: str | os.PathLike[str] = "mmlu_pro") -> Archive:
    """The recorded texts of a folder; read once, however many candidates share it.

    Raises:
        OutcomeError: when the folder is malformed or holds no texts.
    """
    with _reading:  # the first requests to several candidates come together
        return _read(str(outcome_folder(outcomes).resolve()))


@functools.lru_cache(maxsize=4)
def _read(folder: str) -> Archive:
    recorded = read_recorded_texts(folder)
    ids: dict[str, tuple[str, ...]] = {}
    for query_id, question in recorded.questions.items():
        key = normalise(question)
        ids[key] = (*ids.get(key, ()), query_id)
    texts = {(query_id, candidate): text for query_id, candidate, text in recorded.texts}
    return Archive(os.path.basename(folder), ids, recorded.questions, texts)


def sample_questions(
    n: int, outcomes: str | os.PathLike[str] = "mmlu_pro", *, max_chars: int | None = None
) -> list[str]:
    """Up to ``n`` questions that every recorded candidate of the folder has answered, the shortest first.

    Args:
        n: how many.
        outcomes: the folder.
        max_chars: only questions up to this length.
    """
    archive = read_archive(outcomes)
    whole = [
        question
        for query_id, question in archive.questions.items()
        if all((query_id, name) in archive.texts for name in archive.candidates)
        and (max_chars is None or len(question) <= max_chars)
    ]
    return sorted(whole, key=lambda q: (len(q), q))[:n]


class Recorded(Backend):
    """A candidate that answers recorded questions with its recorded texts.

    The last user message must be a recorded question, word for word; only white space may differ. An
    earlier part of the conversation, a system prompt and sampling settings are not looked at: the record
    was made without them. No token was counted when the answers were recorded, so ``usage`` is left
    out rather than estimated; nor was a finish reason, and "stop" says only that the record ends there.

    Args:
        candidate: name in the herd.
        outcomes: an outcome folder with texts.parquet, or the name of a shipped one.
        model: the name in the record; None = the candidate's.
        latency_s: waited before an answer, and spread over a stream.

    Raises:
        ConfigError: when the latency is negative.
        OutcomeError: when there is no such folder.
    """

    name: ClassVar[str] = "recorded"

    def __init__(
        self,
        candidate: str,
        outcomes: str | os.PathLike[str] = "mmlu_pro",
        model: str | None = None,
        *,
        latency_s: float = 0.0,
    ) -> None:
        if not 0 <= latency_s < float("inf"):
            raise ConfigError(f"candidate {candidate!r}: latency_s must be 0 or more.")
        self.candidate, self.model = candidate, model or candidate
        self._folder, self._latency_s = outcome_folder(outcomes), latency_s
        self._archive: Archive | None = None

    def __repr__(self) -> str:
        return f"Recorded({self.candidate!r}, {str(self._folder)!r}, {self.model!r})"

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """See ``Backend.complete``.

        Raises:
            NoRecordError: when this candidate never answered this question.
        """
        started = time.perf_counter()
        query_id, text = await self._answer(body)
        await asyncio.sleep(self._latency_s)
        message = {"role": "assistant", "content": text}
        answer = {
            **self._frame(query_id, "chat.completion"),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }
        return read_completion(answer, self.candidate, latency_s=time.perf_counter() - started)

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See ``Backend.stream``: a chunk per word.

        Raises:
            NoRecordError: when this candidate never answered this question.
        """
        query_id, text = await self._answer(body)
        words = _WORD.findall(text)
        frame = self._frame(query_id, "chat.completion.chunk")
        deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in words]
        for delta in deltas:
            await asyncio.sleep(self._latency_s / len(deltas))
            yield self._chunk(frame, delta, None)
        yield self._chunk(frame, {}, "stop")

    async def probe(self) -> Health:
        """See ``Backend.probe``: does the record hold texts of this candidate?"""
        try:
            archive = await asyncio.to_thread(read_archive, self._folder)
        except OutcomeError as error:
            return Health(False, str(error))
        count = sum(name == self.model for _, name in archive.texts)
        if not count:
            return Health(False, f"{archive.name} holds no text of {self.model!r}", archive.candidates)
        return Health(True, f"{count} recorded answers in {archive.name}", archive.candidates)

    async def _answer(self, body: Mapping[str, Any]) -> tuple[str, str]:
        if self._archive is None:
            # The first request reads the files; the event loop goes on meanwhile.
            self._archive = await asyncio.to_thread(read_archive, self._folder)
        archive = self._archive
        question = _last_user_text(body)
        found = archive.find(question, self.model)
        if found is not None:
            return found
        known = [archive.questions[q] for q, name in archive.texts if name == self.model]
        if not known:
            raise NoRecordError(
                f"candidate {self.candidate!r}: {archive.name} holds no text of {self.model!r}.",
                candidate=self.candidate,
                remedy=f"Recorded: {', '.join(archive.candidates)}.",
            )
        example = normalise(min(known, key=len))
        raise NoRecordError(
            f"candidate {self.candidate!r} has no recorded answer to {_cut(question, 80)!r}.",
            candidate=self.candidate,
            remedy=f"It answers only recorded questions, word for word, such as: {example!r}",
        )

    def _frame(self, query_id: str, kind: str) -> dict[str, Any]:
        created = int(time.time())
        return {
            "id": f"chatcmpl-recorded-{query_id}",
            "object": kind,
            "created": created,
            "model": self.model,
        }

    def _chunk(self, frame: Mapping[str, Any], delta: Mapping[str, str], reason: str | None) -> Chunk:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return read_chunk({**frame, "choices": [choice]}, self.candidate)


def _last_user_text(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, (list, tuple)) else ()):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return content_text(message.get("content"))
    return ""


def _cut(text: str, length: int) -> str:
    text = normalise(text)
    return text if len(text) <= length else text[: length - 3] + "..."
