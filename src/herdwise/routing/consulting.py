"""What policies that look at answers have in common: beliefs, costs, budgets, whose answer is returned."""

from __future__ import annotations

import math

import numpy as np

from herdwise.answers.similar import medoid
from herdwise.core.decision import COST_KINDS, CostKind
from herdwise.routing.base import Answer, Belief, Cancel, Finish, Situation, Step
from herdwise.routing.free_votes import FreeVotes, free_only
from herdwise.routing.plain_votes import PlainVotes
from herdwise.routing.weighing import weighed


def belief_of(situation: Situation) -> Belief:
    """The learned belief; without one, plain votes by predicted quality; of free texts, the trust in each."""
    if free_only(situation.answers):
        return FreeVotes.of(situation.estimates.quality, situation.answers)
    if situation.belief is not None:
        return situation.belief
    return weighed(PlainVotes.of(situation), situation.answers)


def cost_of(situation: Situation, kind: CostKind) -> np.ndarray:
    """Cost of one ask by each candidate in the unit of ``kind``, ``(m,)``, NaN = unknown."""
    if kind == "usd":
        return situation.estimates.cost_usd
    if kind == "latency":
        return situation.estimates.latency_s
    if kind == "active_params":
        return situation.herd.column(lambda c: c.active_params_b)
    return np.ones(len(situation.herd))


def known_cost(situation: Situation) -> np.ndarray:
    """Cost of one ask in the goals' unit, else in the first unit that is known of everybody admitted."""
    for kind in (situation.goals.cost_kind, *COST_KINDS):
        cost = cost_of(situation, kind)
        if np.isfinite(cost[situation.admitted]).all():
            return cost
    return np.ones(len(situation.herd))


def asked(situation: Situation) -> set[int]:
    """Candidates that were asked, but for those whose asks were cancelled (see ``winding_up``)."""
    return set(_courses(situation))


def _courses(situation: Situation) -> list[int]:
    """The candidate of each ask that is known of."""
    heard = [answer.candidate for answer in situation.answers]
    return heard + [f.candidate for f in situation.failures] + [a.candidate for a in situation.in_flight]


def winding_up(situation: Situation) -> bool:
    """Whether the end has begun: asks were cancelled, which these policies do only to finish."""
    return situation.spent.calls > len(_courses(situation))


def spent_of(situation: Situation, cost: np.ndarray) -> float:
    """What all asks so far cost by ``cost``, ``(m,)``."""
    return float(sum(cost[candidate] for candidate in _courses(situation)))


def open_candidates(situation: Situation) -> np.ndarray:
    """Who may be asked next, ``(k,)`` positions in the herd's order.

    Admitted, not asked before, within what is left of every budget; healthy ones only, while there are any.
    """
    free = np.array(situation.admitted, dtype=bool)
    free[list(asked(situation))] = False
    goals = situation.goals
    if calls_left(situation) <= 0 or (goals.max_seconds is not None and situation.now_s >= goals.max_seconds):
        return np.zeros(0, dtype=np.int64)
    if goals.max_total_usd is not None:
        free &= situation.estimates.cost_usd <= usd_left(situation)  # an unknown cost fits no budget
    if goals.max_seconds is not None:
        # A latency that is unknown is no reason: the deadline itself ends the wait.
        free &= ~(situation.now_s + situation.estimates.latency_s > goals.max_seconds)
    if situation.healthy is not None and (free & situation.healthy).any():
        free &= situation.healthy
    return np.flatnonzero(free)


def calls_left(situation: Situation) -> float:
    """How many more asks ``goals.max_calls`` allows."""
    limit = situation.goals.max_calls
    return math.inf if limit is None else limit - situation.spent.calls


