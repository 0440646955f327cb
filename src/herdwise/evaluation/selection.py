"""Which candidates of a table take part: limits on what is known of them before any query."""

from __future__ import annotations

import math

from herdwise.core.candidate import Candidate
from herdwise.core.decision import Constraints
from herdwise.core.errors import HerdMismatchError, NoCandidateError
from herdwise.core.outcomes import OutcomeTable


def select_candidates(table: OutcomeTable, limits: Constraints) -> tuple[OutcomeTable, dict[str, str]]:
    """Leave out who misses a limit; an unknown value does not meet it.

    Looks at sizes, open weights and names only: limits on a query's cost or latency are routing's.

    Returns:
        the table restricted to who is left, and the reason of each who is not.

    Raises:
        HerdMismatchError: when a name is not in the table's herd.
        NoCandidateError: when nobody is left.
    """
    for name in sorted(limits.candidates or ()):
        if name not in table.herd:
            raise HerdMismatchError(
                f"candidate {name!r} is not in {table.name or 'the outcomes'}.",
                remedy=f"Known: {', '.join(table.herd.names)}.",
            )
    excluded = {c.name: reason for c in table.herd if (reason := _missed(c, limits))}
    left = [name for name in table.herd.names if name not in excluded]
    if not left:
        raise NoCandidateError(
            "no candidate is left under the limits.",
            removed=excluded,
            remedy="Relax --max-params-b, --max-active-params-b, --open-weights-only or --candidates.",
        )
    return (table.restrict(left) if excluded else table), excluded


def _missed(candidate: Candidate, limits: Constraints) -> str:
    if limits.candidates is not None and candidate.name not in limits.candidates:
        return "not among --candidates"
    for what, value, limit in (
        ("params_b", candidate.params_b, limits.max_params_b),
        ("active_params_b", candidate.active_params_b, limits.max_active_params_b),
    ):
        if limit is not None:
            if value is None or math.isnan(value):
                return f"{what} unknown"
            if value > limit:
                return f"{what} {value:g} > {limit:g}"
    if limits.open_weights_only and candidate.open_weights is not True:
        return "open_weights unknown" if candidate.open_weights is None else "weights are not open"
    return ""
