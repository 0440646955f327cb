"""Everything but chat: models, health, feedback, decisions."""

from __future__ import annotations

import calendar
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from herdwise.core.candidate import Candidate
from herdwise.core.errors import HerdwiseError, InputError, RequestError
from herdwise.serving.access import read_body
from herdwise.serving.admission import Admission, Client
from herdwise.serving.company import Company
from herdwise.serving.dispatch import Dispatcher
from herdwise.serving.embeddings import ENCODER_MODEL, PATH, Embeddings
from herdwise.serving.keyring import Terms
from herdwise.serving.ledger import Ledger
from herdwise.serving.ledger_writer import unknown_decision
from herdwise.serving.metrics import CONTENT_TYPE, Metrics
from herdwise.serving.openapi import document
from herdwise.serving.records import FeedbackRecord
from herdwise.serving.service import Service
from herdwise.serving.wire.anthropic_messages import read_count
from herdwise.serving.wire.anthropic_reply import error_body
from herdwise.serving.wire.errors import WireError, from_exception, wire_error
from herdwise.serving.wire.model_names import model_names
from herdwise.serving.wire.openai_chat import decode, json_object

_Handler = Callable[[Request], Awaitable[Response]]


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/feedback."""

    decision_id: str
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    thumbs: Literal["up", "down"] | None = None
    comment: str | None = None
    demonstration: str | None = None


class Endpoints:
    """The cold endpoints of one service.

    Args:
        service, dispatcher, admission: who answers, carries out and lets in.
        metrics: counts requests.
        company: the other processes that serve the same herd.
        draining: whether the process is about to end.
    """

    def __init__(
        self,
        service: Service,
        dispatcher: Dispatcher,
        admission: Admission,
        metrics: Metrics,
        company: Company,
        draining: Callable[[], bool],
    ) -> None:
        self._service, self._dispatcher, self._admission = service, dispatcher, admission
        self._metrics, self._company, self._draining = metrics, company, draining
        self._created = int(time.time())
        self._embeddings = Embeddings(service, dispatcher, admission, metrics)

    def routes(self) -> list[Route]:
        """Their paths. Health needs no key: it tells nothing, and load balancers have none."""
        return [
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/console/examples.json", self._keyed(self.examples), methods=["GET"]),
            self._counted(PATH, self._keyed(self.embeddings)),
            self._counted("/v1/messages/count_tokens", self._keyed(self.count_tokens)),
            Route("/v1/models", self._keyed(self.models), methods=["GET"]),
            Route("/v1/models/{name:path}", self._keyed(self.model), methods=["GET"]),
            self._counted("/v1/feedback", self._keyed(self.feedback)),
            Route("/v1/decisions/{decision_id}", self._keyed(self.decision), methods=["GET"]),
        ]

    def _counted(self, path: str, handler: _Handler) -> Route:
        async def counted(request: Request) -> Response:
            response = await handler(request)
            if "x-herdwise-decision-id" not in response.headers:
                self._metrics.undecided(path, response.status_code)
            return response

        return Route(path, counted, methods=["POST"])

    def _keyed(self, handler: _Handler) -> _Handler:
        async def guarded(request: Request) -> Response:
            try:
                request.state.client = await self._admission.client(dict(request.scope["headers"]))
                return await handler(request)
            except InputError as error:
                return error_response(from_exception(error))

        return guarded

    async def healthz(self, request: Request) -> Response:
        """The process is alive."""
        del request
        return _json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Somebody can answer: at least one backend is not known to be dead, and the process stays."""
        del request
        if self._draining():
            return _json({"status": "draining"}, status=503)
        names, health = list(self._service.ranker.herd.names), self._dispatcher.health
        if health.unreachable.issuperset(names):
            await health.probe(names, self._service.backends)
        dead = health.unreachable
        ready = not dead.issuperset(names)
        lost = 0 if self._service.ledger is None else self._service.ledger.lost
        body = {
            "status": "ready" if ready else "no candidate can be reached",
            "candidates": len(names),
            "unreachable": sorted(dead),
            "left_alone": [name for name in names if health.state(name) != "closed"],
            "ledger_lost": lost,
        }
        return _json(body, status=200 if ready else 503)

    async def openapi(self, request: Request) -> Response:
        """What there is, as OpenAPI."""
        del request
        return _json(document())

    async def examples(self, request: Request) -> Response:
        """Queries that the console offers."""
        del request
        return _json({"examples": self._service.settings.console_examples})

    async def metrics(self, request: Request) -> Response:
        """What was counted, for Prometheus. Where keys are asked for, it takes one of the config."""
        try:
            self._admission.check_overseer(dict(request.scope["headers"]))
        except RequestError as error:
            return error_response(from_exception(error))
        return Response(await self._company.counted(), headers={"content-type": CONTENT_TYPE})

    async def models(self, request: Request) -> Response:
        """All names that a request's ``model`` may have."""
        names = self._names(request.state.client)
        return _json({"object": "list", "data": [self._model(name) for name in names]})

    def _names(self, client: Client) -> list[str]:
        encoder = [] if self._service.ranker.encoder is None else [ENCODER_MODEL]
        names = [*model_names(self._service), *encoder]
        return names if client.key is None else [name for name in names if _allowed(name, client.key.terms)]

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["name"]
        if name not in self._names(request.state.client):
            raise RequestError(
                f"there is no model {name!r}.", status=404, param="model", code="model_not_found"
            )
        return _json(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        candidate = self._service.ranker.herd.get(name)
        released = candidate.released if candidate is not None else None
        created = self._created if released is None else calendar.timegm(released.timetuple())
        owner = "herdwise" if candidate is None else "candidate"
        told = {"id": name, "object": "model", "created": created, "owned_by": owner}
        return told if candidate is None else {**told, "herdwise": _facts(candidate)}

    async def embeddings(self, request: Request) -> Response:
        """Vectors of texts, by a named candidate or the router's own encoder."""
        gate = self._dispatcher.gate
        await gate.enter()
        try:
            raw = await self._body(request)
            if raw is None:
                return Response(status_code=400)
            told, headers = await self._embeddings.answer(json_object(raw), request.state.client)
        finally:
            gate.leave()
        response = error_response(told) if isinstance(told, WireError) else _json(told)
        response.headers.update(headers)
        return response

    async def count_tokens(self, request: Request) -> Response:
        """The estimate that routing goes by, in Anthropic's shape; also its errors."""
        raw = await self._body(request)
        if raw is None:
            return Response(status_code=400)
        own = {name: value for name, value in request.headers.items() if name.startswith("x-herdwise-")}
        try:
            return _json(read_count(raw, own, self._service))
        except InputError as error:
            told = from_exception(error)
            return _json(error_body(told), status=told.status)

    async def _body(self, request: Request) -> bytes | None:
        """The whole body; None when the client went away."""
        limit = self._service.settings.max_body_bytes
        length = request.headers.get("content-length")
        return await read_body(request.receive, None if length is None else length.encode(), limit)

    async def feedback(self, request: Request) -> Response:
        """Grade a decision. When this answers, it is on the disk."""
        ledger = self._ledger()
        raw = await self._body(request)
        if raw is None:
            return Response(status_code=400)
        record = _read_feedback(decode(raw))
        await self._check_own(request.state.client, record.query_id)
        if record.query_id in self._dispatcher.open:
            raise _still_open()
        try:
            try:
                await ledger.feedback(record)
            except InputError:
                if not await self._written_elsewhere(record.query_id):
                    raise
                await ledger.feedback(record)
        except InputError:
            raise
        except HerdwiseError as error:
            return error_response(wire_error(str(error), status=503, code="ledger_unavailable"))
        return _json({"object": "feedback", "decision_id": record.query_id, "score": record.score})

    async def decision(self, request: Request) -> Response:
        """The course of a decision, also while it is open."""
        name = request.path_params["decision_id"]
        client: Client = request.state.client
        course = self._dispatcher.open.get(name)
        if course is not None:
            if client.key is not None and course.key_id != client.key.key_id:
                raise unknown_decision(name)
            record = course.record(store_texts=self._service.settings.store_texts)
            return _json(_shown({**asdict(record), "feedback": []}))
        found = await self._find(name)
        if found is None or (client.key is not None and found["key_id"] != client.key.key_id):
            raise unknown_decision(name)
        return _json(_shown(found))

    async def _find(self, name: str) -> dict[str, Any] | None:
        """A decision of the ledger, or one that another worker is carrying out."""
        found = await self._ledger().find(name)
        if found is None and not self._company.alone:
            under_way = await self._company.find(name)
            if under_way is not None:
                return {**under_way, "feedback": []}
            found = await self._ledger().find(name)  # it may have been written meanwhile
        return found

    async def _written_elsewhere(self, name: str) -> bool:
        """Whether another worker may have written a decision just now.

        Raises:
            RequestError: 409, while it is carrying it out.
        """
        if self._company.alone:
            return False
        if await self._company.find(name) is not None:
            raise _still_open()
        return True

    async def _check_own(self, client: Client, name: str) -> None:
        """A virtual key sees and grades its own decisions only."""
        if client.key is None or name in self._dispatcher.open:
            return
        found = await self._find(name)
        if found is None or found["key_id"] != client.key.key_id:
            raise unknown_decision(name)

    def _ledger(self) -> Ledger:
        if self._service.ledger is None:
            raise RequestError(
                "this endpoint keeps no ledger.", status=501, code="no_ledger", remedy="Set ledger.url."
            )
        return self._service.ledger


def _allowed(name: str, terms: Terms) -> bool:
    """Whether a key may ask for a model of this name."""
    if name in {ENCODER_MODEL, "auto"}:
        return True
    if name.startswith("auto/"):
        return terms.policies is None or name.removeprefix("auto/") in terms.policies
    if terms.policies is not None and "direct" not in terms.policies:
        return False
    return terms.candidates is None or name in terms.candidates


def _facts(candidate: Candidate) -> dict[str, Any]:
    """What is known of a candidate, for clients that choose; None = unknown."""
    return {
        "params_b": candidate.params_b,
        "active_params_b": candidate.active_params_b,
        "context_tokens": candidate.context_tokens,
        "open_weights": candidate.open_weights,
        "input_usd_per_mtok": candidate.price.input_usd_per_mtok,
        "output_usd_per_mtok": candidate.price.output_usd_per_mtok,
        "tags": sorted(candidate.tags),
    }


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    query_id, goals, tools = found.pop("query_id"), found.pop("goals"), found.pop("tools")
    return {
        "object": "decision",
        "decision_id": query_id,
        **found,
        "goals": None if goals is None else msgspec.json.decode(goals),
        "tools": None if tools is None else msgspec.json.decode(tools),
    }


def _still_open() -> RequestError:
    return RequestError(
        "the decision has no answer yet.", status=409, param="decision_id", code="decision_open"
    )


def _read_feedback(body: Any) -> FeedbackRecord:
    try:
        said = msgspec.convert(body, Feedback)
    except msgspec.ValidationError as error:
        raise RequestError(f"the feedback cannot be read: {error}.", code="invalid_feedback") from None
    if said.score is not None and said.thumbs is not None:
        raise RequestError("give score or thumbs, not both.", param="thumbs", code="invalid_feedback")
    score = said.score if said.thumbs is None else float(said.thumbs == "up")
    if score is None and not said.comment and not said.demonstration:
        raise RequestError(
            "the feedback says nothing.",
            code="invalid_feedback",
            remedy="Give a score in [0, 1], thumbs (up or down), a comment or a demonstration.",
        )
    return FeedbackRecord(said.decision_id, time.time(), score, said.comment, said.demonstration)


def _json(value: Any, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def error_response(error: WireError) -> Response:
    """An error in OpenAI's shape."""
    body = msgspec.json.encode(error.body)
    return Response(
        body, status_code=error.status, headers=dict(error.headers), media_type="application/json"
    )
