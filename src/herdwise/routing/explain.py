"""Why this candidate: scores and what they are made of, who was removed, the nearest recorded queries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from herdwise.core.decision import ResourceKind
from herdwise.routing.base import Situation
from herdwise.routing.single import ranking

#: Probabilities at which is told what a call takes at most.
TOLD = (0.1, 0.5, 0.9)
#: Half a 95% interval in standard errors.
_Z = 1.96
_KINDS: tuple[ResourceKind, ...] = ("cost_usd", "latency_s", "output_tokens")


@dataclass(frozen=True, slots=True)
class Score:
    """What was predicted of one candidate; None = unknown.

    Args:
        candidate: its name.
        quality: expected quality, ``quality_std`` its standard error.
        cost_usd, latency_s, output_tokens: expected.
        utility: None where removed.
        removed: the constraint that it misses.
        quality_interval: 95% interval of the expectation.
        parts: what ``quality`` is the sum of; empty where that is not told.
        at_most: for those of ``cost_usd``, ``latency_s`` and ``output_tokens`` whose distribution is known,
            what a call does not exceed with probability 0.1, 0.5 and 0.9.
    """

    candidate: str
    quality: float | None
    quality_std: float | None
    cost_usd: float | None
    latency_s: float | None
    output_tokens: float | None
    utility: float | None
    removed: str | None
    quality_interval: tuple[float, float] | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A recorded query near this one.

    Args:
        similarity: cosine in [-1, 1].
        outcomes: candidate -> recorded quality, where it ran.
    """

    query_id: str
    text: str
    benchmark: str
    similarity: float
    outcomes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The course of one decision, for people and for JSON.

    Args:
        reason: why the first of the ranking is first.
        origin: where predicted quality comes from: "router", or "declared" before one is trained.
        scores: in the order in which they would be asked, the removed ones last.
        neighbours: the nearest recorded queries; empty where the router keeps none.
        limit_probability: with which limits on cost, latency and length were to hold; None where there
            are none, or expected values were compared.
    """

    reason: str
    origin: str
    scores: tuple[Score, ...]
    neighbours: tuple[Neighbour, ...] = ()
    limit_probability: float | None = None


def explain(situation: Situation, neighbours: tuple[Neighbour, ...] = ()) -> Explanation:
    """Explain a situation before anybody was asked."""
    order, reason = ranking(situation)
    rest = [position for position in range(len(situation.herd)) if position not in set(order)]
    estimates, limits = situation.estimates, situation.goals.constraints
    limited = any(getattr(limits, f"max_{kind}") is not None for kind in _KINDS)
    parts = {} if estimates.detail is None else estimates.detail.parts()
    at_most: dict[str, dict[str, np.ndarray]] = {
        kind: {f"{p:g}": estimates.at_most(kind, p) for p in TOLD} for kind in _KINDS
    }
    return Explanation(
        reason=reason,
        origin=estimates.origin,
        scores=tuple(_score(situation, position, parts, at_most) for position in [*order, *rest]),
        neighbours=neighbours,
        limit_probability=situation.goals.limit_probability if limited else None,
    )


def _score(
    situation: Situation,
    position: int,
    parts: Mapping[str, np.ndarray],
    at_most: Mapping[str, Mapping[str, np.ndarray]],
) -> Score:
    def known(values: np.ndarray | None) -> float | None:
        if values is None:
            return None
        value = float(values[position])
        return value if math.isfinite(value) else None

    estimates, name = situation.estimates, situation.herd[position].name
    quality, std = known(estimates.quality), known(estimates.std())
    told = {
        kind: {p: float(values[position]) for p, values in levels.items()}
        for kind, levels in at_most.items()
        if all(math.isfinite(values[position]) for values in levels.values())
    }
    return Score(
        candidate=name,
        quality=quality,
        quality_std=std,
        cost_usd=known(estimates.cost_usd),
        latency_s=known(estimates.latency_s),
        output_tokens=known(estimates.output_tokens),
        utility=known(situation.utility),
        removed=situation.removed.get(name),
        quality_interval=None
        if quality is None or std is None
        else (max(0.0, quality - _Z * std), min(1.0, quality + _Z * std)),
        parts={part: float(values[position]) for part, values in parts.items() if values[position] != 0.0},
        at_most=told,
    )
