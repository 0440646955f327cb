"""Carries out a policy's Steps against live candidates: one loop for every policy.

The policy is asked after every event (an answer, a failure, a deadline) and again at once after Ask and
Cancel, until it says Finish. Asks start when it says Wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from herdwise.core.completion import Chunk
from herdwise.core.errors import HerdwiseError
from herdwise.routing.base import NOBODY, Ask, Cancel, Finish, Policy, Wait
from herdwise.routing.single import Single
from herdwise.serving.agreeing import Agreeing, tested
from herdwise.serving.asking import ClientGoneError, run_ask
from herdwise.serving.course import Course, LiveAsk
from herdwise.serving.deadlines import Deadlines
from herdwise.serving.gate import Gate
from herdwise.serving.health import Breakers
from herdwise.serving.joining import Joint
from herdwise.serving.reading import ask_signals, ask_value
from herdwise.serving.retrying import another_round, before_fallback, soonest_s, when_nobody_is_left
from herdwise.serving.service import Service
from herdwise.serving.threads import Threads

logger = logging.getLogger(__name__)

#: Sends chunks that came together to the client; awaits while the client is slow.
Deliver = Callable[[Course, LiveAsk, Sequence[Chunk]], Awaitable[None]]

#: A policy that has not finished after so many steps never will.
_MOST_STEPS = 1000
#: How long closing upstream calls may take.
_CLOSE_S = 5.0

_CONTINUE = (
    "Your answer above broke off. Go on exactly where it stops, without repeating anything and without"
    " any remark about it."
)


#: Within a tool loop nobody else is consulted: the calls are one candidate's own.
_IN_TOOL_LOOP = Single()


class Dispatcher:
    """Runs courses for one service. Belongs to one event loop.

    Args:
        service: whose herd is asked.
        before: whose open courses, conversations and room for requests this one shares, and its breakers
            of candidates that are reached by the same backend.
    """

    def __init__(self, service: Service, before: Dispatcher | None = None) -> None:
        self._service = service
        self._herd = service.ranker.herd
        self.open: dict[str, Course] = {} if before is None else before.open
        self.threads: Threads = Threads() if before is None else before.threads
        settings = service.settings
        self._bounds = (settings.max_open_requests, settings.max_waiting, settings.max_wait_s)
        self.gate: Gate = Gate(*self._bounds) if before is None else before.gate
        self._deadlines: Deadlines = Deadlines() if before is None else before._deadlines
        self._agreeing = Agreeing(service.ranker)
        self.health = Breakers(self._herd.names, settings.breaker)
        if before is not None:
            earlier = before._service.backends
            kept = [n for n in before._herd.names if service.backends.get(n) is earlier[n]]
            self.health.succeed(before.health, kept)

    def widen(self) -> None:
        """From now on this service's bounds hold for the requests of all that share the gate."""
        self.gate.change(*self._bounds)

    async def carry_out(self, course: Course, policy: Policy, deliver: Deliver) -> None:
        """Run one course to its end; no ask of it is under way afterwards.

        On return ``course.status`` is "answered" or "failed". Where the client wants a stream, the
        answer's chunks have been delivered; otherwise it stands in ``course.returned.completion``.

        Raises:
            HerdwiseError: when the policy takes a step that cannot be carried out.
            asyncio.CancelledError: when the client has gone; every upstream call is closed.
        """
        settings, goals, thread = self._service.settings, course.situation.goals, course.situation.thread
        if thread.tool_loop and policy.consults:
            policy = _IN_TOOL_LOOP
        limit_s = min(settings.request_timeout_s, goals.max_seconds or settings.request_timeout_s)
        if policy.consults:
            # It plans by the limits that hold, so that it ends with an answer before they end it.
            calls = min(settings.max_attempts, goals.max_calls or settings.max_attempts)
            goals = goals.replace(max_calls=calls, max_seconds=limit_s)
            course.situation = replace(course.situation, goals=goals)
        healthy = self.health.healthy(course.situation.admitted)
        if healthy is not None:
            course.situation = replace(course.situation, healthy=healthy)
        self.open[course.id] = course
        try:
            await self._within_time(course, policy, deliver, limit_s)
        except (asyncio.CancelledError, ClientGoneError):
            course.finish("cancelled", "the client went away")
            raise
        except HerdwiseError as error:
            course.finish("failed", error.message)
            raise
        except BaseException:
            course.finish("failed", "internal error")
            raise
        else:
            if course.returned is not None:
                self.threads.note(
                    course.body["messages"], course.session, course.returned.candidate, course.scope
                )
            else:
                course.retry_after_s = soonest_s(course, self.health.due_in, time.perf_counter())
        finally:
            try:
                await self._close(ask for ask in course.asks if ask.status == "open")
            finally:
                del self.open[course.id]

    async def _within_time(self, course: Course, policy: Policy, deliver: Deliver, limit_s: float) -> None:
        course.deadline_at = time.perf_counter() + limit_s
        try:
            with self._deadlines.within(limit_s) as deadline:
                await self._loop(course, policy, deliver)
        except TimeoutError:
            if not deadline.missed:
                raise
            course.timed_out = True
            if not await self._last_word(course, policy, deliver):
                course.finish("failed", f"the request's time ({limit_s:g} s) ran out")

    async def _loop(self, course: Course, policy: Policy, deliver: Deliver) -> None:
        for _ in range(_MOST_STEPS):
            step = policy.step(course.now())
            if isinstance(step, Ask):
                # A policy that consults plans by the USD itself, and ends with an answer that it has.
                refusal = self._refusal(course, len(step.candidates), count_usd=not policy.consults)
                if refusal is not None:
                    course.finish("failed", refusal)
                    return
                self._prepare(course, step)
            elif isinstance(step, Wait):
                await self._wait(course, step, deliver)
                if _broken(course):
                    course.finish("failed", "the answer broke off after a part of it had been delivered")
                    return
            elif isinstance(step, Cancel):
                await self._close(course.asks[number] for number in step.asks)
                course.note_cut_off()
            elif step.answer is not None or not (
                self._retried(course, policy) or self._goes_round(course, policy)
            ):
                await self._finish(course, step, deliver)
                return
        raise HerdwiseError(f"policy {course.policy!r} did not finish within {_MOST_STEPS} steps.")

    async def _last_word(self, course: Course, policy: Policy, deliver: Deliver) -> bool:
        """At the deadline: a policy that has consulted ends with what it heard. Whether it did."""
        await self._close(ask for ask in course.asks if ask.status == "open")
        course.note_cut_off()
        if not policy.consults or course.returned is not None:
            return False
        step = policy.step(course.now())
        if not isinstance(step, Finish) or step.answer is None:
            return False
        await self._finish(course, step, deliver)
        return True

    def _retried(self, course: Course, policy: Policy) -> bool:
        """The policy knows of nobody else: whether somebody who failed is asked again."""
        if not course.failures or self._refusal(course, 1, count_usd=True) is not None:
            return False
        chosen = when_nobody_is_left(course, self._service.settings.retry, time.perf_counter())
        if chosen is None:
            return False
        ask, due_at = chosen
        step = self._anew(course, policy, [ask])
        if step is None:
            return False
        for again in self._prepare(course, step):
            again.tries, again.due_at = ask.tries + 1, due_at
        return True

    def _goes_round(self, course: Course, policy: Policy) -> bool:
        """Nobody is left to be asked again alone: whether all who may recover are, once more."""
        if self._refusal(course, 1, count_usd=True) is not None:
            return False
        chosen = another_round(course, self._service.settings.retry, time.perf_counter())
        if chosen is None:
            return False
        asks, begins_at = chosen
        before = course.situation
        # Who is healthy has changed since the request began, or else it would not have come to this.
        course.situation = replace(before, healthy=self.health.healthy(before.admitted))
        step = self._anew(course, policy, asks)
        if step is None or self._refusal(course, len(step.candidates), count_usd=True) is not None:
            course.situation = before
            return False
        course.rounds += 1
        for ask in asks:
            ask.round = ask.round or course.rounds
        for again in self._prepare(course, step):
            again.due_at = begins_at
        return True

    def _anew(self, course: Course, policy: Policy, asks: Sequence[LiveAsk]) -> Ask | None:
        """The policy forgets that some failed, and says how their candidates are to be asked, if at all."""
        failures, numbers = course.failures, {ask.number for ask in asks}
        # What was delivered of them stands: it is gone on with, or begun anew with a word to the client.
        course.failures = [
            replace(one, candidate=NOBODY) if one.ask in numbers else one
            for one in failures
            if one.ask not in numbers or one.delivered
        ]
        heard = [ask for ask in asks if not ask.taken_back]
        for ask in heard:
            ask.taken_back = True
        step = policy.step(course.now())
        if (
            isinstance(step, Ask)
            and {ask.position for ask in asks}.issuperset(step.candidates)
            and (course.delivered is None or step.continue_from is not None)
        ):
            return step
        for ask in heard:
            ask.taken_back = False
        course.failures = failures
        return None

    def _refusal(self, course: Course, more: int, *, count_usd: bool) -> str | None:
        """Why the request's limits let nobody else be asked; None = they do."""
        goals, limit = course.situation.goals, self._service.settings.max_attempts
        if goals.max_calls is not None:
            limit = min(limit, goals.max_calls)
        if course.calls + more > limit:
            return f"the request may ask {limit} times at most"
        if count_usd and goals.max_total_usd is not None and course.asks:
            spent_usd = course.spent_usd()
            if spent_usd is None or spent_usd >= goals.max_total_usd:
                spent = "unknown" if spent_usd is None else f"{spent_usd:g} USD"
                return f"{spent} of {goals.max_total_usd:g} USD is spent"
        return None

    def _prepare(self, course: Course, step: Ask) -> list[LiveAsk]:
        if step.deliver:
            _refuse_second_delivery(course, step)
        body = _body(course, step)
        # Within a round everybody is asked once.
        tries = 1 if not course.rounds else 1 + self._service.settings.retry.retries
        prepared: list[LiveAsk] = []
        for position in step.candidates:
            ask = LiveAsk(
                number=len(course.asks) + len(prepared),
                position=position,
                candidate=self._herd[position].name,
                body=body,
                deliver=step.deliver,
                continues=step.continue_from,
                propensity=step.propensity,
                tries=tries,
            )
            prepared.append(ask)
        course.asks += prepared
        return prepared

    async def _wait(self, course: Course, step: Wait, deliver: Deliver) -> None:
        """Until an ask ends, or the deadline."""
        live = [ask for ask in course.asks if ask.status == "open"]
        limit_s = None
        if step.until_s is not None:
            limit_s = max(0.0, step.until_s - (time.perf_counter() - course.started_at))
        if not live and limit_s is None:
            raise HerdwiseError(f"policy {course.policy!r} waits, but nothing is under way.")
        course.waiting_since = time.perf_counter()
        try:
            if not live:
                await asyncio.sleep(limit_s or 0.0)
            elif len(live) == 1 and limit_s is None and live[0].task is None:
                # One ask and no deadline is the common case: it needs no task of its own.
                await self._run(course, live[0], deliver)
                self._settle(course, live[0])
            else:
                for ask in live:
                    if ask.task is None:
                        ask.task = asyncio.create_task(self._run(course, ask, deliver))
                tasks = {ask.task: ask for ask in live if ask.task is not None}
                done, _ = await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if not task.cancelled():  # one that was outrun tells nothing
                        task.result()
                for ask in sorted((tasks[task] for task in done), key=lambda a: a.number):
                    self._settle(course, ask)
        finally:
            course.waited_s += time.perf_counter() - course.waiting_since
            course.waiting_since = None

    async def _run(self, course: Course, ask: LiveAsk, deliver: Deliver) -> None:
        backend = self._service.backends[ask.candidate]
        if ask.due_at is not None:
            await _until_due(ask)
        if course.trace is not None:
            ask.span_id = course.trace.pass_on()
        trial = self.health.begin(ask.candidate)
        joint = Joint(ask.continues) if course.stream and ask.continues is not None else None

        async def send(chunks: Sequence[Chunk]) -> None:
            if len(course.asks) > 1:
                self._outrun(course, ask)
            if joint is not None:
                chunks = [piece for chunk in chunks for piece in joint.fit(chunk)]
            if chunks:
                await deliver(course, ask, chunks)

        try:
            await run_ask(
                ask,
                backend,
                stream=course.stream,
                deliver=send if ask.deliver else None,
                hold_calls=self._service.settings.hold_tool_calls,
            )
        finally:
            if trial and ask.status == "cancelled":
                self.health.abandon(ask.candidate)
        if joint is not None and ask.delivered:
            if rest := joint.rest():
                await deliver(course, ask, rest)
            ask.dropped = joint.dropped
        if self._service.settings.run_code_tests and ask.status == "answered" and not ask.deliver:
            await self._test(course, ask)

    async def _test(self, course: Course, ask: LiveAsk) -> None:
        """Run the answer's program; the ask is under way until it is known what that comes to."""
        ask.status = "open"
        try:
            ask.verdict = await tested(course.situation.query, ask.text)
        except asyncio.CancelledError:
            ask.status = "cancelled"
            raise
        ask.status = "answered"

    def _outrun(self, course: Course, ask: LiveAsk) -> None:
        """The first of several that may deliver has something to say: the others are closed unheard.

        Nothing is awaited here, so that no other can begin to deliver in between.
        """
        for other in course.asks:
            if other is not ask and other.deliver and other.status == "open" and other.task is not None:
                other.task.cancel()

    def _settle(self, course: Course, ask: LiveAsk) -> None:
        if ask.status != "cancelled":
            self.health.note(ask.candidate, ask.error)
        if ask.status == "failed" and self._repeated(course, ask):
            return
        if ask.status == "answered" and not ask.deliver:
            self._hear(course, ask)
        else:
            course.settle(ask)

    def _repeated(self, course: Course, ask: LiveAsk) -> bool:
        """Whether a failed ask is tried again at its own candidate before the policy hears of it."""
        settings = self._service.settings.retry
        if not settings.retries or self.health.state(ask.candidate) != "closed":
            return False
        if self._refusal(course, 1, count_usd=True) is not None:
            return False
        return before_fallback(course, ask, settings, time.perf_counter()) is not None

    def _hear(self, course: Course, ask: LiveAsk) -> None:
        """Read a whole answer for the policy; what sinks the reading is that candidate's failure alone."""
        try:
            value, missing = ask.verdict or ask_value(ask, course.situation.query)
            evidence = self._evidence(course, ask, value)
            value, alike = self._agreeing.joined(course, ask, value)
        except Exception:
            logger.exception("an answer of candidate %r could not be read", ask.candidate)
            course.settle(ask, None, "unreadable")
        else:
            course.settle(ask, value, missing, evidence, alike)

    def _evidence(self, course: Course, ask: LiveAsk, value: str | None) -> float:
        """What the answer's own signals say of it, where it has a value and a candidate that is predicted."""
        if value is None or course.origin == "none":
            return 0.0
        signals = ask_signals(ask, value)
        return self._service.ranker.evidence(ask.position, signals, len(ask.text), ask.usage.output_tokens)

    async def _finish(self, course: Course, step: Finish, deliver: Deliver) -> None:
        if step.answer is None:
            course.finish("failed", step.reason)
            return
        ask = course.asks[step.answer]
        if ask.status != "answered":
            raise HerdwiseError(f"policy {course.policy!r} finished with an ask that has no answer.")
        await self._close(other for other in course.asks if other.status == "open")
        if course.stream and not ask.delivered:
            if course.delivered is not None:
                raise HerdwiseError(f"policy {course.policy!r} delivered one answer and returned another.")
            course.returned = ask  # from here on nothing else can be returned
            await deliver(course, ask, ask.chunks)
        course.finish("answered", step.reason, ask)

    async def _close(self, asks: Any) -> None:
        """End asks that are under way; their upstream calls are closed when this returns."""
        ending = [ask for ask in asks if ask.status == "open"]
        tasks = [ask.task for ask in ending if ask.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=_CLOSE_S)
            if stuck:
                names = ", ".join(sorted(ask.candidate for ask in ending if ask.task in stuck))
                raise HerdwiseError(f"the calls to {names} could not be closed within {_CLOSE_S:g} s.")
        for ask in ending:
            if ask.status == "open":  # its task was cancelled before it ran, or it had none
                ask.end("cancelled")


