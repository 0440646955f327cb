"""Every registered policy keeps the contract, whatever the herd answers."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.query import Query
from herdwise.routing.base import (
    POLICIES,
    Answer,
    Ask,
    Cancel,
    Failure,
    Finish,
    InFlight,
    Policy,
    Situation,
    Spent,
    Wait,
)
from herdwise.routing.hearing import hear
from herdwise.routing.plain_votes import PlainVotes

SEEDS = range(60)
VALUES = ("A", "B", "C", None)

#: Beside each policy's defaults: options that take it down its other paths.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "cascade": [{"threshold": 0.95}, {"order": "cost"}, {"order": "utility", "most": 2}],
    "vote": [{"k": 1}, {"k": 9, "enough": 1.0}, {"k": 4, "max_cost": 12.0}],
    "consult": [
        {"min_gain": 0.0},
        {"parallel": 3, "enough": 0.9},
        {"until": 0.9},
        {"by": "ratio", "min_gain": 0.0},
    ],
    "route_then_check": [{"threshold": 1.0, "most": 6}],
    "self_consistency": [{"samples": 1}, {"samples": 3, "candidate": "c0"}],
    "merge": [{"candidate": "c0"}, {"candidate": "c0", "k": 2, "enough": 0.5}],
}
EVERY = [
    (name, options)
    for name in POLICIES.names()
    for options in ({}, *OPTIONS.get(name, []))
    if POLICIES.create(name, **options).configured
]
every_policy = pytest.mark.parametrize(("name", "options"), EVERY, ids=str)


@dataclass
class Course:
    """One request with a herd that answers, fails, dawdles and overcharges at random."""

    policy: Policy
    opening: Situation
    chance: random.Random
    asks: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    in_flight: list[InFlight] = field(default_factory=list)
    ends: dict[int, float] = field(default_factory=dict)
    usd: float = 0.0
    now_s: float = 0.0
    belief: Any = None

    def run(self) -> Finish:
        self.belief = self.opening.belief
        for _ in range(400):
            situation = self.situation()
            before = copy.deepcopy(situation)
            step = self.policy.step(situation)
            assert step == self.policy.step(situation), "the same situation, another step"
            assert same(before, situation), "a policy changed what it was told"
            if isinstance(step, Finish):
                return step
            if isinstance(step, Ask):
                self.ask(step)
            elif isinstance(step, Wait):
                self.wait(step)
            else:
                assert isinstance(step, Cancel)
                assert step.asks
                self.in_flight = [ask for ask in self.in_flight if ask.ask not in step.asks]
        raise AssertionError("it never finishes")

    def situation(self) -> Situation:
        return replace(
            self.opening,
            answers=tuple(self.answers),
            failures=tuple(self.failures),
            in_flight=tuple(self.in_flight),
            spent=Spent(self.usd, self.now_s, len(self.asks)),
            now_s=self.now_s,
            belief=self.belief,
        )

    def ask(self, step: Ask) -> None:
        goals, predicted = self.opening.goals, self.opening.estimates.cost_usd
        assert step.candidates
        assert self.policy.resamples or len(set(step.candidates)) == len(step.candidates)
        if goals.max_calls is not None:
            assert len(self.asks) + len(step.candidates) <= goals.max_calls
        if goals.max_seconds is not None:
            assert self.now_s < goals.max_seconds
        # Together within the budget as predicted: only what a call costs beyond its prediction can exceed it.
        if goals.max_total_usd is not None and self.policy.consults:
            under_way = sum(predicted[ask.candidate] for ask in self.in_flight)
            assert self.usd + under_way + sum(predicted[list(step.candidates)]) <= goals.max_total_usd + 1e-9
        for candidate in step.candidates:
            assert self.opening.admitted[candidate], "it asks who is not admitted"
            assert self.policy.resamples or candidate not in self.asks, "it asks whom it asked"
            number = len(self.asks)
            self.asks.append(candidate)
            self.ends[number] = self.now_s + self.chance.choice((0.1, 0.5, 3.0))
            self.in_flight.append(InFlight(number, candidate, self.now_s, step.deliver))

    def wait(self, step: Wait) -> None:
        assert self.in_flight or step.until_s is not None, "it waits for nothing"
        first = min(self.in_flight, key=lambda ask: self.ends[ask.ask], default=None)
        if first is None or (step.until_s is not None and self.ends[first.ask] > step.until_s):
            assert step.until_s is not None
            assert step.until_s > self.now_s, "it waits for what is over"
            self.now_s = step.until_s
            return
        self.in_flight.remove(first)
        self.now_s = max(self.now_s, self.ends[first.ask])
        cost = float(self.opening.estimates.cost_usd[first.candidate]) * self.chance.choice((0.5, 1.0, 1.0))
        if self.chance.random() < 0.25:
            self.failures.append(
                Failure(first.ask, first.candidate, self.chance.choice(("timeout", "overloaded")))
            )
            return
        self.usd += cost
        value = self.chance.choice(VALUES)
        if first.delivering:
            self.answers.append(Answer(first.ask, first.candidate, "text", value, cost_usd=cost))
            return
        heard, self.belief = hear(
            self.belief, self.answers, first.ask, first.candidate,
            value=value, missing="" if value else "refused", text="text", cost_usd=cost,
        )  # fmt: skip
        (self.answers if isinstance(heard, Answer) else self.failures).append(heard)  # type: ignore[attr-defined]


def same(a: Situation, b: Situation) -> bool:
    plain = ("answers", "failures", "in_flight", "spent", "now_s", "removed", "goals")
    arrays = ("admitted", "utility", "healthy")
    return all(getattr(a, f) == getattr(b, f) for f in plain) and all(
        np.array_equal(getattr(a, f), getattr(b, f), equal_nan=f != "healthy") for f in arrays
    )


def opening(chance: random.Random, *, learned: bool, **limits: Any) -> Situation:
    m = chance.randint(1, 7)
    draw = np.random.default_rng(chance.randint(0, 10**6))
    quality, cost = draw.uniform(0.05, 0.95, m), draw.choice([0.5, 1.0, 8.0], m)
    admitted = draw.random(m) < 0.8
    admitted[int(draw.integers(m))] = True
    herd = Herd(Candidate(f"c{j}", active_params_b=float(cost[j])) for j in range(m))
    weight = chance.choice((0.0, 0.01, 0.2))
    return Situation(
        query=Query("q"),
        herd=herd,
        estimates=Estimates(quality, None, cost, draw.uniform(0.1, 3.0, m), np.full(m, np.nan)),
        goals=Goals(cost_weight=weight, cost_kind="usd", **limits),
        admitted=admitted,
        removed={},
        utility=np.where(admitted, quality - weight * cost, -np.inf),
        healthy=chance.choice((None, draw.random(m) < 0.7)),
        belief=PlainVotes(quality) if learned else None,
    )


def courses(name: str, options: dict[str, Any], **limits: Any) -> list[tuple[Course, Finish]]:
    policy = POLICIES.create(name, **options)
    found = []
    for seed in SEEDS:
        chance = random.Random(seed)
        learned = policy.needs_belief or chance.random() < 0.5
        course = Course(policy, opening(chance, learned=learned, **limits), chance)
        found.append((course, course.run()))
    return found


@every_policy
def test_a_policy_finishes_under_any_course_and_asks_nobody_twice_but_for_samples(
    name: str, options: dict[str, Any]
) -> None:
    for course, finish in courses(name, options):
        answered = {answer.ask for answer in course.answers}
        returnable = {failure.ask for failure in course.failures if failure.returnable}
        if finish.answer is not None:
            assert finish.answer in answered | returnable
            assert finish.answer in answered or not answered, "a declining text although there is an answer"
        else:
            assert not answered
        assert finish.reason


@every_policy
def test_a_request_succeeds_while_one_admitted_candidate_can_answer(
    name: str, options: dict[str, Any]
) -> None:
    if "max_cost" in options:
        pytest.skip("a limit on the ballots' cost may leave the only willing candidate out")
    for course, finish in courses(name, options):
        if finish.answer is None and options.get("most") is None:
            assert set(course.asks) == set(np.flatnonzero(course.opening.admitted).tolist())


@every_policy
def test_no_call_is_made_beyond_the_budget_of_calls(name: str, options: dict[str, Any]) -> None:
    for limit in (1, 3):
        assert all(len(course.asks) <= limit for course, _ in courses(name, options, max_calls=limit))


@every_policy
def test_usd_exceed_the_budget_by_no_more_than_the_call_under_way(name: str, options: dict[str, Any]) -> None:
    if not POLICIES.create(name, **options).consults:
        pytest.skip("asks one candidate; who may be asked is for the constraints to say")
    for course, _ in courses(name, options, max_total_usd=3.0):
        dearest = max((float(course.opening.estimates.cost_usd[c]) for c in course.asks), default=0.0)
        assert course.usd <= 3.0 + dearest


@every_policy
def test_nobody_is_asked_or_waited_for_beyond_the_seconds_given(name: str, options: dict[str, Any]) -> None:
    if not POLICIES.create(name, **options).consults:
        pytest.skip("the dispatcher's own deadline ends it")
    for course, _ in courses(name, options, max_seconds=0.7):
        assert course.now_s <= 0.7
        assert not course.in_flight, "asks are left under way"


@every_policy
def test_options_build_the_same_policy_again(name: str, options: dict[str, Any]) -> None:
    policy = POLICIES.create(name, **options)
    again = POLICIES.create(name, **policy.options())
    assert again.options() == policy.options()
    assert policy.options().keys() >= options.keys()
    for variant in policy.spectrum(7):
        assert type(variant) is type(policy)
        assert variant.options() == POLICIES.create(name, **variant.options()).options()
