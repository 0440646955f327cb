"""Clients: each asks, reads strictly, and keeps what came of it; some go away in the midst."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .herd import whole_text
from .reading import STREAMS, WHOLE, MalformedError, Said, error_of, must

PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
#: Longer than any request may take: whoever waits longer was forgotten.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Question:
    """One request.

    Args:
        number: tells it from all others.
        api: by which it comes.
        stream, counted: whether the answer streams, and with usage.
        tools: whether it brings a tool, which is then called.
        model: policy or candidate.
        key: the name of the key that it shows.
        leaves_s: after how long the client goes away; None = it stays.
    """

    number: int
    api: str
    stream: bool
    counted: bool
    tools: bool
    model: str
    key: str
    leaves_s: float | None

    @property
    def text(self) -> str:
        """What the user says."""
        return f"Question #{self.number}# of the day, please."

    def body(self) -> dict[str, Any]:
        """The request's body."""
        body: dict[str, Any] = {"model": self.model, "stream": self.stream}
        if self.api == "completions":
            body["prompt"] = self.text
        elif self.api == "responses":
            body["input"] = self.text
        else:
            body["messages"] = [{"role": "user", "content": self.text}]
        if self.api == "messages":
            body["max_tokens"] = 1000
        if self.stream and self.counted and self.api in {"chat", "completions"}:
            body["stream_options"] = {"include_usage": True}
        if self.tools:
            function = {"name": "note", "description": "Notes a text."}
            body["tools"] = [
                {"type": "function", "function": {**function, "parameters": PARAMETERS}}
                if self.api == "chat"
                else {**function, "input_schema": PARAMETERS}
                if self.api == "messages"
                else {"type": "function", **function, "parameters": PARAMETERS}
            ]
        return body


@dataclass
class Ended:
    """How one request ended.

    Args:
        question: which.
        how: "answered", "left", "refused" (an error that this question may get), or "failed".
        why: what went wrong.
        decision_id: where it got one.
        said: the answer.
        at: Unix time when the whole reply was there.
    """

    question: Question
    how: str
    why: str = ""
    decision_id: str | None = None
    said: Said | None = None
    at: float = 0.0


@dataclass
class Load:
    """Clients that ask one request after another until they are stopped.

    Args:
        url: the endpoint.
        keys: name -> secret.
    """

    url: str
    keys: Mapping[str, str]
    seed: int
    ended: list[Ended] = field(default_factory=list)
    feedback: list[tuple[str, float]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    stopping: bool = False
    number: int = 0

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    async def run(self, clients: int) -> None:
        """Ask with so many clients at a time until ``stopping``."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._client(session) for _ in range(clients)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self.stopping:
            ended = await self._ask(session, self._question())
            ended.at = time.time()
            self.ended.append(ended)
            self.counts[ended.how] += 1
            if ended.how == "answered" and ended.decision_id and self._draw.random() < 0.1:
                await self._grade(session, ended)

    def _question(self) -> Question:
        draw = self._draw
        self.number += 1
        api = draw.choices(list(PATHS), (5, 1.5, 2, 1.5))[0]
        named = draw.random() < 0.05
        policies = ("auto", "auto/hedge", "auto/cascade", "auto/vote")
        return Question(
            number=self.number,
            api=api,
            stream=draw.random() < 0.6,
            counted=draw.random() < 0.5,
            tools=api != "completions" and draw.random() < 0.25,
            model=draw.choice(("alpha", "beta", "gamma", "delta"))
            if named
            else draw.choices(policies, (6, 1.5, 1, 1))[0],
            key=draw.choices(list(self.keys), (3, 5, 1, 1))[0],
            leaves_s=draw.uniform(0.0, 0.6) if draw.random() < 0.06 else None,
        )

    async def _ask(self, session: aiohttp.ClientSession, question: Question) -> Ended:
        leaving = question.leaves_s
        try:
            async with asyncio.timeout(PATIENCE_S if leaving is None else leaving):
                return await self._answer(session, question)
        except TimeoutError:
            if leaving is None:
                return Ended(question, "failed", f"nothing for {PATIENCE_S:g} s")
            return Ended(question, "left")
        except aiohttp.ClientError as error:
            return Ended(question, "failed", f"the connection: {type(error).__name__}: {error}")

    async def _answer(self, session: aiohttp.ClientSession, question: Question) -> Ended:
        headers = {"Authorization": f"Bearer {self.keys[question.key]}"}
        url = self.url + PATHS[question.api]
        async with session.post(url, json=question.body(), headers=headers) as reply:
            raw = await reply.read()
            name = reply.headers.get("x-herdwise-decision-id")
            try:
                said = self._read(question, reply.status, raw)
                if said.error is None:
                    _check(question, said)
            except (MalformedError, KeyError, TypeError, ValueError, IndexError) as error:
                return Ended(question, "failed", f"{type(error).__name__}: {error}; {raw[-300:]!r}", name)
        if said.error is None:
            return Ended(question, "answered", "", name, said)
        why = f"{reply.status} {said.error.get('code')}: {said.error.get('message')}"
        return Ended(question, "refused" if _may_fail(question, reply.status) else "failed", why, name)

    def _read(self, question: Question, status: int, raw: bytes) -> Said:
        if status != 200:
            return Said(error=error_of(question.api, json.loads(raw)))
        if question.stream:
            return STREAMS[question.api](raw, counted=question.counted)
        return WHOLE[question.api](json.loads(raw))

    async def _grade(self, session: aiohttp.ClientSession, ended: Ended) -> None:
        """Feedback; what is acknowledged is kept, and must be found in the ledger."""
        headers = {"Authorization": f"Bearer {self.keys[ended.question.key]}"}
        score = round(self._draw.random(), 3)
        body = {"decision_id": ended.decision_id, "score": score}
        try:
            async with session.post(f"{self.url}/v1/feedback", json=body, headers=headers) as reply:
                await reply.read()
                if reply.status == 200:
                    self.feedback.append((ended.decision_id or "", score))
                else:
                    self.counts[f"feedback {reply.status}"] += 1
        except aiohttp.ClientError:
            self.counts["feedback lost"] += 1


def _check(question: Question, said: Said) -> None:
    """Whether an answer is the whole answer to this question."""
    if question.tools:
        must(len(said.calls) == 1, f"{len(said.calls)} calls")
        name, arguments = said.calls[0]
        must(name == "note", f"calls {name!r}")
        must(json.loads(arguments) == {"text": question.text}, f"arguments {arguments!r}")
    else:
        must(said.text == whole_text(question.number), f"says {said.text!r}")
        must(not said.calls, "calls a tool that it was not given")
    must(said.model in {"alpha", "beta", "gamma", "delta"}, f"model {said.model!r}")


def _may_fail(question: Question, status: int) -> bool:
    """Who is entitled to an error, well-formed and with a reason.

    A candidate that was named has nobody to stand in. Near its end a budget lets only the cheapest be
    asked, who may be ill. A minute's requests are soon used up.
    """
    if question.model in {"alpha", "beta", "gamma", "delta"} or question.key == "poor":
        return status in {200, 400, 404, 422, 429, 502, 503, 504}
    return question.key == "slow" and status == 429
