"""Replay: carry out a policy's Steps against recorded outcomes.

The policy is called as ``serving/dispatch`` calls it: at the start, after each of its own Steps, and after
every event, until it returns Finish. Time is simulated from the recorded latencies; where none was
recorded an answer comes back at once, in the order of asking. What an answer says reaches the policy
through ``routing.hearing``, as it does live. A candidate that is asked again gives its next recorded sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from herdwise.core.errors import HerdwiseError, InputError
from herdwise.routing.base import (
    Answer,
    Ask,
    Belief,
    Cancel,
    Failure,
    Finish,
    InFlight,
    Policy,
    Situation,
    Spent,
    Step,
    Wait,
)
from herdwise.routing.hearing import hear

#: A policy that has not finished after this many Steps on one query never will.
MAX_STEPS = 1000

#: Gives the opening situation of the query at a position; None = refused, nobody meets the constraints.
Openings = Callable[[int], Situation | None]


@dataclass(frozen=True, slots=True)
class Records:
    """What may be revealed to a policy, columns in the order of the situations' herd.

    Args:
        ran: ``(n, m)`` bool, whether the pair has an outcome; one without is a failure ("not_run").
        answers: ``(n, m)`` extracted answers, str or None, or None when none were recorded.
        cost_usd, latency_s: ``(n, m)``, NaN = unknown.
        evidence: ``(n, m)`` log-odds that the answers' signals add, None = nothing is known of them.
        quality: ``(n, m)`` of these very answers, where the pairs' quality is a mean over several samples.
        again: what the second and later asks of one candidate give, in order.
    """

    ran: np.ndarray
    answers: np.ndarray | None
    cost_usd: np.ndarray
    latency_s: np.ndarray
    evidence: np.ndarray | None = None
    quality: np.ndarray | None = None
    again: tuple[Records, ...] = ()

    def take(self, rows: np.ndarray) -> Records:
        """The records of some queries."""
        return Records(
            self.ran[rows],
            None if self.answers is None else self.answers[rows],
            self.cost_usd[rows],
            self.latency_s[rows],
            None if self.evidence is None else self.evidence[rows],
            None if self.quality is None else self.quality[rows],
            tuple(each.take(rows) for each in self.again),
        )

    def of_ask(self, before: int) -> Records | None:
        """What an ask gives of a candidate that was asked ``before`` times; None = no such sample."""
        if before == 0:
            return self
        return self.again[before - 1] if before <= len(self.again) else None


@dataclass(frozen=True, slots=True)
class Replay:
    """What a policy did on ``n`` queries.

    Args:
        answered: ``(n,)`` column of the candidate whose answer was returned, -1 = nobody's.
        asks: ``(n, m)`` how often each candidate was asked, cancelled and failed asks included.
        own: ``(n,)`` quality of that very answer where ``Records`` know it, NaN where only the pair's is.
        confidence: ``(n,)`` P(the returned answer is right) as the belief has it at the end, NaN where
            there is no belief; None when nobody asked for it.
    """

    answered: np.ndarray
    asks: np.ndarray
    confidence: np.ndarray | None = None
    own: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Replay:
        """What was done on some of the queries."""
        sure = None if self.confidence is None else self.confidence[rows]
        own = None if self.own is None else self.own[rows]
        return Replay(self.answered[rows], self.asks[rows], sure, own)

    @property
    def calls(self) -> np.ndarray:
        """Asks per query, ``(n,)``."""
        return np.asarray(self.asks.sum(axis=1))

    def quality(self, quality: np.ndarray) -> np.ndarray:
        """Recorded quality of the returned answers, ``(n,)``; NaN where there is none, never 0 or 1."""
        picked = quality[np.arange(len(self.answered)), self.answered].astype(np.float64)
        if self.own is not None:
            picked = np.where(np.isfinite(self.own), self.own, picked)
        return np.where(self.answered >= 0, picked, np.nan)

    def cost(self, cost: np.ndarray) -> np.ndarray:
        """Cost per query summed over its asks, ``(n,)``; NaN where some asked candidate's is unknown.

        A cancelled ask counts in full: what it had used by then is not on record.
        """
        return np.asarray(np.where(self.asks > 0, self.asks * cost, 0.0).sum(axis=1))


def replay(policy: Policy, openings: Openings, records: Records) -> Replay:
    """Carry out ``policy`` on every query.

    Raises:
        InputError: when the policy asks what no record can answer (see ``Policy.replayable``), or for
            samples that were not recorded.
        HerdwiseError: when the policy breaks the contract: waits for nothing, never finishes, or returns
            an answer that it does not have.
    """
    if not policy.replayable:
        raise InputError(
            f"policy {policy.name!r} cannot be replayed: it puts messages of its own to a candidate, and no"
            " record holds what would have been answered.",
            remedy="Measure it live, with herdwise serve and herdwise profile over it.",
        )
    if policy.samples_of_one and not records.again:
        raise InputError(
            f"policy {policy.name!r} asks one candidate several times, and these outcomes hold one sample of"
            " each pair.",
            remedy="Record several: herdwise profile --samples 5 --temperature 0.7.",
        )
    n, m = records.ran.shape
    answered = np.full(n, -1, dtype=np.int64)
    asks = np.zeros((n, m), dtype=np.int64)
    confidence, own = np.full(n, np.nan), np.full(n, np.nan)
    for row in range(n):
        opening = openings(row)
        if opening is None:
            continue
        course = _Course(records, row)
        answered[row], sample = course.run(policy, opening)
        returned = records.of_ask(sample)
        if answered[row] >= 0 and returned is not None and returned.quality is not None:
            own[row] = returned.quality[row, answered[row]]
        confidence[row] = course.confidence(int(answered[row]))
        for candidate in course.asked:
            asks[row, candidate] += 1
    return Replay(answered, asks, confidence, own)


class _Course:
    """One query's course."""

    __slots__ = (
        *("answers", "asked", "belief", "ends", "failures", "in_flight"),
        *("now_s", "records", "row", "usd"),
    )

    def __init__(self, records: Records, row: int) -> None:
        self.records, self.row = records, row
        self.asked: list[int] = []
        self.answers: list[Answer] = []
        self.failures: list[Failure] = []
        self.in_flight: list[InFlight] = []
        self.ends: dict[int, float] = {}
        self.now_s = 0.0
        self.usd: float | None = 0.0
        self.belief: Belief | None = None

    def run(self, policy: Policy, opening: Situation) -> tuple[int, int]:
        """Steps until Finish; the column of whose answer was returned, -1 for nobody's, and its sample."""
        situation = opening
        self.belief = opening.belief
        for _ in range(MAX_STEPS):
            step = policy.step(situation)
            if isinstance(step, Finish):
                return self._finish(step, policy)
            self._carry_out(step, policy)
            situation = self._after(opening)
        raise HerdwiseError(f"policy {policy.name!r} did not finish within {MAX_STEPS} steps.")

    def _after(self, opening: Situation) -> Situation:
        # Spelled out: dataclasses.replace takes ten times as long, a fifth of a whole sweep.
        return Situation(
            query=opening.query,
            herd=opening.herd,
            estimates=opening.estimates,
            goals=opening.goals,
            admitted=opening.admitted,
            removed=opening.removed,
            utility=opening.utility,
            answers=tuple(self.answers),
            in_flight=tuple(self.in_flight),
            failures=tuple(self.failures),
            spent=Spent(usd=self.usd, seconds=self.now_s, calls=len(self.asked)),
            healthy=opening.healthy,
            thread=opening.thread,
            now_s=self.now_s,
            seed=opening.seed,
            belief=self.belief,
        )

    def _carry_out(self, step: Step, policy: Policy) -> None:
        if isinstance(step, Ask):
            self._ask(step)
        elif isinstance(step, Wait):
            self._wait(step, policy)
        elif isinstance(step, Cancel):
            self.in_flight = [ask for ask in self.in_flight if ask.ask not in step.asks]
        else:
            raise HerdwiseError(f"policy {policy.name!r} returned {step!r}, which is no Step.")

    def _ask(self, step: Ask) -> None:
        # The record answers the query as it was asked: it holds nothing for other messages.
        changed = step.messages is not None or step.continue_from is not None
        for candidate in step.candidates:
            number = len(self.asked)
            records = self.records.of_ask(self.asked.count(candidate))
            self.asked.append(candidate)
            if changed or records is None or not records.ran[self.row, candidate]:
                why = "no record of an answer to other messages" if changed else "this pair was not run"
                self.failures.append(Failure(number, candidate, kind="not_run", message=why))
                continue
            latency_s = _known(records.latency_s[self.row, candidate])
            self.ends[number] = self.now_s + (0.0 if latency_s is None else latency_s)
            self.in_flight.append(InFlight(number, candidate, self.now_s, step.deliver))

    def _wait(self, step: Wait, policy: Policy) -> None:
        # The earliest end; among equals the one that was asked first.
        first = min(self.in_flight, key=lambda ask: self.ends[ask.ask], default=None)
        if first is not None and (step.until_s is None or self.ends[first.ask] <= step.until_s):
            self.in_flight.remove(first)
            self.now_s = max(self.now_s, self.ends[first.ask])
            self._arrive(first)
        elif step.until_s is not None and step.until_s > self.now_s:
            self.now_s = step.until_s
        else:
            raise HerdwiseError(f"policy {policy.name!r} waits for nothing: no ask ends by {step.until_s} s.")

    def _sample(self, ask: int) -> int:
        """Which of its candidate's samples an ask is."""
        return self.asked[:ask].count(self.asked[ask])

    def _arrive(self, ask: InFlight) -> None:
        records = self.records.of_ask(self._sample(ask.ask)) or self.records
        cost_usd = _known(records.cost_usd[self.row, ask.candidate])
        latency_s = _known(records.latency_s[self.row, ask.candidate])
        self.usd = None if self.usd is None or cost_usd is None else self.usd + cost_usd
        recorded = records.answers
        value = None if recorded is None else recorded[self.row, ask.candidate]
        if ask.delivering:  # the client has it, whatever it says
            self.answers.append(
                Answer(ask.ask, ask.candidate, value=value, latency_s=latency_s, cost_usd=cost_usd)
            )
            return
        heard, self.belief = hear(
            self.belief,
            self.answers,
            ask.ask,
            ask.candidate,
            value=value,
            missing="" if recorded is None or value is not None else "unreadable",
            latency_s=latency_s,
            cost_usd=cost_usd,
            evidence=0.0 if records.evidence is None else float(records.evidence[self.row, ask.candidate]),
        )
        if isinstance(heard, Answer):
            self.answers.append(heard)
        else:
            self.failures.append(heard)

    def _finish(self, step: Finish, policy: Policy) -> tuple[int, int]:
        if step.answer is None:
            return -1, 0
        there = {answer.ask: answer.candidate for answer in self.answers}
        there |= {failure.ask: failure.candidate for failure in self.failures if failure.returnable}
        if step.answer not in there:
            raise HerdwiseError(f"policy {policy.name!r} returned ask {step.answer}, which has no answer.")
        return there[step.answer], self._sample(step.answer)

    def confidence(self, answered: int) -> float:
        """P(right) of the returned answer; NaN where there is no belief."""
        return math.nan if self.belief is None or answered < 0 else self.belief.trust(answered)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
