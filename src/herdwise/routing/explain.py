"""Why this candidate: scores, the constraints that removed others, the nearest recorded queries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from herdwise.routing.base import Situation
from herdwise.routing.single import ranking


@dataclass(frozen=True, slots=True)
class Score:
    """What was predicted of one candidate; None = unknown. ``removed`` names the constraint it misses."""

    candidate: str
    quality: float | None
    quality_std: float | None
    cost_usd: float | None
    latency_s: float | None
    output_tokens: float | None
    utility: float | None
    removed: str | None


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
    """

    reason: str
    origin: str
    scores: tuple[Score, ...]
    neighbours: tuple[Neighbour, ...] = ()


def explain(situation: Situation, neighbours: tuple[Neighbour, ...] = ()) -> Explanation:
    """Explain a situation before anybody was asked."""
    order, reason = ranking(situation)
    rest = [position for position in range(len(situation.herd)) if position not in set(order)]
    return Explanation(
        reason=reason,
        origin=situation.estimates.origin,
        scores=tuple(_score(situation, position) for position in [*order, *rest]),
        neighbours=neighbours,
    )


def _score(situation: Situation, position: int) -> Score:
    def known(values: np.ndarray | None) -> float | None:
        if values is None:
            return None
        value = float(values[position])
        return value if math.isfinite(value) else None

    estimates, name = situation.estimates, situation.herd[position].name
    return Score(
        candidate=name,
        quality=known(estimates.quality),
        quality_std=known(estimates.quality_std),
        cost_usd=known(estimates.cost_usd),
        latency_s=known(estimates.latency_s),
        output_tokens=known(estimates.output_tokens),
        utility=known(situation.utility),
        removed=situation.removed.get(name),
    )
