"""How often answers took more than the limits on cost, latency and length allowed."""

from __future__ import annotations

import numpy as np

from herdwise.core.decision import Goals
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import CHARS_PER_TOKEN


def kept_limits(goals: Goals, answered: np.ndarray, table: OutcomeTable) -> list[str]:
    """One sentence per limit.

    Args:
        goals: with the limits, and the probability with which they were to hold.
        answered: ``(n,)`` column of who answered, -1 = nobody.
        table: the recorded outcomes of those ``n`` queries.
    """
    told = []
    for kind in ("cost_usd", "latency_s", "output_tokens"):
        limit = getattr(goals.constraints, f"max_{kind}")
        if limit is None:
            continue
        if table.has(kind):
            recorded = table.matrix(kind)
        elif kind == "output_tokens" and table.has("output_chars"):
            recorded = table.matrix("output_chars") / np.float32(CHARS_PER_TOKEN)
        else:
            told.append(f"max_{kind} {limit:g}: nothing is on record to hold it against.")
            continue
        there = np.flatnonzero(answered >= 0)
        took = recorded[there, answered[there]]
        took = took[np.isfinite(took)]
        asked = goals.limit_probability
        rule = "the expected value was compared" if asked is None else f"it was to hold with {asked:g}"
        # To six digits: the outcome files hold float32.
        over = float(np.mean(took > limit * (1.0 + 1e-6))) if len(took) else float("nan")
        told.append(f"max_{kind} {limit:g}: exceeded by {over:.1%} of {len(took)} answers ({rule}).")
    return told
