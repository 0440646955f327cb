"""The chat APIs (chat completions, completions, responses, messages): the hot path, plain ASGI."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from herdwise.core.errors import HerdwiseError, NoCandidateError, RequestError
from herdwise.routing.base import Situation, Thread
from herdwise.serving.access import read_body
from herdwise.serving.admission import Admission, Client
from herdwise.serving.asking import GONE
from herdwise.serving.cache import Again, Cache, Keeping, Looked, cached_course
from herdwise.serving.course import Course, decision_ids
from herdwise.serving.direct import Direct, direct_situation
from herdwise.serving.dispatch import Dispatcher
from herdwise.serving.exchange import ENDING, Carrier, Exchange, Headers, send_error
from herdwise.serving.logs import REQUEST
from herdwise.serving.metrics import Metrics
from herdwise.serving.service import Service
from herdwise.serving.telemetry import Telemetry
from herdwise.serving.telemetry_trace import Trace
from herdwise.serving.terms import Pass, check_terms, expected, too_dear, within
from herdwise.serving.threads import tool_loop
from herdwise.serving.wire.api import Api
from herdwise.serving.wire.errors import from_exception, wire_error
from herdwise.serving.wire.openai_chat import ChatRequest

logger = logging.getLogger(__name__)

_DIRECT = Direct()
_NOT_POST = wire_error(
    "only POST is possible here.", status=405, code="method_not_allowed", headers={"allow": "POST"}
)


class ChatEndpoint:
    """Reads a request of one API, has it carried out, and sends what comes of it."""

    def __init__(
        self,
        service: Service,
        dispatcher: Dispatcher,
        api: Api,
        admission: Admission,
        metrics: Metrics,
        cache: Cache | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._service, self._dispatcher, self._api, self._cache = service, dispatcher, api, cache
        self.api = api
        self._admission, self._metrics = admission, metrics
        self._telemetry = telemetry
        self._ids = decision_ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        started_at = time.perf_counter()
        headers = dict(scope["headers"])
        if scope["method"] != "POST":
            await send_error(send, self._api, _NOT_POST)
            return
        gate, trace = self._dispatcher.gate, None
        if self._telemetry is not None:
            trace = self._telemetry.begin(headers, started_at)
        try:
            client = await self._admission.client(headers)
            if not gate.enter_at_once():
                await gate.enter()
        except HerdwiseError as error:
            await self._refuse(send, error, trace)
            return
        except Exception as error:
            logger.exception("a request failed before anybody was asked")
            await self._refuse(send, error, trace)
            return
        except asyncio.CancelledError:
            await self._end(send)
            return
        try:
            await self._serve(scope, receive, send, started_at, headers, client, trace)
        finally:
            gate.leave()

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        started_at: float,
        headers: Mapping[bytes, bytes],
        client: Client,
        trace: Trace | None,
    ) -> None:
        try:
            limit = self._service.settings.max_body_bytes
            raw = await read_body(receive, headers.get(b"content-length"), limit)
            if raw is None:
                return
            request = self._api.read(raw, _own_headers(scope["headers"]), headers, self._service)
            admitted = await self._admission.begin(client)
            if admitted is not None:
                check_terms(admitted.key, request.policy, request.candidate)
            looked = None if self._cache is None else await self._cache.look(request, client, headers)
            again = looked is not None and looked.answer is not None
            if admitted is not None and not again:
                request = replace(request, goals=within(request.goals, admitted, self._service.ranker.herd))
            carrier: Carrier = self._dispatcher
            try:
                if looked is None or self._cache is None:
                    course = await self._begin(request, headers, started_at, client)
                elif again:
                    course, carrier = self._again(looked, request, headers, started_at, client)
                else:
                    course = await self._begin(request, headers, started_at, client)
                    course.cached = looked.note()
                    carrier = Keeping(self._cache, looked, self._dispatcher)
            except NoCandidateError as error:
                raise too_dear(admitted, error) or error from None
            course.trace = trace
            REQUEST.set((course.id, None if trace is None else trace.hex_id))

            async def settle() -> None:
                if admitted is not None:
                    await self._admission.settle(admitted, course)

            exchange = Exchange(
                self._service, carrier, self._api, self._metrics, request, course, send, settle
            )
            if admitted is not None:  # last, so that nothing can fail between it and its settlement
                course.created_at = admitted.at  # the meter's period is the ledger's
            if admitted is not None and not again:  # what the cache gives costs nothing
                await self._reserve(admitted, request, course)
        except HerdwiseError as error:
            await self._refuse(send, error, trace)
            return
        except Exception as error:
            logger.exception("a request failed before anybody was asked")
            await self._refuse(send, error, trace)
            return
        except asyncio.CancelledError:
            await self._end(send)
            return
        try:
            await exchange.run(receive, (scope.get("extensions") or {}).get(GONE))
        finally:
            if self._telemetry is not None:
                self._telemetry.ended(course, self._api.path, self._service.backends)

    async def _reserve(self, admitted: Pass, request: ChatRequest, course: Course) -> None:
        policy = _DIRECT if request.candidate is not None else self._service.policies[request.policy]
        most_calls, longest = self._service.settings.max_attempts, _max_tokens(request.body)
        tries = self._service.settings.retry.most_tries
        will = expected(course.situation, policy, most_calls, longest, tries)
        await self._admission.reserve(admitted, will)
        if policy.consults:
            self._admission.bind(admitted, course)

    async def _end(self, send: Send) -> None:
        """The process ends before it was anybody's turn to be asked."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        self._metrics.undecided(self._api.path, ENDING.status)
        await send_error(send, self._api, ENDING)

    async def _refuse(self, send: Send, error: Exception, trace: Trace | None) -> None:
        told = from_exception(error)
        self._metrics.undecided(self._api.path, told.status)
        if self._telemetry is not None and trace is not None:
            self._telemetry.refused(trace, self._api.path, told.status)
        await send_error(send, self._api, told)

    async def _begin(
        self, request: ChatRequest, headers: Mapping[bytes, bytes], started_at: float, client: Client
    ) -> Course:
        ranker, candidate = self._service.ranker, request.candidate
        if candidate is not None:
            situation = direct_situation(ranker.herd, request.query, request.goals, candidate)
        else:
            policy = self._service.policies[request.policy]
            if not policy.configured:
                raise _not_configured(request)
            if policy.needs_belief and ranker.fusion is None:
                raise _nothing_believed(request)
            if ranker.blocking:
                situation = await asyncio.to_thread(ranker.situation, request.query, request.goals)
            else:
                situation = ranker.situation(request.query, request.goals)
            if policy.consults:
                situation = replace(situation, belief=ranker.belief(request.query, situation.estimates))
        session, scope = headers.get(b"x-herdwise-session"), client.scope
        return Course(
            id=next(self._ids),
            situation=self._in_thread(situation, request, session, scope),
            policy=request.policy,
            model=request.model,
            body=request.body,
            stream=request.stream,
            goals=request.own_goals,
            origin=situation.estimates.origin,
            started_at=started_at,
            session=session,
            scope=scope,
            key_id=None if client.key is None else client.key.key_id,
        )

    def _again(
        self,
        looked: Looked,
        request: ChatRequest,
        headers: Mapping[bytes, bytes],
        started_at: float,
        client: Client,
    ) -> tuple[Course, Carrier]:
        """The course of a request whose answer the cache has, and who carries it out."""
        herd = self._service.ranker.herd
        course = cached_course(looked, request, client, herd, next(self._ids), started_at)
        course.session = headers.get(b"x-herdwise-session")
        return course, Again(looked, self._dispatcher)

    def _in_thread(
        self, situation: Situation, request: ChatRequest, session: bytes | None, scope: bytes
    ) -> Situation:
        """The scene, with who has the conversation."""
        messages = request.body["messages"]
        keeper = self._dispatcher.threads.find(messages, session, scope)
        if keeper is None or keeper not in situation.herd:
            return situation
        return replace(situation, thread=Thread(situation.herd.index(keeper), tool_loop(messages)))


def _not_configured(request: ChatRequest) -> RequestError:
    return RequestError(
        f"policy {request.policy!r} is not configured here.",
        param="model" if request.model.startswith("auto/") else "herdwise.policy",
        code="policy_not_configured",
        remedy="Give its options in the config, under policy: (docs/policies.md), or ask for another.",
    )


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    """The longest answer that the request allows, in tokens."""
    stated = body.get("max_completion_tokens", body.get("max_tokens"))
    return stated if isinstance(stated, int) and stated > 0 else None


def _nothing_believed(request: ChatRequest) -> RequestError:
    return RequestError(
        f"policy {request.policy!r} needs to know what answers are worth, and no router that learned it is"
        " loaded.",
        param="model" if request.model.startswith("auto/") else "herdwise.policy",
        code="no_fusion",
        remedy="Train one from outcomes that have answers (herdwise train --outcomes DIR --out ROUTER), and"
        " name it in the config under router:; or ask for auto/cascade or auto/vote.",
    )


def _own_headers(headers: Headers) -> dict[str, str]:
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name.startswith(b"x-herdwise-")
    }
