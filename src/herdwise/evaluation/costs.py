"""What each candidate cost on each query, in each kind of cost; unknown stays NaN."""

from __future__ import annotations

import numpy as np

from herdwise.core.decision import COST_KINDS, CostKind
from herdwise.core.errors import UnknownCostError
from herdwise.core.outcomes import OutcomeTable

_REMEDIES: dict[CostKind, str] = {
    "usd": "Record cost_usd, or token counts with prices in candidates.csv",
    "active_params": "Fill active_params_b in candidates.csv",
    "latency": "Record latency_s",
    "calls": "Every ask is one call",
}


def cost_matrix(table: OutcomeTable, kind: CostKind) -> np.ndarray:
    """Cost of each pair, ``(n, m)`` float64: USD, billions of active parameters, seconds, or calls.

    USD is the recorded cost, or price times recorded tokens where none was recorded.
    """
    shape = (table.n_queries, table.n_candidates)
    if kind == "calls":
        return np.ones(shape)
    if kind == "active_params":
        return np.broadcast_to(table.herd.column(lambda c: c.active_params_b), shape).copy()
    if kind == "latency":
        return _column(table, "latency_s")
    recorded = _column(table, "cost_usd")
    price_in = table.herd.column(lambda c: c.price.input_usd_per_mtok)
    price_out = table.herd.column(lambda c: c.price.output_usd_per_mtok)
    priced = (_column(table, "input_tokens") * price_in + _column(table, "output_tokens") * price_out) / 1e6
    return np.where(np.isfinite(recorded), recorded, priced)


def first_known_kind(costs: dict[CostKind, np.ndarray]) -> CostKind:
    """The first kind, in the order of ``COST_KINDS``, that is known for every pair."""
    return next(kind for kind in COST_KINDS if np.isfinite(costs[kind]).all())


def require_known(kind: CostKind, cost: np.ndarray, names: list[str]) -> None:
    """Refuse a kind of cost that some pair lacks.

    Raises:
        UnknownCostError: naming the candidates without it.
    """
    lacking = [name for name, known in zip(names, np.isfinite(cost).all(axis=0), strict=True) if not known]
    if lacking:
        shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        raise UnknownCostError(
            f"cost {kind!r} is unknown for {shown}.",
            remedy=f"{_REMEDIES[kind]}, leave those out with --candidates, or choose another --cost.",
        )


def _column(table: OutcomeTable, name: str) -> np.ndarray:
    if not table.has(name):
        return np.full((table.n_queries, table.n_candidates), np.nan)
    return table.matrix(name).astype(np.float64)
