"""POST /v1/embeddings: by a candidate whose backend can embed, or by the router's own encoder."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from herdwise.core.completion import Usage
from herdwise.core.decision import Goals
from herdwise.core.errors import BackendError, RequestError, TimeoutError_
from herdwise.core.query import CHARS_PER_TOKEN, Query
from herdwise.encoding.base import Encoder
from herdwise.serving.admission import Admission, Client
from herdwise.serving.course import Course, LiveAsk, decision_ids
from herdwise.serving.direct import direct_situation
from herdwise.serving.dispatch import Dispatcher
from herdwise.serving.exchange import ENDING
from herdwise.serving.metrics import Metrics
from herdwise.serving.records import EMBEDDINGS
from herdwise.serving.service import Service
from herdwise.serving.terms import Expected, Pass, check_terms
from herdwise.serving.wire.errors import WireError, from_failures

PATH = "/v1/embeddings"
#: The name by which the router's encoder is asked.
ENCODER_MODEL = "herdwise-encoder"
#: Most texts in one request, as OpenAI has it.
_MOST_TEXTS = 2048


class Embeddings:
    """Has embeddings made, charged and recorded as decisions.

    Nothing is routed, as models' vectors do not compare. Failures say nothing of a candidate's health: many
    that chat well cannot embed.

    Args:
        service, dispatcher, admission: who answers, whose open decisions these are, and who is charged.
        metrics: counts them.
    """

    def __init__(
        self, service: Service, dispatcher: Dispatcher, admission: Admission, metrics: Metrics
    ) -> None:
        self._service, self._dispatcher = service, dispatcher
        self._admission, self._metrics = admission, metrics
        self._ids = decision_ids()

    async def answer(
        self, body: Mapping[str, Any], client: Client
    ) -> tuple[dict[str, Any] | WireError, dict[str, str]]:
        """The answer to a request, in OpenAI's shape, or an error; and headers of its decision.

        Raises:
            RequestError: naming the field at fault, or the limit of the key; nobody was asked.
        """
        started_at, model, ranker = time.perf_counter(), body.get("model"), self._service.ranker
        admitted = await self._admission.begin(client)
        by_encoder = model == ENCODER_MODEL and ranker.encoder is not None
        if not isinstance(model, str) or not (by_encoder or model in ranker.herd):
            raise _unknown(model, self._service)
        if admitted is not None and not by_encoder:
            check_terms(admitted.key, "direct", model)
        herd = ranker.herd
        query = Query("", chars=_chars(body.get("input")))
        course = Course(
            id=next(self._ids),
            # Where the encoder answers nobody is asked, whoever stands here.
            situation=direct_situation(herd, query, Goals(), herd.names[0] if by_encoder else model),
            policy=EMBEDDINGS,
            model=model,
            body={k: v for k, v in body.items() if k != "herdwise"},
            stream=False,
            goals={},
            origin="none",
            started_at=started_at,
            key_id=None if client.key is None else client.key.key_id,
        )
        if admitted is not None:
            course.created_at = admitted.at  # the meter's period is the ledger's
        if by_encoder and ranker.encoder is not None:
            vectors = await _by_encoder(body, ranker.encoder)
            course.finish("answered", "by the router's encoder")
            self._record(course, 200)
            return vectors, _headers(course)
        if admitted is not None:
            await self._admission.reserve(admitted, _expected(course, model))
        return await self._ask(course, model, admitted), _headers(course)

    async def _ask(self, course: Course, name: str, admitted: Pass | None) -> dict[str, Any] | WireError:
        ask = LiveAsk(0, course.situation.herd.index(name), name, course.body)
        course.asks.append(ask)
        self._dispatcher.open[course.id] = course
        told: dict[str, Any] | WireError = ENDING
        status = ENDING.status
        limit_s = self._service.settings.request_timeout_s
        try:
            ask.begin()
            async with asyncio.timeout(limit_s):
                answer = await self._service.backends[name].embed(course.body)
        except asyncio.CancelledError:
            ask.end("cancelled")
            course.finish("cancelled", "the endpoint ended before the answer did")
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        except (BackendError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                error = TimeoutError_(f"candidate {name!r} took more than {limit_s:g} s.", candidate=name)
            ask.end("failed", error)
            course.finish("failed", "the candidate that the request named failed")
            reason = "the request named this candidate"
            told = from_failures([error], reason=reason, timed_out=False)
            status = told.status
        except BaseException:
            status = 500  # what nobody expected
            ask.end("failed", BackendError("internal error", candidate=name))
            course.finish("failed", "internal error")
            raise
        else:
            ask.usage = _usage(answer)
            ask.end("answered")
            course.finish("answered", "the request named this candidate", ask)
            told, status = {**answer, "model": name}, 200
        finally:
            course.waited_s = ask.latency_s or 0.0
            del self._dispatcher.open[course.id]
            self._record(course, status)
            if admitted is not None:
                await self._admission.settle(admitted, course)
        return told

    def _record(self, course: Course, status: int) -> None:
        """Before the answer is sent, so that the decision can be asked for at once. No text, no vector."""
        course.http_status = status
        self._metrics.ended(PATH, course, status)
        if self._service.ledger is not None:
            self._service.ledger.record(course.record(store_texts=False))


def _expected(course: Course, name: str) -> Expected:
    query = course.situation.query
    cost_usd = course.situation.herd[course.situation.herd.index(name)].price.cost_usd(query.input_tokens, 0)
    usd = math.nan if cost_usd is None else cost_usd
    return Expected(usd, usd, math.ceil(query.input_tokens))


def _chars(given: Any) -> int:
    """How long the input is; a token's number counts as a token's length."""
    if isinstance(given, str):
        return len(given)
    if isinstance(given, list):
        return sum(_chars(one) for one in given)
    return round(CHARS_PER_TOKEN)


def _usage(answer: Mapping[str, Any]) -> Usage:
    """As the upstream stated it. Vectors are no tokens that anybody charges for."""
    stated = answer.get("usage")
    tokens = stated.get("prompt_tokens") if isinstance(stated, Mapping) else None
    known = isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0
    return Usage(tokens if known else None, 0)


def _headers(course: Course) -> dict[str, str]:
    cost_usd = course.cost_usd()
    headers = {
        "x-herdwise-decision-id": course.id,
        "x-herdwise-policy": course.policy,
        "x-herdwise-attempts": str(course.calls),
        "x-herdwise-overhead-ms": f"{course.overhead_s() * 1000:.3f}",
        "x-herdwise-cost-usd": "unknown" if cost_usd is None else f"{cost_usd:.10g}",
    }
    if course.returned is not None:
        name = course.returned.candidate
        headers["x-herdwise-candidate"] = name if name.isascii() else quote(name)
    return headers


async def _by_encoder(body: Mapping[str, Any], encoder: Encoder) -> dict[str, Any]:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise _invalid("input", "must be a text or a list of texts, none empty (token ids are no texts)")
    if not 1 <= len(texts) <= _MOST_TEXTS:
        raise _invalid("input", f"must hold 1 to {_MOST_TEXTS} texts")
    if body.get("dimensions") not in (None, encoder.n_features):
        raise _invalid("dimensions", f"must be {encoder.n_features} for this model, or left out")
    form = "float" if body.get("encoding_format") is None else body["encoding_format"]
    if form not in ("float", "base64"):
        raise _invalid("encoding_format", "must be float or base64")
    vectors = await asyncio.to_thread(encoder.encode, texts)
    data = [
        {"object": "embedding", "index": i, "embedding": _coded(vector, form)}
        for i, vector in enumerate(vectors)
    ]
    # Its tokens cost nobody anything, and are not counted.
    usage = {"prompt_tokens": None, "total_tokens": None}
    return {"object": "list", "data": data, "model": ENCODER_MODEL, "usage": usage}


def _coded(vector: np.ndarray, form: str) -> str | list[float]:
    numbers = np.asarray(vector, dtype="<f4")
    if form == "base64":
        return base64.b64encode(numbers.tobytes()).decode()
    told: list[float] = numbers.tolist()
    return told


def _unknown(model: Any, service: Service) -> RequestError:
    own = [ENCODER_MODEL] if service.ranker.encoder is not None else []
    return RequestError(
        f"no model {model!r} makes embeddings here; auto is not routed, as the vectors of different models"
        " do not compare.",
        status=404,
        param="model",
        code="model_not_found",
        remedy=f"Name a candidate whose server can embed, or the router's encoder:"
        f" {', '.join([*own, *service.ranker.herd.names])}.",
    )


def _invalid(param: str, what: str) -> RequestError:
    return RequestError(f"{param} {what}.", param=param, code="invalid_value")
