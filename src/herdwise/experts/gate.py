"""May a new expert join? Only where the routed herd is better with it, on queries held back from both."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import CostKind, Goals
from herdwise.core.errors import InputError, NoCandidateError
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.costs import cost_matrix
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.experts.examples import plain
from herdwise.routing.base import POLICIES, Ask
from herdwise.routing.router import Progress, Router

#: Share of the queries that the gate measures on.
GATE_SHARE = 0.3
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
        share: of the measured queries, those that the router gives to the expert.
        cost_kind: what cost is counted in; None = no kind is known.
        cost_before, cost_after, cost_low, cost_high: mean cost, and the interval of its difference.
        words: the decision in a sentence.
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


def held_back(texts: Sequence[str], share: float = GATE_SHARE) -> np.ndarray:
    """Which texts the gate measures on, ``(n,)`` bool: by a hash, so that nothing ever moves over.

    Texts that differ in case and blanks alone stand on one side. Another hash than that of the splits train
    and test, so that it divides either.
    """
    digests = (hashlib.sha256(b"gate\0" + plain(text).encode("utf-8", "replace")).digest() for text in texts)
    return np.array([int.from_bytes(d[:8], "big") < share * 2**64 for d in digests], dtype=bool)


@dataclass(frozen=True, eq=False)
class Trial:
    """The routed herd without and with a new expert, and what is measured.

    Args:
        expert: the new one's name.
        table: what is measured: queries that neither router learned from, the expert's outcomes among them.
        before, after: routers of the herd without and with the expert, learned from the same queries.
        picks_before, picks_after: ``(n,)`` column of the table's herd, -1 = nobody may be asked.
    """

    expert: str
    table: OutcomeTable
    before: Router
    after: Router
    picks_before: np.ndarray
    picks_after: np.ndarray

    def unmeasured(self) -> dict[str, list[str]]:
        """Candidate -> ids of queries that it is picked for and has no quality on."""
        quality = self.table.matrix("quality")
        missing: dict[str, list[str]] = {}
        for picks in (self.picks_before, self.picks_after):
            for row in np.flatnonzero(picks >= 0).tolist():
                column = int(picks[row])
                if not np.isfinite(quality[row, column]):
                    ids = missing.setdefault(self.table.herd.names[column], [])
                    if self.table.query_ids[row] not in ids:
                        ids.append(self.table.query_ids[row])
        return missing

    def measured_on(self, table: OutcomeTable) -> Trial:
        """The same picks, with what a table knows of the same queries and candidates besides."""
        rows = [table.query_ids.index(id_) for id_ in self.table.query_ids]
        known = table.take(np.array(rows, dtype=np.int64))
        columns = np.array([known.herd.index(name) for name in self.table.herd.names] + [-1])
        return replace(
            self,
            table=known,
            picks_before=columns[self.picks_before],
            picks_after=columns[self.picks_after],
        )


def fit_router(
    table: OutcomeTable,
    herd: Herd,
    *,
    encoder: str = "static",
    predictor: str = "stack",
    seed: int = 0,
    complete: bool = True,
    progress: Progress | None = None,
) -> Router:
    """A router of ``herd`` from those of a table's outcomes that are its candidates'.

    Args:
        complete: learn what serving may need too: what answers are worth, and the queries to explain by.

    Raises:
        InputError: when nobody of the herd has a graded outcome.
        HerdMismatchError: when one of the herd has none, and nothing is declared of it.
    """
    known = [name for name in table.herd.names if name in herd]
    if not known:
        raise InputError(f"{table.name or 'the table'} holds no outcome of {', '.join(herd.names[:5])}.")
    mine = table.restrict(known)
    mine = replace(mine, herd=Herd(herd[name] for name in mine.herd.names), _cache={})
    fitted = Router.fit(
        mine,
        encoder=encoder,
        predictor=predictor,
        seed=seed,
        keep_texts=complete,
        fusion=complete,
        progress=progress,
    )
    return fitted.adapt(herd)


def try_out(
    table: OutcomeTable,
    herd: Herd,
    expert: Candidate,
    *,
    goals: Goals | None = None,
    encoder: str = "static",
    predictor: str = "stack",
    share: float = GATE_SHARE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Trial:
    """Learn a router without and one with the expert, and route the queries that both did not see.

    Args:
        table: outcomes of the herd and of the expert; ``held_back`` divides its queries.
        herd: without the expert.
        expert: a candidate of the table that is not in the herd.
        goals: what is asked of routing; ``herdwise.core.decision.Goals()`` by default.
        share: of the queries that are measured on.

    Raises:
        InputError: when the expert is in the herd, has no graded outcome, or no query is left on a side.
    """
    if expert.name in herd:
        raise InputError(f"{expert.name!r} is in the herd already.", remedy="Name the expert differently.")
    if expert.name not in table.herd or not np.isfinite(table.restrict([expert.name]).matrix()).any():
        raise InputError(f"there is no graded outcome of {expert.name!r}.", remedy="Profile it first.")
    back = held_back(table.texts, share)
    if back.all() or not back.any():
        raise InputError(f"{table.n_queries} queries are too few to hold some back.", remedy="Record more.")
    seen, unseen = table.take(np.flatnonzero(~back)), table.take(np.flatnonzero(back))
    fit = {"encoder": encoder, "predictor": predictor}
    before = fit_router(seen, herd, **fit, seed=seed, complete=False, progress=progress)
    joined = Herd([*herd, expert])
    after = fit_router(seen, joined, **fit, seed=seed, complete=False, progress=progress)
    goals = goals or Goals()
    return Trial(
        expert=expert.name,
        table=unseen,
        before=before,
        after=after,
        picks_before=_picks(before, unseen, goals),
        picks_after=_picks(after, unseen, goals),
    )


def _picks(router: Router, table: OutcomeTable, goals: Goals) -> np.ndarray:
    """Whom the policy ``single`` asks first for each query."""
    policy = POLICIES.create("single")
    queries = [replace(query, chars=0) for query in table.queries()]
    estimates = router.estimate(table.queries())
    picks = np.full(len(queries), -1)
    for row, query in enumerate(queries):
        try:
            step = policy.step(router.situation(query, goals, estimates.row(row)))
        except NoCandidateError:
            continue
        if isinstance(step, Ask):
            picks[row] = table.herd.index(router.herd.names[step.candidates[0]])
    return picks


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
    rows = np.arange(table.n_queries)
    q_before = np.where(trial.picks_before >= 0, quality[rows, trial.picks_before], np.nan)
    q_after = np.where(trial.picks_after >= 0, quality[rows, trial.picks_after], np.nan)
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
        words=_words(trial.expert, reason, len(at), figures),
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
        before, after = cost[at, trial.picks_before[at]], cost[at, trial.picks_after[at]]
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


def _words(expert: str, reason: Reason, n: int, figures: dict[str, float | None]) -> str:
    if reason == "too few queries":
        return f"{expert} is refused: {n} measured queries decide nothing; at least {FEWEST} are needed."
    f = {name: 0.0 if value is None else 100 * value for name, value in figures.items()}
    told = (
        f"the routed herd reaches {f['quality_after']:.1f}% with it, {f['quality_before']:.1f}% without"
        f" ({f['gain']:+.1f} points, 95%: {f['low']:+.1f} to {f['high']:+.1f}, {n} held-out queries)"
    )
    if reason == "better":
        return f"{expert} is admitted: {told}."
    if reason == "cheaper":
        return f"{expert} is admitted for being cheaper at equal quality: {told}."
    return f"{expert} is refused: {told}; a gain is not certain."


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
