"""Which candidates and which rows take part in an evaluation, and why the others don't."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Constraints, Estimates, Goals
from herdwise.core.errors import InputError, NoCandidateError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.routing.constraints import HerdFacts, admit
from herdwise.routing.facts import MIN_COVERAGE


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """Test rows that every remaining candidate ran.

    Args:
        table: those rows, candidates in the order of the herd they were aligned to.
        quality: ``(n, m)`` float64, finite.
        n_left_out: rows of the split that some remaining candidate did not run.
    """

    table: OutcomeTable
    quality: np.ndarray
    n_left_out: int


def split_limits(limits: Constraints) -> tuple[Constraints, Constraints]:
    """Limits on what a candidate is, and limits on what is predicted per query."""
    per_query = Constraints(
        max_cost_usd=limits.max_cost_usd,
        max_latency_s=limits.max_latency_s,
        max_output_tokens=limits.max_output_tokens,
    )
    static = replace(limits, max_cost_usd=None, max_latency_s=None, max_output_tokens=None)
    return static, per_query


def removed_by_limits(herd: Herd, limits: Constraints) -> dict[str, str]:
    """Candidates that miss a limit on what they are (an unknown value misses it), each with the reason.

    Raises:
        UnknownNameError: when the limits name a candidate outside the herd.
    """
    unknown = np.full(len(herd), np.nan)
    nothing = Estimates(unknown, None, unknown, unknown, unknown)
    _, removed = admit(HerdFacts(herd), Query(text=""), nothing, Goals(constraints=limits))
    return removed


def select_candidates(table: OutcomeTable, limits: Constraints) -> tuple[OutcomeTable, dict[str, str]]:
    """The table without the candidates that miss a limit on what they are, and why each is left out.

    Raises:
        UnknownNameError: when the limits name a candidate outside the herd.
        NoCandidateError: when nobody is left.
    """
    excluded = removed_by_limits(table.herd, split_limits(limits)[0])
    left = [name for name in table.herd.names if name not in excluded]
    require_some(left, excluded)
    return (table.restrict(left) if excluded else table), excluded


def removed_by_coverage(coverage: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Candidates below ``MIN_COVERAGE`` on some split, each with the reason.

    Args:
        coverage: split name -> candidate -> share of its queries with a quality.
    """
    removed: dict[str, str] = {}
    for split, shares in coverage.items():
        for name, share in shares.items():
            if share < MIN_COVERAGE and name not in removed:
                removed[name] = (
                    f"covers {100 * share:.1f}% of split {split!r}, less than {100 * MIN_COVERAGE:.0f}%"
                )
    return removed


def completed(herd: Herd, known: Herd) -> Herd:
    """``herd`` with what it leaves unknown filled from the candidates of the same name in ``known``."""

    def fill(candidate: Candidate) -> Candidate:
        other = known.get(candidate.name)
        if other is None:
            return candidate
        changes: dict[str, Any] = {
            name: getattr(other, name) for name in _FACTS if getattr(candidate, name) is None
        }
        if not candidate.price.known:
            changes["price"] = other.price
        return candidate.replace(**changes)

    return Herd(fill(c) for c in herd)


_FACTS = (
    "params_b",
    "active_params_b",
    "open_weights",
    "context_tokens",
    "modalities",
    "tools",
    "json_schema",
    "licence",
    "released",
    "latency_s",
)


def require_some(names: list[str], excluded: dict[str, str]) -> None:
    """Refuse to go on with nobody.

    Raises:
        NoCandidateError: naming who was left out and why.
    """
    if names:
        return
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(excluded.items())[:6])
    more = f"; and {len(excluded) - 6} more" if len(excluded) > 6 else ""
    raise NoCandidateError(
        f"no candidate is left ({shown}{more}).",
        removed=excluded,
        remedy="Relax a limit, name candidates that share queries, or record more outcomes.",
    )


def measured_rows(test: OutcomeTable, herd: Herd, column: str) -> MeasuredRows:
    """The rows of ``test`` that every candidate of ``herd`` ran, columns in its order and with its facts.

    Raises:
        InputError: when there is no such row.
    """
    own = test.restrict(herd.names)
    # To the router's order, so that every matrix below has its columns.
    moved = np.array([herd.index(c.name) for c in own.herd], dtype=np.int32)
    aligned = replace(own, herd=herd, candidate_index=moved[own.candidate_index], _cache={})
    whole = np.isfinite(aligned.matrix(column)).all(axis=1)
    if not whole.any():
        raise InputError(
            f"no test query was run by all {len(herd)} remaining candidates.",
            remedy="Name candidates that share queries with --candidates.",
        )
    rows = aligned.take(np.flatnonzero(whole))
    return MeasuredRows(rows, rows.matrix(column).astype(np.float64), int((~whole).sum()))
