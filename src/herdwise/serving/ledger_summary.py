"""What a ledger holds, in figures. No prompt and no answer is shown."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from herdwise.serving.ledger_engine import open_engine
from herdwise.serving.ledger_tables import ASKS, DECISIONS, FEEDBACK
from herdwise.serving.records import EMBEDDINGS


@dataclass(frozen=True, slots=True)
class CandidateSummary:
    """One candidate's share.

    Args:
        asks, answered: how often it was asked, how often it answered.
        graded: answers of it that somebody scored.
        quality: mean score of those; None = none.
        cost_usd: over the asks whose cost is known; ``cost_unknown`` counts the others.
        latency_s: mean over its answers.
    """

    candidate: str
    asks: int
    answered: int
    graded: int
    quality: float | None
    cost_usd: float
    cost_unknown: int
    latency_s: float | None


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """A ledger in figures.

    Args:
        decisions: status -> how many.
        cached: how many of them the cache answered.
        embeddings: how many of them are embeddings.
        feedback: how many were given.
        first_at, last_at: Unix time of the first and the last decision.
        candidates: by name.
    """

    decisions: dict[str, int]
    cached: int
    embeddings: int
    feedback: int
    first_at: float | None
    last_at: float | None
    candidates: tuple[CandidateSummary, ...]


def summarise_ledger(url: str) -> LedgerSummary:
    """Count what a ledger holds; it may be in use.

    Raises:
        ConfigError: when there is no such ledger.
    """
    engine = open_engine(url, create=False)
    try:
        with engine.connect() as connection:
            return _summarise(connection)
    finally:
        engine.dispose()


def _summarise(connection: Connection) -> LedgerSummary:
    by_status = select(DECISIONS.c.status, func.count()).group_by(DECISIONS.c.status)
    counts = {str(status): int(n) for status, n in connection.execute(by_status)}
    first_at, last_at = connection.execute(
        select(func.min(DECISIONS.c.created_at), func.max(DECISIONS.c.created_at))
    ).one()
    scores = (
        select(DECISIONS.c.candidate, func.count(FEEDBACK.c.score), func.avg(FEEDBACK.c.score))
        .join(FEEDBACK, FEEDBACK.c.query_id == DECISIONS.c.query_id)
        .group_by(DECISIONS.c.candidate)
    )
    graded = {name: (int(n), mean) for name, n, mean in connection.execute(scores)}
    answered = ASKS.c.status == "answered"
    asks = (
        select(
            ASKS.c.candidate,
            func.count(),
            func.sum(case((answered, 1), else_=0)),
            func.coalesce(func.sum(ASKS.c.cost_usd), 0.0),
            func.sum(case((ASKS.c.cost_usd.is_(None), 1), else_=0)),
            func.avg(case((answered, ASKS.c.latency_s))),
        )
        .group_by(ASKS.c.candidate)
        .order_by(ASKS.c.candidate)
    )
    cached = select(func.count()).select_from(DECISIONS).where(DECISIONS.c.cached_from.is_not(None))
    embeddings = select(func.count()).select_from(DECISIONS).where(DECISIONS.c.policy == EMBEDDINGS)
    return LedgerSummary(
        decisions=counts,
        cached=int(connection.execute(cached).scalar_one()),
        embeddings=int(connection.execute(embeddings).scalar_one()),
        feedback=int(connection.execute(select(func.count()).select_from(FEEDBACK)).scalar_one()),
        first_at=first_at,
        last_at=last_at,
        candidates=tuple(
            CandidateSummary(name, n, n_answered, *graded.get(name, (0, None)), cost, unknown, latency)
            for name, n, n_answered, cost, unknown, latency in connection.execute(asks)
        ),
    )