async def _until_due(ask: LiveAsk) -> None:
    """Wait before a retry."""
    try:
        await asyncio.sleep((ask.due_at or 0.0) - time.perf_counter())
    except asyncio.CancelledError:
        ask.end("cancelled")
        raise


def _broken(course: Course) -> bool:
    """Whether a failed ask left the client with what text can't continue, such as half a tool call."""
    last = next((ask for ask in reversed(course.asks) if ask.status == "failed" and ask.delivered), None)
    if last is None or last is not course.delivered:
        return False
    several = isinstance(n := course.body.get("n"), int) and n > 1
    return several or last.beyond_text


def _refuse_second_delivery(course: Course, step: Ask) -> None:
    if any(ask.status == "open" and ask.delivered for ask in course.asks):
        raise HerdwiseError(f"policy {course.policy!r} would deliver two answers at once.")
    if course.stream and course.delivered is not None and step.continue_from is None:
        raise HerdwiseError(f"policy {course.policy!r} would deliver a second answer after part of a first.")


def _body(course: Course, step: Ask) -> Mapping[str, Any]:
    """The request for this step's asks; the client's own object where nothing is changed."""
    if step.messages is None and step.sampling is None and not step.continue_from:
        return course.body
    body = dict(course.body)
    messages: Sequence[Any] = list(step.messages) if step.messages is not None else body["messages"]
    if step.continue_from:
        # Works with every chat API; only some can be made to go on from a last assistant message.
        messages = [
            *messages,
            {"role": "assistant", "content": step.continue_from},
            {"role": "user", "content": _CONTINUE},
        ]
    body |= {"messages": messages, **(step.sampling or {})}
    out = [key for key, value in (step.sampling or {}).items() if value is None]
    return {key: value for key, value in body.items() if key not in out}
