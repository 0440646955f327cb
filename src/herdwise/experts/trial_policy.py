"""A policy that asks several candidates, replayed over recorded answers with and without an expert."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.decision import Goals
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.costs import cost_matrix
from herdwise.evaluation.openings import openings_of
from herdwise.evaluation.recorded import records_of
from herdwise.evaluation.replay import Replay, replay
from herdwise.routing.base import Policy
from herdwise.routing.router import Router

#: Share of the herd's pairs on the measured queries that must be on record, with their answers.
RECORDED_SHARE = 0.9


def unmeasurable(policy: Policy, seen: OutcomeTable, unseen: OutcomeTable, herd: Herd) -> str:
    """Why a policy cannot be replayed on the queries ``unseen``; "" where it can.

    Args:
        policy: to be replayed.
        seen: what the routers learn from.
        unseen: what is measured on.
        herd: who is served now; another's outcomes are not needed.
    """
    if not policy.replayable:
        return f"{policy.name} puts messages of its own, and no record holds the answers to them"
    if policy.samples_of_one and unseen.n_samples == 1:
        return f"{policy.name} asks one candidate several times, and one sample of each is on record"
    if not policy.consults:
        return ""
    for table, what in ((seen, "learned from"), (unseen, "measured")):
        share = _recorded(table, herd)
        if share < RECORDED_SHARE:
            return (
                f"{policy.name} looks at answers, and of the herd's on the queries that are {what}"
                f" {share:.0%} are on record ({RECORDED_SHARE:.0%} are needed)"
            )
    return ""


def _recorded(table: OutcomeTable, herd: Herd) -> float:
    """The share of the herd's pairs that were graded, in a table that holds answers; 0 where it has none."""
    known = [name for name in herd.names if name in table.herd]
    if table.answers is None or not known:
        return 0.0
    mine = table.restrict(known)
    given = mine.answer_matrix() != None  # noqa: E711 - elementwise
    # An answer that could not be read is on record too: it has a grade, as those beside it have answers.
    asked = np.isfinite(mine.matrix("quality")) & given.any(axis=0)
    return float(asked.sum()) / (table.n_queries * len(herd))


def courses(policy: Policy, router: Router, table: OutcomeTable, goals: Goals, expert: str) -> Replay:
    """What the policy comes to on each query of the table; columns of the table's herd.

    Queries on which it asks somebody of the herd who has no outcome there are nobody's: what would have been
    answered is not known. An answer that the expert does not have is a wrong one.

    Args:
        policy: see ``unmeasurable``.
        router: whose herd is asked.
        table: of the measured queries, with outcomes of the router's herd.
        goals: what is asked of routing.
        expert: its name.
    """
    mine = table.restrict([name for name in table.herd.names if name in router.herd])
    # Records and router in one order; those whom nobody ever asked can answer nothing here.
    served = router
    if mine.herd.names != router.herd.names:
        served = router.adapt(Herd(router.herd[name] for name in mine.herd.names))
    records = records_of(mine, served, "quality", cost_matrix(mine, "usd"), cost_matrix(mine, "latency"))
    ran = records.ran.copy()
    if expert in served.herd:
        ran[:, served.herd.index(expert)] = True
    queries = [replace(query, chars=0) for query in mine.queries()]
    estimates = served.estimate(mine.queries())
    openings = openings_of(served, policy, queries, [estimates.row(row) for row in range(len(queries))])
    done = replay(policy, openings(goals), replace(records, ran=ran))
    columns = np.array([table.herd.index(name) for name in served.herd.names] + [-1])
    asks = np.zeros((table.n_queries, table.n_candidates), dtype=np.int64)
    asks[:, columns[:-1]] = done.asks
    unknown = ((done.asks > 0) & ~ran).any(axis=1)
    return Replay(np.where(unknown, -1, columns[done.answered]), asks)
