"""What a virtual key's terms make of a request: whom it may ask, what it may spend, what is held for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.decision import Constraints, Goals
from herdwise.core.errors import NoCandidateError, RequestError
from herdwise.core.money import NANOS_PER_USD
from herdwise.routing.base import Policy, Situation
from herdwise.serving.keyring import VirtualKey
from herdwise.serving.meter import Left, Reservation, period_end

#: Tokens that an answer is taken to have where nothing is predicted and the request sets no limit.
_ASSUMED_OUTPUT_TOKENS = 500


@dataclass(slots=True)
class Pass:
    """What a virtual key holds for one request.

    Args:
        key: whose.
        at: Unix time of the request.
        left: in its tightest budget, None = it has no budget.
        held: what is reserved, once it is known who will probably be asked.
    """

    key: VirtualKey
    at: float
    left: Left | None
    held: Reservation | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a request will take.

    Args:
        least_usd: what its first ask is predicted to cost; NaN = unknown.
        most_usd: what all the asks that it may start are predicted to cost; NaN = unknown.
        tokens: what its first ask is predicted to take, input and output.
    """

    least_usd: float
    most_usd: float
    tokens: int


def within(goals: Goals, admitted: Pass, herd: Herd) -> Goals:
    """The goals, narrowed to what a key may do and can still pay."""
    terms, limits = admitted.key.terms, goals.constraints
    changes: dict[str, object] = {}
    if terms.candidates is not None:
        allowed = frozenset(terms.candidates) & frozenset(herd.names)  # others may have left since
        changes["candidates"] = allowed if limits.candidates is None else allowed & limits.candidates
    if admitted.left is not None:
        left_usd = admitted.left.nanos / NANOS_PER_USD
        # Who is predicted to cost more than what is left, or whose cost nobody knows, is not asked.
        changes["max_cost_usd"] = (
            left_usd if limits.max_cost_usd is None else min(left_usd, limits.max_cost_usd)
        )
        total = left_usd if goals.max_total_usd is None else min(left_usd, goals.max_total_usd)
        goals = goals.replace(max_total_usd=total)
    if not changes:
        return goals
    stated = {name: getattr(limits, name) for name in Constraints.__dataclass_fields__}
    return goals.replace(constraints=Constraints(**(stated | changes)))


def too_dear(admitted: Pass | None, error: NoCandidateError) -> RequestError | None:
    """Nobody meets the constraints: whether what is left of the key's budget is why, as an error."""
    if admitted is None or admitted.left is None:
        return None
    if not any(reason.startswith("predicted cost_usd") for reason in error.removed.values()):
        return None
    left, end = admitted.left, period_end(admitted.left.budget.period, admitted.at)
    return RequestError(
        f"{left.nanos / NANOS_PER_USD:g} USD is left of the budget of key {admitted.key.name!r}:"
        " less than any candidate that may answer is predicted to cost.",
        status=429,
        code="insufficient_quota",
        retry_after_s=None if end is None else end - admitted.at,
    )


def check_terms(key: VirtualKey, policy: str, candidate: str | None) -> None:
    """Whether a key may ask so.

    Args:
        key: whose.
        policy: who is to decide.
        candidate: who is to answer, where the request names one.

    Raises:
        RequestError: 403.
    """
    terms = key.terms
    if candidate is not None and terms.candidates is not None and candidate not in terms.candidates:
        raise RequestError(
            f"key {key.name!r} may not ask {candidate!r}.",
            status=403,
            param="model",
            code="candidate_not_allowed",
            remedy=f"It may ask {', '.join(terms.candidates)}.",
        )
    named = "direct" if candidate is not None else policy
    if terms.policies is not None and named not in terms.policies:
        raise RequestError(
            f"key {key.name!r} may not use policy {named!r}.",
            status=403,
            param="model",
            code="policy_not_allowed",
            remedy=f"It may use {', '.join(terms.policies)}.",
        )


def expected(
    situation: Situation, policy: Policy, max_calls: int, max_tokens: int | None, tries: int = 1
) -> Expected:
    """What a request will probably take, by the candidate that ranks best, and at most.

    Args:
        situation: before anybody is asked.
        policy: who decides. One that consults may ask several: the dearest of those admitted, or the
            dearest again and again.
        max_calls: most asks.
        max_tokens: longest answer that the request allows, in tokens.
        tries: how often one candidate may be asked where it fails.
    """
    first = int(np.argmax(situation.utility))
    asked = situation.query.input_tokens
    answer = float(situation.estimates.output_tokens[first])
    if math.isnan(answer):
        answer = float(max_tokens if max_tokens is not None else _ASSUMED_OUTPUT_TOKENS)
    elif max_tokens is not None:
        answer = min(answer, float(max_tokens))
    usd = float(situation.estimates.cost_usd[first])
    if math.isnan(usd):
        price = situation.herd[first].price.cost_usd(asked, answer)
        usd = math.nan if price is None else price
    most_usd = max(_dearest_usd(situation, policy, max_calls, tries), usd) if policy.consults else usd
    return Expected(usd, most_usd, math.ceil(asked + answer))


def _dearest_usd(situation: Situation, policy: Policy, max_calls: int, tries: int) -> float:
    """What the dearest asks that a consultation may start are predicted to cost together.

    Those that fail count too, as nobody knows what they cost: without them a consultation of which some
    failed would end for want of money that its key has.
    """
    costs = situation.estimates.cost_usd[situation.admitted]
    costs = np.sort(costs[np.isfinite(costs)])[::-1]
    if not costs.size:
        return math.nan
    calls = max_calls if situation.goals.max_calls is None else min(max_calls, situation.goals.max_calls)
    return float(costs[0] * calls if policy.resamples else np.repeat(costs, tries)[:calls].sum())