def usd_left(situation: Situation) -> float:
    """What ``goals.max_total_usd`` leaves, asks under way counted as predicted; -inf when nobody can tell."""
    limit = situation.goals.max_total_usd
    if limit is None:
        return math.inf
    predicted = situation.estimates.cost_usd
    spent = situation.spent.usd
    if spent is None:
        # What a broken call cost is on no bill: what was predicted of it stands in.
        bills = [predicted[a.candidate] if a.cost_usd is None else a.cost_usd for a in situation.answers]
        spent = float(sum(bills) + sum(predicted[f.candidate] for f in situation.failures))
    spent += float(sum(predicted[ask.candidate] for ask in situation.in_flight))
    return limit - spent if math.isfinite(spent) else -math.inf


def affordable(situation: Situation, order: list[int]) -> list[int]:
    """The first of ``order`` that may be asked at once, together within the budgets."""
    chosen: list[int] = []
    calls, usd = calls_left(situation), usd_left(situation)
    for position in order:
        cost = float(situation.estimates.cost_usd[position])
        if len(chosen) >= calls or (math.isfinite(usd) and not cost <= usd):
            break
        chosen.append(position)
        usd -= cost if math.isfinite(usd) else 0.0
    return chosen


def over(situation: Situation) -> str:
    """Why nobody is to be asked or waited for any more; "" while that may go on."""
    limit = situation.goals.max_seconds
    if limit is not None and situation.now_s >= limit:
        return "the request's time is over"
    return "the rest were let go" if winding_up(situation) else ""


def by_quality(situation: Situation, positions: np.ndarray) -> list[int]:
    """Positions, the best utility first, the earlier in the herd among equals."""
    order = np.argsort(-situation.utility[positions], kind="stable")
    return [int(p) for p in positions[order]]


def by_cost(situation: Situation, positions: np.ndarray) -> list[int]:
    """Positions, the cheapest first, the better among equals."""
    keys = np.lexsort((-situation.estimates.quality[positions], known_cost(situation)[positions]))
    return [int(p) for p in positions[keys]]


def settle(situation: Situation, belief: Belief, why: str, value: str | None = None) -> Step:
    """End the request with the likeliest answer, or one of ``value``; who is under way is let go first.

    Of texts that were compared the one is returned that the most trusted are most like. Else it is the
    answer of the candidate of best predicted quality among those that gave that value;
    where no answer has a value the most trusted one, and where there is no answer a declining text.
    """
    if situation.in_flight:
        return Cancel(tuple(ask.ask for ask in situation.in_flight))
    quality = situation.estimates.quality
    if situation.answers:
        if value is None and any(answer.alike for answer in situation.answers):
            chosen = _standing_for_all(situation, belief)
            return Finish(chosen.ask, f"{why}: {situation.herd[chosen.candidate].name}'s text stands for all")
        value = belief.best()[0] if value is None else value
        gave = [a for a in situation.answers if value is not None and a.value == value]
        chosen = max(gave or situation.answers, key=lambda a: (_number(quality[a.candidate]), -a.ask))
        return Finish(chosen.ask, f"{why}: {situation.herd[chosen.candidate].name} answers")
    last = [failure for failure in situation.failures if failure.returnable]
    if last:
        best = max(last, key=lambda f: (_number(quality[f.candidate]), -f.ask))
        return Finish(best.ask, f"nobody gave an answer: {situation.herd[best.candidate].name}'s text stands")
    return Finish(None, "every admitted candidate failed" if situation.failures else why)


def _standing_for_all(situation: Situation, belief: Belief) -> Answer:
    """The medoid of the answers, weighted by the trust in each; equal values are fully alike."""
    answers, n = situation.answers, len(situation.answers)
    cosine = np.eye(n)
    for i, answer in enumerate(answers):
        for j, earlier in enumerate(answers[:i]):
            same = answer.value is not None and answer.value == earlier.value
            likeness = 1.0 if same else answer.alike[j] if j < len(answer.alike) else 0.0
            cosine[i, j] = cosine[j, i] = likeness
    return answers[medoid(cosine, np.array([belief.trust(answer.candidate) for answer in answers]))]


def _number(value: float) -> float:
    return float(value) if math.isfinite(value) else -math.inf
