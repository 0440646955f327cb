"""Goals (what the user wants) and Estimates (what is predicted): frozen values a decision is made of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, cast

import numpy as np

from herdwise.core.frozen import made_fast

CostKind = Literal["usd", "active_params", "latency", "calls"]
COST_KINDS: tuple[CostKind, ...] = ("usd", "active_params", "latency", "calls")
#: What a call takes, as fields of ``Estimates``.
ResourceKind = Literal["cost_usd", "latency_s", "output_tokens"]
#: The same, in the order of ``LateDetail.taken``.
TAKEN: tuple[ResourceKind, ...] = ("cost_usd", "latency_s", "output_tokens")
#: Probabilities that a limit may be asked to hold with.
LEAST_PROBABILITY, MOST_PROBABILITY = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class Constraints:
    """Hard limits. A candidate whose value for a constraint is unknown does not meet it.

    ``max_cost_usd``, ``max_latency_s`` and ``max_output_tokens`` are held against what a call takes at most
    with ``Goals.limit_probability``.

    Args:
        max_cost_usd: predicted USD for this query.
        max_params_b: total parameters, billions.
        max_active_params_b: active parameters, billions.
        max_latency_s: predicted seconds.
        max_output_tokens: predicted length of the answer.
        open_weights_only: only candidates whose weights can be had.
        licences: allowed licences; empty = any.
        released_after: first allowed day of release.
        tags: tags that a candidate must all carry, such as "on-premises".
        candidates: allowed names; None = all.
    """

    max_cost_usd: float | None = None
    max_params_b: float | None = None
    max_active_params_b: float | None = None
    max_latency_s: float | None = None
    max_output_tokens: float | None = None
    open_weights_only: bool = False
    licences: frozenset[str] = frozenset()
    released_after: dt.date | None = None
    tags: frozenset[str] = frozenset()
    candidates: frozenset[str] | None = None


#: Nothing is limited; what most requests say.
NO_LIMITS = Constraints()


@dataclass(frozen=True, slots=True)
class Preferences:
    """Soft goals (Tryage's flags): a weight each, 0 = indifferent.

    ``quality`` weighs predicted quality; the others weigh a value scaled to [0, 1] over the admitted
    candidates (0 = the best of them), taken from the utility. An unknown value counts as the worst.
    """

    quality: float = 1.0
    cost: float = 0.0
    size: float = 0.0
    latency: float = 0.0
    recency: float = 0.0
    brevity: float = 0.0

    @property
    def neutral(self) -> bool:
        """Whether only quality counts."""
        return not (self.cost or self.size or self.latency or self.recency or self.brevity)


@dataclass(frozen=True, slots=True)
class Goals:
    """What one request (or a config's default) asks of routing.

    Args:
        cost_weight: lambda in utility = quality - cost_weight * cost, per unit of ``cost_kind``.
        cost_kind: usd (USD per query), active_params (billions), latency (s) or calls.
        min_quality: below it for every expert, the generalist answers.
        min_quality_probability: how probable it must be that an expert's expected quality reaches
            ``min_quality``; None = the expectation itself is compared.
        generalist: name of the candidate that answers then.
        limit_probability: how probable it must be that a call keeps to a limit on cost, latency or length;
            None = the expected value is compared, which about two calls in three keep to.
        constraints: hard limits.
        preferences: soft weights.
        leave_margin: by how much a candidate that is not predicted better than the best single must be worth
            more, once cost or preferences speak for it.
        switch_margin: by how much another candidate's utility must be higher before it takes over a
            conversation from the one that has it.
        max_calls, max_seconds, max_total_usd: budget for the whole request; None = no limit.
    """

    cost_weight: float = 0.0
    cost_kind: CostKind = "usd"
    min_quality: float | None = None
    min_quality_probability: float | None = None
    generalist: str | None = None
    limit_probability: float | None = 0.8
    constraints: Constraints = NO_LIMITS
    preferences: Preferences = field(default_factory=Preferences)
    leave_margin: float = 0.02
    switch_margin: float = 0.05
    max_calls: int | None = None
    max_seconds: float | None = None
    max_total_usd: float | None = None

    def replace(self, **changes: Any) -> Goals:
        """A copy with some fields changed."""
        return replace(self, **changes)


class Detail(Protocol):
    """What stands behind the estimates of one query, worked out only when it is asked for."""

    def quality_std(self) -> np.ndarray | None:
        """``(m,)`` standard error of the expected quality, NaN = unknown; None where none is stated."""

    def quantile(self, kind: ResourceKind, probability: float) -> np.ndarray:
        """``(m,)`` what a call takes at most with a probability; NaN where the distribution is unknown."""

    def parts(self) -> Mapping[str, np.ndarray]:
        """What the expected quality is the sum of: name of a part -> ``(m,)``."""


class LateDetail(Detail, Protocol):
    """A detail that what a call takes is worked out by too, when it is asked for."""

    def taken(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``cost_usd``, ``latency_s`` and ``output_tokens``, ``(m,)`` each."""

    def cost_usd_of(self, position: int) -> float:
        """USD of one candidate, NaN = unknown."""


@made_fast
@dataclass(frozen=True, slots=True)
class Estimates:
    """Predictions for one query, one value per candidate; NaN = unknown, never zero.

    Args:
        quality: ``(m,)`` calibrated expected quality in [0, 1].
        quality_std: ``(m,)`` standard error of that expectation, or None; see ``std``.
        cost_usd: ``(m,)`` USD for this query.
        latency_s: ``(m,)`` seconds.
        output_tokens: ``(m,)`` tokens of the answer.
        origin: where quality comes from: "router", or "declared" before one is trained.
        detail: what stands behind these, None before a router is trained.
        best_single: position of the candidate that is best by its training mean, from which others must be
            worth leaving; None where none is known.
    """

    quality: np.ndarray
    quality_std: np.ndarray | None
    cost_usd: np.ndarray
    latency_s: np.ndarray
    output_tokens: np.ndarray
    origin: str = "router"
    detail: Detail | None = None
    best_single: int | None = None

    @classmethod
    def late(cls, quality: np.ndarray, detail: LateDetail, best_single: int | None) -> Self:
        """Estimates of which cost, latency and length are worked out when somebody asks for them.

        Where only quality counts, nobody does.
        """
        made = cls(quality, None, quality, quality, quality, detail=detail, best_single=best_single)
        for name in TAKEN:
            object.__delattr__(made, name)
        return made

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Called for what is not there yet.
            if name not in TAKEN or self.detail is None:
                raise AttributeError(name)
            for one, values in zip(TAKEN, self.detail.taken(), strict=True):
                object.__setattr__(self, one, values)
            return getattr(self, name)

    def cost_usd_of(self, position: int) -> float:
        """USD of one candidate, NaN = unknown; everybody's is not worked out for it."""
        try:
            known = _COST_USD(self)
        except AttributeError:
            return cast("LateDetail", self.detail).cost_usd_of(position)
        return float(known[position])

    def std(self) -> np.ndarray | None:
        """``(m,)`` standard error of the expected quality; None when the predictor states none."""
        if self.quality_std is not None or self.detail is None:
            return self.quality_std
        return self.detail.quality_std()

    def at_most(self, kind: ResourceKind, probability: float) -> np.ndarray:
        """``(m,)`` what a call takes at most with a probability; NaN where the distribution is unknown."""
        if self.detail is None:
            return np.full(len(self.quality), np.nan)
        return self.detail.quantile(kind, probability)


#: The field itself, which is missing where it is late.
_COST_USD: Callable[[Estimates], np.ndarray] = Estimates.__dict__["cost_usd"].__get__
