"""May a new expert join? Only where the routed herd is better with it, on queries held back from both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from herdwise.core.decision import CostKind
from herdwise.evaluation.costs import cost_matrix
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.experts.examples import plain
from herdwise.experts.trial import Trial

#: Quality may be this much lower at worst where an expert is admitted for being cheaper ...
MARGIN = 0.01
#: ... and mean cost must surely fall by this share.
LEAST_SAVING = 0.05
#: Fewer measured queries than this decide nothing.
FEWEST = 30

Reason = Literal["better", "cheaper", "no gain", "too few queries"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found. Qualities are means over the measured queries; ``low`` to ``high`` are paired 95%
    intervals of the difference (after - before): the bootstrap's, and no narrower than a few queries warrant.

    Args:
        expert: who wants to join.
        admitted, reason: the decision.
        n: measured queries, each text counted once.
        n_unmeasured: queries left out, because an answer was not graded; repeats of a text not among them.
        n_cluster: measured queries of the cluster that the expert was made for.
        quality_before, quality_after: of the routed herd without and with it.
        gain, low, high: of quality.
        cluster_before, cluster_after: quality on the cluster's queries; None = there were none.
        expert_quality: of the expert alone on the cluster's queries, graded ones.
        share: of the measured queries, those that the expert's answer is returned to.
        cost_kind: what cost is counted in; None = no kind is known.
        cost_before, cost_after, cost_low, cost_high: mean cost, and the interval of its difference.
        words: the decision in a sentence.
        policy: whose answers were measured.
        policy_note: why it is not the policy that was wanted; "" where it is.
    """

    expert: str
    admitted: bool
    reason: Reason
    n: int
    n_unmeasured: int
    n_cluster: int
    quality_before: float | None
    quality_after: float | None
    gain: float | None
    low: float | None
    high: float | None
    cluster_before: float | None
    cluster_after: float | None
    expert_quality: float | None
    share: float
    cost_kind: str | None
    cost_before: float | None
    cost_after: float | None
    cost_low: float | None
    cost_high: float | None
    words: str
    policy: str = "single"
    policy_note: str = ""


def decide(
    trial: Trial,
    *,
    cluster: Sequence[str] = (),
    cost: CostKind | None = None,
    margin: float = MARGIN,
    unanswered: float | None = None,
    seed: int = 0,
) -> Verdict:
    """Admit the expert where quality surely rises, or cost surely falls at equal quality.

    Args:
        trial: with all picked answers graded, or as far as they could be.
        cluster: ids of the queries that the expert was made for.
        cost: kind that counts; None = USD or active parameters, the first that is known of all picks.
        margin: how much quality may fall, at the lower end of its interval, to be called equal.
        unanswered: what a pick of the expert counts that has no graded answer; None = it is left out. Where
            the expert was asked, 0: one that fails at what it cannot do is not good at what is left.
        seed: of the bootstrap.
    """
    table = trial.table
    quality = table.matrix("quality").astype(np.float64)
    mine = table.herd.index(trial.expert)
    if unanswered is not None:
        quality[~np.isfinite(quality[:, mine]), mine] = unanswered
    before, after = trial.courses
    q_before, q_after = before.quality(quality), after.quality(quality)
    known = np.isfinite(q_before) & np.isfinite(q_after)
    # A text that was asked a hundred times is one piece of evidence.
    at = _first_of_each(table.texts, np.flatnonzero(known))
    inside = np.isin(np.asarray(table.query_ids, dtype=object), list(cluster))
    own = quality[:, mine]
    expert_there = own[inside & np.isfinite(own)]
    picked = trial.picks_after[at] == mine
    kind, c_before, c_after = _costs(trial, at, cost)
    figures: dict[str, float | None] = dict.fromkeys(
        ("quality_before", "quality_after", "gain", "low", "high"), None
    )
    figures |= dict.fromkeys(("cost_before", "cost_after", "cost_low", "cost_high"), None)
    if len(at):
        draws = resampled_means(np.stack([q_before[at], q_after[at]], axis=1), (), seed=seed)
        low, high = _widened(q_after[at] - q_before[at], *interval(draws[:, 1] - draws[:, 0]))
        b, a = float(q_before[at].mean()), float(q_after[at].mean())
        figures |= {"quality_before": b, "quality_after": a, "gain": a - b, "low": low, "high": high}
    if kind is not None and len(at):
        draws = resampled_means(np.stack([c_before, c_after], axis=1), (), seed=seed)
        low, high = interval(draws[:, 1] - draws[:, 0])
        figures |= {"cost_before": float(c_before.mean()), "cost_after": float(c_after.mean())}
        figures |= {"cost_low": low, "cost_high": high}
    reason = _reason(len(at), figures, margin)
    there = inside[at]
    return Verdict(
        expert=trial.expert,
        admitted=reason in {"better", "cheaper"},
        reason=reason,
        n=len(at),
        n_unmeasured=int((~known).sum()),
        n_cluster=int(there.sum()),
        cluster_before=_mean(q_before[at][there]),
        cluster_after=_mean(q_after[at][there]),
        expert_quality=_mean(expert_there),
        share=float(picked.mean()) if len(at) else 0.0,
        cost_kind=kind,
        words=_words(trial, reason, len(at), figures),
        policy=trial.policy,
        policy_note=trial.policy_note,
        **figures,
    )


