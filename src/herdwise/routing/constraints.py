"""Who may be asked: constraints of the user and requirements of the query.

A candidate whose value for a constraint is unknown does not meet it. Requirements come with the query:
tools, modalities, a JSON schema and context. An unknown context is taken to hold ``ASSUMED_CONTEXT_TOKENS``.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import NO_LIMITS, Constraints, Estimates, Goals, ResourceKind
from herdwise.core.errors import NoCandidateError, UnknownNameError
from herdwise.core.query import Query

#: What a candidate of unstated context is trusted to hold, prompt and answer together.
ASSUMED_CONTEXT_TOKENS = 2048
#: Room kept for the answer when the query states no limit of its own.
ANSWER_TOKENS = 256


class HerdFacts:
    """The herd's properties as arrays, made once per router and used by every decision."""

    def __init__(self, herd: Herd) -> None:
        self.herd = herd
        self.names = herd.names
        self.params_b = herd.column(lambda c: c.params_b)
        self.active_params_b = herd.column(lambda c: c.active_params_b)
        self.context_tokens = herd.column(lambda c: c.context_tokens)
        self.input_usd_per_mtok = herd.column(lambda c: c.price.input_usd_per_mtok)
        self.output_usd_per_mtok = herd.column(lambda c: c.price.output_usd_per_mtok)
        self.latency_s = herd.column(lambda c: c.latency_s)
        self.released_day = herd.column(lambda c: c.released.toordinal() if c.released else None)
        #: Tokens that prompt and answer may have, unstated ones assumed; and what is left for the prompt of a
        #: query that states no limit: ``ANSWER_TOKENS`` less, half where the context is that small.
        self.context = np.where(np.isnan(self.context_tokens), ASSUMED_CONTEXT_TOKENS, self.context_tokens)
        self.prompt_room = self.context - np.minimum(ANSWER_TOKENS, self.context / 2)
        self.shortest_context = float(self.context.min()) if len(herd) else 0.0
        self.shortest_prompt_room = float(self.prompt_room.min()) if len(herd) else 0.0

    @cached_property
    def all_admitted(self) -> np.ndarray:
        """A read-only mask that admits everybody."""
        mask = np.ones(len(self.herd), dtype=bool)
        mask.flags.writeable = False
        return mask


def admit(
    facts: HerdFacts, query: Query, estimates: Estimates, goals: Goals
) -> tuple[np.ndarray, dict[str, str]]:
    """Who meets every constraint.

    Returns:
        ``(m,)`` bool, and for each candidate removed the constraint that did it.

    Raises:
        UnknownNameError: when constraints or the generalist name a candidate outside the herd.
    """
    limits = goals.constraints
    needs_room, answer_tokens = query.input_tokens, query.max_output_tokens
    shortest = facts.shortest_prompt_room
    if answer_tokens:
        needs_room, shortest = needs_room + answer_tokens, facts.shortest_context
    if (
        (limits is NO_LIMITS or limits == NO_LIMITS)
        and not query.tools
        and not query.modalities
        and not query.json_schema
        and needs_room <= shortest
    ):
        return facts.all_admitted, {}
    removed: dict[str, str] = {}
    admitted = np.ones(len(facts.names), dtype=bool)

    def drop(position: int, reason: str) -> None:
        if admitted[position]:
            admitted[position] = False
            removed[facts.names[position]] = reason

    def at_most(values: np.ndarray, limit: float | None, what: str) -> None:
        if limit is None:
            return
        for position in np.flatnonzero(~(values <= limit)).tolist():
            value = values[position]
            drop(position, f"{what} unknown" if np.isnan(value) else f"{what} {value:.4g} > {limit:.4g}")

    def likely_at_most(kind: ResourceKind, limit: float | None) -> None:
        probability = goals.limit_probability
        if limit is None:
            return
        expected = getattr(estimates, kind)
        if probability is None:
            at_most(expected, limit, f"predicted {kind}")
            return
        quantile = estimates.at_most(kind, probability)
        stated = np.isfinite(quantile)
        at_most(np.where(stated, -np.inf, expected), limit, f"predicted {kind}")
        at_most(np.where(stated, quantile, -np.inf), limit, f"predicted {kind} ({probability:g} quantile)")

    if limits.candidates is not None:
        for name in sorted(limits.candidates):
            if name not in facts.herd:
                raise UnknownNameError(
                    f"constraint candidates: {name!r} is not in the herd.",
                    remedy=f"Known: {', '.join(facts.names)}.",
                )
        for position, name in enumerate(facts.names):
            if name not in limits.candidates:
                drop(position, "not among the allowed candidates")
    at_most(facts.params_b, limits.max_params_b, "params_b")
    at_most(facts.active_params_b, limits.max_active_params_b, "active_params_b")
    likely_at_most("cost_usd", limits.max_cost_usd)
    likely_at_most("latency_s", limits.max_latency_s)
    likely_at_most("output_tokens", limits.max_output_tokens)
    for position, candidate in enumerate(facts.herd):
        reason = _property_missed(candidate, limits) or _requirement_missed(candidate, query)
        if reason:
            drop(position, reason)
    context = facts.context
    room = context if answer_tokens else facts.prompt_room
    for position in np.flatnonzero(room < needs_room).tolist():
        known = "" if not np.isnan(facts.context_tokens[position]) else " (unstated, assumed)"
        needed = needs_room + context[position] - room[position]
        drop(position, f"context_tokens {context[position]:.0f}{known} < {needed:.0f} needed")
    return admitted, removed


#: Keys of a candidate that its config may state, by which a requirement is met.
_STATED = ("tools", "json_schema", "modalities")


def _property_missed(candidate: Candidate, limits: Constraints) -> str:
    if limits.open_weights_only and candidate.open_weights is not True:
        return "open_weights unknown" if candidate.open_weights is None else "weights are not open"
    if limits.licences and candidate.licence not in limits.licences:
        return "licence unknown" if candidate.licence is None else f"licence {candidate.licence} not allowed"
    if limits.released_after is not None and (
        candidate.released is None or candidate.released < limits.released_after
    ):
        return (
            "release date unknown"
            if candidate.released is None
            else f"released {candidate.released}, before {limits.released_after}"
        )
    missing = limits.tags - candidate.tags
    return f"lacks tag {', '.join(sorted(missing))}" if missing else ""


def _requirement_missed(candidate: Candidate, query: Query) -> str:
    if query.tools and candidate.tools is not True:
        return "tools unknown" if candidate.tools is None else "cannot call tools"
    if query.json_schema and candidate.json_schema is not True:
        return "json_schema unknown" if candidate.json_schema is None else "cannot keep a JSON schema"
    needed = query.modalities - {"text"}
    if needed and candidate.modalities is None:
        return "modalities unknown"
    missing = needed - (candidate.modalities or frozenset())
    return f"does not take {', '.join(sorted(missing))}" if missing else ""


def refuse_empty(removed: dict[str, str]) -> NoCandidateError:
    """The error for constraints that nobody meets, naming who was removed by what."""
    shown = [f"{name}: {reason}" for name, reason in list(removed.items())[:6]]
    more = f"; and {len(removed) - 6} more" if len(removed) > 6 else ""
    unstated = [key for key in _STATED if any(reason == f"{key} unknown" for reason in removed.values())]
    remedy = "Relax a limit, or state the unknown values of your candidates in the config"
    return NoCandidateError(
        f"no candidate meets the constraints ({'; '.join(shown)}{more}).",
        removed=removed,
        remedy=f"{remedy}: {', '.join(unstated)}." if unstated else f"{remedy}.",
    )
