"""The cache of answers: looks requests up, gives kept answers again, keeps new ones (docs/cache.md)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.completion import Chunk, Completion
from herdwise.core.errors import HerdwiseError
from herdwise.encoding.base import ENCODERS, Encoder
from herdwise.routing.base import Policy
from herdwise.serving.admission import Client
from herdwise.serving.asking import ClientGoneError
from herdwise.serving.cache_answer import CachedAnswer, as_chunks, kept_answer
from herdwise.serving.cache_key import Wish, alike_key, request_key, wished
from herdwise.serving.cache_similar import SimilarQuestions
from herdwise.serving.cache_stores import CacheStores
from herdwise.serving.course import Course, LiveAsk
from herdwise.serving.direct import direct_situation
from herdwise.serving.dispatch import Deliver, Dispatcher
from herdwise.serving.service import Service
from herdwise.serving.wire.openai_chat import ChatRequest

logger = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CachedAnswer).decode


@lru_cache(maxsize=1)
def _default_encoder() -> Encoder:
    """For herds that learned nothing; the same after a reload, so that questions stay known."""
    return ENCODERS.create("static")


@dataclass(slots=True)
class Looked:
    """What the cache said to one request.

    Args:
        key: of the request.
        wish: what it wants of the cache.
        told: hit, similar, miss, refresh or off.
        answer: the answer that was found.
        similarity: cosine of its question with the request's, where that is another.
        question: group, text and vector by which its question is found, where that is looked for.
    """

    key: bytes
    wish: Wish
    told: str
    answer: CachedAnswer | None = None
    similarity: float | None = None
    question: tuple[bytes, str, np.ndarray] | None = None

    def note(self) -> dict[str, Any]:
        """For headers and explanations."""
        note: dict[str, Any] = {"status": self.told}
        if self.answer is not None:
            note["decision_id"] = self.answer.decision_id
            note["age_s"] = max(0, round(time.time() - self.answer.created_at))
        if self.similarity is not None:
            note["similarity"] = round(self.similarity, 4)
        return note


class Cache:
    """The cache of one service.

    Args:
        service: whose requests.
        stores: what is kept.
    """

    def __init__(self, service: Service, stores: CacheStores) -> None:
        self._settings, self._stores = service.settings.cache, stores
        self._store = stores.store()
        self._herd: Herd = service.ranker.herd
        self._similar: SimilarQuestions | None = None
        if self._settings.kind == "semantic":
            encoder = service.ranker.encoder or _default_encoder()
            self._similar = stores.questions(encoder, self._settings)

    def hold(self) -> None:
        """This service is served from now on: its bounds hold."""
        self._stores.hold(self._settings, self._similar)

    async def look(self, request: ChatRequest, client: Client, headers: Mapping[bytes, bytes]) -> Looked:
        """Whether there is an answer to a request.

        Args:
            request: as it came, before its goals are narrowed to what a key can still pay.
            client: who sent it.
            headers: all of them.
        """
        settings = self._settings
        control = headers.get(b"cache-control")
        wish = wished(request, control, only_deterministic=settings.only_deterministic)
        if not wish.read and not wish.store:
            self._stores.lookups.add(("bypass",))
            return Looked(b"", wish, wish.told)
        looked = Looked(request_key(request, client, self._herd.names, shared=settings.shared), wish, "miss")
        if wish.read and await self._found(looked, looked.key):
            looked.told = "hit"
        elif self._similar is not None:
            await self._look_alike(self._similar, looked, request, client)
        if not wish.read:
            looked.told = wish.told
        self._stores.lookups.add((looked.told if wish.read else "bypass",))
        return looked

    async def _look_alike(
        self, similar: SimilarQuestions, looked: Looked, request: ChatRequest, client: Client
    ) -> None:
        asked = alike_key(request, client, self._herd.names, shared=self._settings.shared)
        if asked is None:
            return
        group, text = asked
        try:
            if similar.encoder.blocking:
                vector = await asyncio.to_thread(similar.vector, text)
            else:
                vector = similar.vector(text)
        except HerdwiseError as error:  # a remote encoder that is away: the request goes on as a miss
            logger.warning("a question cannot be compared with those that are kept: %s", error)
            return
        looked.question = (group, text, vector)
        if not looked.wish.read:
            return
        nearest = similar.nearest(group, text, vector, self._settings.similarity)
        if nearest is None:
            return
        key, cosine = nearest
        if await self._found(looked, key):
            looked.told, looked.similarity = "similar", cosine

    async def _found(self, looked: Looked, key: bytes) -> bool:
        raw = await self._store.get(key)
        if raw is None:
            if self._similar is not None:
                self._similar.drop(key)  # its answer has gone
            return False
        try:
            answer = _decode(raw)
        except msgspec.MsgspecError:
            logger.warning("the cache holds what this herdwise cannot read; it is asked anew")
            return False
        limit_s = looked.wish.max_age_s
        if limit_s is not None and time.time() - answer.created_at > limit_s:
            return False
        if answer.candidate not in self._herd:  # it has left since
            return False
        looked.answer = answer
        return True

    def keep(self, looked: Looked, course: Course, chunks: list[Mapping[str, Any]]) -> None:
        """Keep what a course ended with, where that may be given again. Never sinks the request."""
        if not looked.wish.store or course.returned is None:
            return
        try:
            self._keep(looked, course, course.returned.candidate, chunks)
        except Exception:
            logger.exception("an answer could not be kept")

    def _keep(self, looked: Looked, course: Course, candidate: str, chunks: list[Mapping[str, Any]]) -> None:
        body = kept_answer(course, chunks)
        if body is None:
            return
        answer = CachedAnswer(course.id, candidate, course.created_at, body)
        self._store.put(looked.key, _encode(answer), self._settings.ttl_s)
        if self._similar is not None and looked.question is not None:
            group, text, vector = looked.question
            if vector.any():
                self._similar.add(group, looked.key, text, vector)


class Again:
    """Gives a kept answer again; stands in the Dispatcher's place.

    Args:
        looked: what the cache said, an answer among it.
        dispatcher: whose conversations learn who answered.
    """

    def __init__(self, looked: Looked, dispatcher: Dispatcher) -> None:
        self._looked, self._dispatcher = looked, dispatcher

    async def carry_out(self, course: Course, policy: Policy, deliver: Deliver) -> None:
        """See ``Dispatcher.carry_out``; nobody is asked."""
        del policy
        answer = self._looked.answer
        if answer is None:
            raise ValueError("the cache has no answer")
        body = answer.body
        herd = course.situation.herd
        ask = LiveAsk(0, herd.index(answer.candidate), answer.candidate, course.body, deliver=True)
        ask.completion = Completion(answer.candidate, "", body=body)
        ask.status, ask.finish_reason = "answered", "stop"  # no others are kept
        try:
            if course.stream:
                course.returned = ask
                await deliver(course, ask, list(as_chunks(body)))
        except (asyncio.CancelledError, ClientGoneError):
            course.finish("cancelled", "the client went away")
            raise
        alike = self._looked.similarity
        to_what = "this answer" if alike is None else f"the answer to a question alike ({alike:.3f})"
        course.finish("answered", f"the cache had {to_what}, of decision {answer.decision_id}", ask)
        threads = self._dispatcher.threads
        threads.note(course.body["messages"], course.session, answer.candidate, course.scope)


class Keeping:
    """Has a request carried out, and its answer kept; stands in the Dispatcher's place.

    Args:
        cache: keeps it.
        looked: what the cache said to the request.
        dispatcher: carries it out.
    """

    def __init__(self, cache: Cache, looked: Looked, dispatcher: Dispatcher) -> None:
        self._cache, self._looked, self._dispatcher = cache, looked, dispatcher

    async def carry_out(self, course: Course, policy: Policy, deliver: Deliver) -> None:
        """See ``Dispatcher.carry_out``."""
        chunks: list[Mapping[str, Any]] = []

        async def noting(of: Course, ask: LiveAsk, came: Sequence[Chunk]) -> None:
            await deliver(of, ask, came)
            chunks.extend(chunk.body for chunk in came)

        await self._dispatcher.carry_out(course, policy, noting if course.stream else deliver)
        self._cache.keep(self._looked, course, chunks)


def cached_course(
    looked: Looked, request: ChatRequest, client: Client, herd: Herd, decision_id: str, started_at: float
) -> Course:
    """The course of a request whose answer the cache has: nothing is predicted, nobody is asked."""
    if looked.answer is None:
        raise ValueError("the cache has no answer")
    situation = direct_situation(herd, request.query, request.goals, looked.answer.candidate)
    return Course(
        id=decision_id,
        situation=situation,
        policy=request.policy,
        model=request.model,
        body=request.body,
        stream=request.stream,
        goals=request.own_goals,
        origin="cache" if looked.similarity is None else "similar",
        started_at=started_at,
        scope=client.scope,
        key_id=None if client.key is None else client.key.key_id,
        cached=looked.note(),
    )