def _first_of_each(texts: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """The first row of each text, case and blanks aside."""
    first: dict[str, int] = {}
    for row in rows.tolist():
        first.setdefault(plain(texts[row]), row)
    return np.array(list(first.values()), dtype=np.int64)


def _widened(gains: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The interval, no narrower than with one pair added that half wins and half loses.

    Where no query's quality changes the bootstrap is sure that none would, of however few queries. Source:
    Agresti and Min, Simple improved confidence intervals for comparing matched proportions (2005).
    """
    n = len(gains) + 2
    mean = float(gains.sum()) / n
    half = 1.96 * math.sqrt(((float((gains**2).sum()) + 1) / n - mean**2) / n)
    return min(low, mean - half), max(high, mean + half)


def _costs(
    trial: Trial, at: np.ndarray, wanted: CostKind | None
) -> tuple[CostKind | None, np.ndarray, np.ndarray]:
    """A kind of cost that is known of all picks and not nothing throughout, and their costs."""
    # Seconds that were taken on another day or machine are no saving: they count only where asked for.
    kinds: tuple[CostKind, ...] = ("usd", "active_params") if wanted is None else (wanted,)
    for kind in kinds:
        cost = cost_matrix(trial.table, kind)
        before, after = (course.cost(cost)[at] for course in trial.courses)
        if np.isfinite(before).all() and np.isfinite(after).all() and (before.any() or after.any()):
            return kind, before, after
    return None, np.zeros(0), np.zeros(0)


def _reason(n: int, figures: dict[str, float | None], margin: float) -> Reason:
    low, cost, cost_high = figures["low"], figures["cost_before"], figures["cost_high"]
    if n < FEWEST or low is None:
        return "too few queries"
    if low > 0:
        return "better"
    if cost and cost_high is not None and cost_high < -LEAST_SAVING * cost and low >= -margin:
        return "cheaper"
    return "no gain"


def _words(trial: Trial, reason: Reason, n: int, figures: dict[str, float | None]) -> str:
    expert = trial.expert
    if reason == "too few queries":
        return f"{expert} is refused: {n} measured queries decide nothing; at least {FEWEST} are needed."
    f = {name: 0.0 if value is None else 100 * value for name, value in figures.items()}
    told = (
        f"the routed herd ({trial.policy}) reaches {f['quality_after']:.1f}% with it,"
        f" {f['quality_before']:.1f}% without"
        f" ({f['gain']:+.1f} points, 95%: {f['low']:+.1f} to {f['high']:+.1f}, {n} held-out queries)"
    )
    if reason == "better":
        return f"{expert} is admitted: {told}."
    if reason == "cheaper":
        return f"{expert} is admitted for being cheaper at equal quality: {told}."
    return f"{expert} is refused: {told}; a gain is not certain."


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
