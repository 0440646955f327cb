"""What an evaluation found: typed, and as the JSON object that ``herdwise evaluate --json`` prints.

Every quality is a fraction. None = undefined, or can't be known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from herdwise.core.decision import CostKind
from herdwise.evaluation.averages import Average


@dataclass(frozen=True, slots=True)
class BestSingle:
    """The candidate of best training mean, measured on the test rows, with its 95% interval."""

    candidate: str
    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Quality:
    """A reference's mean quality."""

    quality: float


@dataclass(frozen=True, slots=True)
class FixedCandidate:
    """One candidate asked always; ``cost`` is its mean per query, None = unknown."""

    candidate: str
    quality: float
    cost: float | None


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """The router under the named policy.

    Args:
        quality, low, high: mean quality and its interval.
        gain, gain_low, gain_high: over best single, paired.
        gap_recovered: gain / (oracle - best single).
        effective_params_b: active parameters summed over a query's asks, averaged over queries.
        calls_per_query: asks per query.
        cost_usd: USD per query, summed over its asks.
        aiq: area under the cost-quality hull over the cost range (decision 0004).
        ece: calibration error of the predicted quality, 15 bins, pooled pairs.
        auroc: how well the confidence in the returned answer tells right from wrong. Confidence is P(right)
            after all answers heard; of a policy that looks at none, the predicted quality of its pick.
        accuracy_at_half_coverage: mean quality of the half of the answers that are trusted most (micro).
        confidence_ece: calibration error of that confidence, 15 bins.
        reference_misses_rescued: share of the reference's misses that the returned answer gets right.
        decision_us_p50, decision_us_p99: microseconds of encode + predict + policy, one query at a time.
        picked: candidate -> share of queries that its answer went to; only those picked at all.
    """

    quality: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    gap_recovered: float | None
    effective_params_b: float | None
    calls_per_query: float
    cost_usd: float | None
    aiq: float | None
    ece: float | None
    auroc: float | None
    accuracy_at_half_coverage: float | None
    confidence_ece: float | None
    reference_misses_rescued: float | None
    decision_us_p50: float
    decision_us_p99: float
    picked: dict[str, float]


@dataclass(frozen=True, slots=True)
class ZeroRouter:
    """The convex hull of the fixed candidates."""

    aiq: float | None


@dataclass(frozen=True, slots=True)
class BenchmarkFigures:
    """One benchmark's rows: mean qualities of the same picks."""

    n: int
    router: float
    best_single: float
    oracle: float


@dataclass(frozen=True, slots=True)
class Means:
    """Mean qualities of the same picks under one average."""

    router: float
    best_single: float
    oracle: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of the cost-quality curve; ``cost_weight`` is None for a vertex of a hull."""

    cost: float
    quality: float
    cost_weight: float | None = None


@dataclass(frozen=True, slots=True)
class Curves:
    """Cost-quality curves in the unit of ``cost_kind``; empty where that cost has no range or is unknown."""

    router: list[CurvePoint] = field(default_factory=list)
    router_hull: list[CurvePoint] = field(default_factory=list)
    zero_router_hull: list[CurvePoint] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PairFigures:
    """RouteLLM's figures: how a router shares queries between a strong and a weak candidate.

    Args:
        strong, weak: their names; strong is the best single candidate (by training mean).
        strong_share: share of queries that the router's own picks send to the strong one.
        pgr: performance gap recovered by those picks.
        apgr: average of the gap recovered over every share of strong calls, 0.5 for blind choice.
        cpt_50, cpt_80: smallest share of strong calls that recovers half, four fifths of the gap.

    Ratios are None where strong is no better than weak on the measured queries.
    """

    strong: str
    weak: str
    strong_share: float
    pgr: float | None
    apgr: float | None
    cpt_50: float | None
    cpt_80: float | None


@dataclass(frozen=True, slots=True)
class ReferenceFigures:
    """The Herd paper's figures: the herd beside a reference, on the measured queries that it ran too.

    Args:
        candidate: the reference.
        n: number of those queries.
        quality: its mean quality on them (micro).
        as_well: share of them that the router answers as well, within 0.05 of its quality, or better.
        as_well_some_candidate: share that some candidate other than the reference answers as well.
        missed: share that the reference misses (quality below 0.9).
        missed_some_candidate: share of its misses that some other candidate gets right (above 0.95).
        missed_router: share of its misses that the router gets right.
        effective_params_b: the router's effective size on these queries, billions.
        size_ratio: the reference's active parameters over that; None where a size is unknown.
    """

    candidate: str
    n: int
    quality: float
    as_well: float
    as_well_some_candidate: float | None
    missed: float
    missed_some_candidate: float | None
    missed_router: float | None
    effective_params_b: float | None
    size_ratio: float | None


@dataclass(frozen=True, slots=True)
class TradeOff:
    """One setting of a policy: mean quality, and calls and active parameters (None = unknown) per query."""

    setting: str
    quality: float
    calls: float
    active_params_b: float | None


@dataclass(frozen=True, slots=True)
class PolicyCurve:
    """What a policy makes of its options, in the order of calls."""

    policy: str
    points: list[TradeOff]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out figures of a router on recorded outcomes.

    Args:
        n_train: queries that were learned from.
        n_test: test rows measured: those that every remaining candidate ran.
        n_test_left_out: test rows that some remaining candidate did not run.
        n_test_unanswered: measured rows without an answer (the policy asked nobody); in no figure.
        n_test_texts_in_train: measured rows whose text also stands in train, None where train is not at hand.
        excluded: candidate -> why it takes no part.
        candidates: every remaining candidate asked always, in the herd's order.
        pair: RouteLLM's figures, for a herd of two.
        reference: the Herd paper's figures, where a reference was named.
        policies: trade-offs of further policies on the same rows, where they were asked for.
        warnings: what a reader should know before quoting a figure.
    """

    name: str
    policy: str
    quality_column: str
    n_train: int
    n_test: int
    n_test_left_out: int
    n_test_unanswered: int
    n_test_texts_in_train: int | None
    n_candidates: int
    best_single: BestSingle
    oracle: Quality
    random: Quality
    cheapest: FixedCandidate | None
    router: RouterFigures
    zero_router: ZeroRouter
    benchmarks: dict[str, BenchmarkFigures]
    micro: Means
    macro: Means
    excluded: dict[str, str]
    average: Average
    cost_kind: CostKind
    cost_weight: float
    candidates: list[FixedCandidate]
    curves: Curves
    pair: PairFigures | None
    reference: ReferenceFigures | None
    warnings: list[str]
    policies: list[PolicyCurve] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings, numbers and None."""
        import msgspec

        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain
