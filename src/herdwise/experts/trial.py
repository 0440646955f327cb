"""An expert on trial: the routed herd without and with it, on queries that neither router learned from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Goals
from herdwise.core.errors import InputError, NoCandidateError
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.replay import Replay
from herdwise.experts.examples import plain
from herdwise.experts.trial_policy import courses, unmeasurable
from herdwise.routing.base import POLICIES, Ask, Policy
from herdwise.routing.router import Progress, Router

#: Share of the queries that the gate measures on.
GATE_SHARE = 0.3


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
        picks_before, picks_after: ``(n,)`` column of the table's herd of who answers, -1 = nobody.
        asks_before, asks_after: ``(n, m)`` how often each was asked; None = the picks, once each.
        policy: what was measured.
        policy_note: why it is not the policy that was wanted; "" where it is.
    """

    expert: str
    table: OutcomeTable
    before: Router
    after: Router
    picks_before: np.ndarray
    picks_after: np.ndarray
    asks_before: np.ndarray | None = None
    asks_after: np.ndarray | None = None
    policy: str = "single"
    policy_note: str = ""

    @property
    def courses(self) -> tuple[Replay, Replay]:
        """What was done on each query, without and with the expert; columns of the table's herd."""
        m = self.table.n_candidates
        pairs = ((self.picks_before, self.asks_before), (self.picks_after, self.asks_after))
        without, with_it = (Replay(picks, _once(picks, m) if asks is None else asks) for picks, asks in pairs)
        return without, with_it

    def unmeasured(self) -> dict[str, list[str]]:
        """Candidate -> ids of queries that it is picked for and has no quality on.

        None where several were asked: what another of them says would change who is picked.
        """
        if self.asks_before is not None:
            return {}
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

        def moved(asks: np.ndarray | None) -> np.ndarray | None:
            if asks is None:
                return None
            there = np.zeros((known.n_queries, known.n_candidates), dtype=asks.dtype)
            there[:, columns[:-1]] = asks
            return there

        return replace(
            self,
            table=known,
            picks_before=columns[self.picks_before],
            picks_after=columns[self.picks_after],
            asks_before=moved(self.asks_before),
            asks_after=moved(self.asks_after),
        )


def _once(picks: np.ndarray, m: int) -> np.ndarray:
    return np.asarray(picks[:, None] == np.arange(m), dtype=np.int64)


def fit_router(
    table: OutcomeTable,
    herd: Herd,
    *,
    encoder: str = "static",
    predictor: str = "stack",
    seed: int = 0,
    complete: bool = True,
    fusion: bool = False,
    progress: Progress | None = None,
) -> Router:
    """A router of ``herd`` from those of a table's outcomes that are its candidates'.

    Args:
        complete: learn what serving may need too: what answers are worth, and the queries to explain by.
        fusion: learn what answers are worth, even so.

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
        fusion=complete or fusion,
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
    policy: Policy | None = None,
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
        policy: replayed over the recorded answers, as it would have served them; ``single`` where it is None,
            or cannot be replayed for want of recorded answers (``Trial.policy_note`` says why).
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
    note = "" if policy is None else unmeasurable(policy, seen, unseen, herd)
    replayed = None if policy is None or policy.name == "single" or note else policy
    before, after = (
        fit_router(
            seen,
            who,
            encoder=encoder,
            predictor=predictor,
            seed=seed,
            complete=False,
            fusion=replayed is not None and replayed.consults,
            progress=progress,
        )
        for who in (herd, Herd([*herd, expert]))
    )
    goals = goals or Goals()
    trial = Trial(
        expert=expert.name,
        table=unseen,
        before=before,
        after=after,
        picks_before=_picks(before, unseen, goals),
        picks_after=_picks(after, unseen, goals),
        policy_note=note,
    )
    if replayed is None:
        return trial
    without, with_it = (courses(replayed, router, unseen, goals, expert.name) for router in (before, after))
    return replace(
        trial,
        picks_before=without.answered,
        picks_after=with_it.answered,
        asks_before=without.asks,
        asks_after=with_it.asks,
        policy=replayed.name,
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
