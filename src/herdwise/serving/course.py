"""The course of one request: its asks, what they said and cost, and the situation a policy sees."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from herdwise.answers.logprobs import read_logprobs, token_logprobs
from herdwise.core.completion import Chunk, Completion, Usage
from herdwise.core.errors import (
    BackendError,
    NoRecordError,
    OverloadedError,
    UnreachableError,
    UnsupportedError,
)
from herdwise.core.money import NANOS_PER_USD, to_nanos
from herdwise.core.query import CHARS_PER_TOKEN
from herdwise.routing.base import Answer, Belief, Failure, InFlight, Situation, Spent
from herdwise.routing.hearing import hear
from herdwise.serving.records import AskRecord, DecisionRecord, Status
from herdwise.serving.telemetry_trace import Trace

#: Length of an answer that was lost, where none is predicted.
_ASSUMED_TOKENS = 500.0
#: Failures of asks that never reached a model.
_SPENT_NOTHING = (UnreachableError, OverloadedError, NoRecordError, UnsupportedError)


def decision_ids() -> Iterator[str]:
    """New ids without end: the time in milliseconds, then 64 random bits, so that they sort by time."""
    while True:
        # One call to the system for many ids: each costs up to 0.2 ms where system calls are filtered.
        block = os.urandom(4096)
        for i in range(0, len(block), 8):
            yield f"{time.time_ns() // 1_000_000:011x}{block[i : i + 8].hex()}"


@dataclass(slots=True)
class LiveAsk:
    """One ask that is, or was, under way.

    Args:
        number: within its course, from 0.
        position: of the candidate in the herd.
        candidate: its name.
        body: the request for its backend.
        deliver: whether its chunks go to the client as they come.
        continues: another ask's text that it goes on from; "" = it begins anew after a part of another.
        propensity: of an exploring policy's choice.
        verdict: what its program answers under the tests that the question gives, where they were run.
        taken_back: whether it failed, and its candidate is asked again before the policy hears of it.
        tries: how often its candidate was asked the same, this time included.
        round: the round by which it was forgotten, from 1.
        due_at: ``time.perf_counter()`` before which it is not sent.
        span_id: of its span, where it is traced.
    """

    number: int
    position: int
    candidate: str
    body: Mapping[str, Any]
    deliver: bool = False
    continues: str | None = None
    propensity: float | None = None
    status: Status = "open"
    task: asyncio.Task[None] | None = None
    started_at: float | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    texts: list[str] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    substance: bool = False
    beyond_text: bool = False
    delivered: bool = False
    dropped: int = 0
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    completion: Completion | None = None
    error: BackendError | None = None
    verdict: tuple[str | None, str] | None = None
    taken_back: bool = False
    tries: int = 1
    round: int | None = None
    due_at: float | None = None
    span_id: int | None = None

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.completion.text if self.completion is not None else "".join(self.texts)

    @property
    def spent_nothing(self) -> bool:
        """Whether it is known to have cost nothing: it was refused, or never reached its candidate."""
        if self.status == "cancelled" and self.started_at is None:
            return True
        error = self.error
        if self.status != "failed" or error is None or self.texts:
            return False
        return isinstance(error, _SPENT_NOTHING) or (error.status is not None and error.status >= 400)

    def begin(self) -> None:
        """It is being sent."""
        self.started_at = time.perf_counter()

    def end(self, status: Status, error: BackendError | None = None) -> None:
        """It is over."""
        self.status, self.error = status, error
        if error is not None:
            # The frames that an error came through hold this ask, which holds the error: nothing of the
            # request, however large, would be free before somebody searched for such circles.
            error.__traceback__ = error.__cause__ = error.__context__ = None
        if self.started_at is not None:
            self.latency_s = time.perf_counter() - self.started_at


@dataclass(frozen=True, slots=True)
class Heard:
    """What one answer said to a policy that consults, for the explanation.

    Args:
        value: the answer in the form in which answers are compared, None = none could be read.
        missing: why not.
        leading, confidence: the likeliest value after it, and its P(right); None where nothing is believed.
        evidence: log-odds that its signals add to who gave it.
    """

    value: str | None
    missing: str | None
    leading: str | None
    confidence: float | None
    evidence: float


@dataclass(slots=True)
class Course:
    """One request, from the decision to the answer.

    Args:
        id: the decision's id.
        situation: before anybody was asked.
        policy: its name.
        model: as the client named it.
        body: the request as it is passed on.
        stream: whether the client wants a stream.
        goals: the request's own goals, as given.
        origin: where predicted quality comes from.
        started_at: ``time.perf_counter()`` when the request came.
        session: the conversation's name, where the client gave one.
        scope: whose conversations: a digest of the client's key.
        key_id: the virtual key that it is charged to.
        cached: what the cache said to it (see ``cache.Looked.note``); None = there is none.
        trace: its place in a trace; None = it is not traced.
        http_status: as the client was told, once it has ended.
        deadline_at: ``time.perf_counter()`` when its time runs out, once it is being carried out.
        rounds: how often whoever had failed was asked once more.
        retry_after_s: where it failed, seconds after which the same request may be answered.
    """

    id: str
    situation: Situation
    policy: str
    model: str
    body: Mapping[str, Any]
    stream: bool
    goals: Mapping[str, Any]
    origin: str
    started_at: float
    session: bytes | None = None
    scope: bytes = b""
    key_id: str | None = None
    created_at: float = field(default_factory=time.time)
    asks: list[LiveAsk] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    heard: dict[int, Heard] = field(default_factory=dict)
    belief: Belief | None = None
    returned: LiveAsk | None = None
    status: Status = "open"
    reason: str = ""
    timed_out: bool = False
    waited_s: float = 0.0
    waiting_since: float | None = None
    ended_at: float | None = None
    deadline_at: float | None = None
    rounds: int = 0
    retry_after_s: float | None = None
    cached: Mapping[str, Any] | None = None
    trace: Trace | None = None
    http_status: int = 200

    def __post_init__(self) -> None:
        self.belief = self.situation.belief

    @property
    def cached_from(self) -> str | None:
        """The decision whose answer was given again; None = this one's own was given."""
        return None if self.cached is None else self.cached.get("decision_id")

    @property
    def calls(self) -> int:
        """Asks started."""
        return len(self.asks)

    @property
    def delivered(self) -> LiveAsk | None:
        """The last ask of which the client has something."""
        return next((ask for ask in reversed(self.asks) if ask.delivered), None)

    def delivered_text(self) -> str:
        """All text that the client has, over all asks."""
        return "".join(ask.text[ask.dropped :] for ask in self.asks if ask.delivered)

    def overhead_s(self) -> float:
        """Seconds so far in which no upstream was waited for."""
        now = self.ended_at or time.perf_counter()
        waiting = 0.0 if self.waiting_since is None else now - self.waiting_since
        return max(0.0, now - self.started_at - self.waited_s - waiting)

    def usage(self) -> Usage:
        """Tokens over all asks; None where one of them is unknown."""
        spending = [ask.usage for ask in self.asks if not ask.spent_nothing]
        if len(spending) == 1:
            return spending[0]
        total = Usage(0, 0)
        for usage in spending:
            total = total.plus(usage)
        return total

    def cost_of(self, ask: LiveAsk) -> float | None:
        """USD for one ask; None = unknown."""
        if ask.spent_nothing:
            return 0.0
        price = self.situation.herd[ask.position].price
        return price.cost_usd(ask.usage.input_tokens, ask.usage.output_tokens)

    def cost_usd(self) -> float | None:
        """USD over all asks; None when one of them is unknown."""
        total = 0.0
        for ask in self.asks:
            cost = self.cost_of(ask)
            if cost is None:
                return None
            total += cost
        return total

    def charged_nanos(self) -> int | None:
        """Billionths of a USD that a virtual key is charged; None = nobody knows what any of it costs.

        Where nobody stated what an ask cost (it broke off, was cancelled), what was predicted of it counts.
        """
        costs = [self._counted_usd(ask, 0.0) for ask in self.asks]
        return None if None in costs else to_nanos(sum(cost or 0.0 for cost in costs))

    def spent_usd(self) -> float | None:
        """USD that the request's limit counts for asks that have ended; None = nobody knows.

        A lost connection must not end a request because its bill is lost too: what was predicted of the ask
        counts then, or what an answer of some length would have cost.
        """
        costs = [self._counted_usd(ask, _ASSUMED_TOKENS) for ask in self.asks if ask.status != "open"]
        return None if None in costs else sum(cost or 0.0 for cost in costs)

    def _counted_usd(self, ask: LiveAsk, least_tokens: float) -> float | None:
        cost = self.cost_of(ask)
        if cost is None:
            cost = _finite(self.situation.estimates.cost_usd_of(ask.position))
        if cost is None:
            length = max(least_tokens, len(ask.text) / CHARS_PER_TOKEN)
            price = self.situation.herd[ask.position].price
            cost = price.cost_usd(self.situation.query.input_tokens, length)
        return cost

    def now(self) -> Situation:
        """What the policy is told."""
        if not self.asks:
            return self.situation
        elapsed_s = time.perf_counter() - self.started_at
        situation, calls = self.situation, len(self.asks)
        if repeats := sum(ask.taken_back for ask in self.asks):
            # Of an ask that is tried again it hears once, so that what it may still ask is less instead.
            calls -= repeats
            if (most := situation.goals.max_calls) is not None:
                situation = replace(situation, goals=situation.goals.replace(max_calls=most - repeats))
        return Situation(
            query=situation.query,
            herd=situation.herd,
            estimates=situation.estimates,
            goals=situation.goals,
            admitted=situation.admitted,
            removed=situation.removed,
            utility=situation.utility,
            answers=tuple(self.answers),
            in_flight=tuple(
                [
                    InFlight(
                        ask.number,
                        ask.position,
                        (ask.started_at or time.perf_counter()) - self.started_at,
                        ask.delivered,
                    )
                    for ask in self.asks
                    if ask.status == "open"
                ]
            ),
            failures=tuple(self.failures),
            spent=Spent(self.spent_usd(), elapsed_s, calls),
            healthy=situation.healthy,
            thread=situation.thread,
            now_s=elapsed_s,
            seed=situation.seed,
            belief=self.belief,
        )

    def settle(
        self,
        ask: LiveAsk,
        value: str | None = None,
        missing: str = "",
        evidence: float = 0.0,
        alike: tuple[float, ...] = (),
    ) -> None:
        """Note an ask that has ended, so that the policy hears of it. A cancelled one is no event.

        Args:
            ask: which.
            value, missing, evidence, alike: what its answer says, where nobody has it yet (see
                ``routing.hearing``).
        """
        if ask.status == "answered":
            cost_usd = self.cost_of(ask)
            if ask.deliver:
                self.answers.append(
                    Answer(ask.number, ask.position, ask.text, latency_s=ask.latency_s, cost_usd=cost_usd)
                )
            else:
                self._hear(ask, value, missing, evidence, alike, cost_usd)
        elif ask.status == "failed" and ask.error is not None:
            self.failures.append(
                Failure(
                    ask.number,
                    ask.position,
                    ask.error.kind,
                    str(ask.error),
                    self.delivered_text() if ask.delivered else "",
                )
            )

    def note_cut_off(self) -> None:
        """Note the asks that were cancelled in the midst of what the client has of them."""
        known = {failure.ask for failure in self.failures}
        for ask in self.asks:
            if ask.status == "cancelled" and ask.delivered and ask.number not in known:
                text = self.delivered_text()
                self.failures.append(Failure(ask.number, ask.position, "cancelled", "cut off", text))

    def _hear(
        self,
        ask: LiveAsk,
        value: str | None,
        missing: str,
        evidence: float,
        alike: tuple[float, ...],
        cost_usd: float | None,
    ) -> None:
        told, self.belief = hear(
            self.belief,
            self.answers,
            ask.number,
            ask.position,
            value=value,
            missing=missing,
            text=ask.text,
            latency_s=ask.latency_s,
            cost_usd=cost_usd,
            evidence=evidence,
            alike=alike,
        )
        if isinstance(told, Answer):
            self.answers.append(told)
            value = told.value
        else:
            self.failures.append(told)
        leading, confidence = (None, None) if self.belief is None else self.belief.best()
        self.heard[ask.number] = Heard(value, missing or None, leading, confidence, evidence)

    def finish(self, status: Status, reason: str, returned: LiveAsk | None = None) -> None:
        """The request is over."""
        self.status, self.reason, self.returned = status, reason, returned
        self.ended_at = time.perf_counter()

    def record(self, *, store_texts: bool) -> DecisionRecord:
        """The ledger's row, as things stand."""
        usage, query = self.usage(), self.situation.query
        ended_at = self.ended_at
        return DecisionRecord(
            query_id=self.id,
            created_at=self.created_at,
            model=self.model,
            policy=self.policy,
            origin=self.origin,
            status=self.status,
            reason=self.reason or None,
            candidate=self.returned.candidate if self.returned else None,
            returned_ask=self.returned.number if self.returned and self.asks else None,
            streamed=self.stream,
            attempts=len(self.asks),
            cost_usd=self.cost_usd(),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            latency_s=None if ended_at is None else ended_at - self.started_at,
            overhead_s=self.overhead_s(),
            goals=_json(self.goals) if self.goals else None,
            text=query.text if store_texts else None,
            tools=_json(query.tools) if store_texts and query.tools else None,
            key_id=self.key_id,
            charged_usd=self._charged_usd(),
            cached_from=self.cached_from,
            asks=[self._ask_record(ask, store_texts=store_texts) for ask in self.asks],
        )

    def _charged_usd(self) -> float | None:
        nanos = None if self.key_id is None else self.charged_nanos()
        return None if nanos is None else nanos / NANOS_PER_USD

    def _ask_record(self, ask: LiveAsk, *, store_texts: bool) -> AskRecord:
        estimates = self.situation.estimates
        text, heard = ask.text, self.heard.get(ask.number)
        bodies = [ask.completion.body] if ask.completion is not None else [c.body for c in ask.chunks]
        tokens = read_logprobs(token_logprobs(bodies), None if heard is None else heard.value)
        return AskRecord(
            ask=ask.number,
            candidate=ask.candidate,
            status=ask.status,
            error_kind=ask.error.kind if ask.error else None,
            error_status=ask.error.status if ask.error else None,
            started_s=None if ask.started_at is None else ask.started_at - self.started_at,
            latency_s=ask.latency_s,
            first_token_s=ask.first_token_s,
            input_tokens=ask.usage.input_tokens,
            output_tokens=ask.usage.output_tokens,
            output_chars=len(text) if ask.status == "answered" else None,
            cost_usd=self.cost_of(ask),
            finish_reason=ask.finish_reason,
            propensity=ask.propensity,
            # What was answered to other messages than the client's is no outcome of its own.
            continued=ask.continues is not None or ask.body.get("messages") is not self.body.get("messages"),
            predicted_quality=_finite(float(estimates.quality[ask.position])),
            predicted_cost_usd=_finite(estimates.cost_usd_of(ask.position)),
            text=text if store_texts and ask.status == "answered" else None,
            mean_logprob=None if tokens is None else tokens.mean,
            min_logprob=None if tokens is None else tokens.minimum,
            answer_logprob=None if tokens is None else tokens.answer,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
