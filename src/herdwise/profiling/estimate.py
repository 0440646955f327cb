"""What a profile would take, before anything is asked: calls, tokens, USD. Unknown is said to be so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from herdwise.core.candidate import Herd
from herdwise.core.query import CHARS_PER_TOKEN
from herdwise.profiling.benchmark import Item
from herdwise.profiling.journal import Record

#: Where the length of the answers is taken from: the mean of those recorded already, the max_tokens
#: limit (so it is an upper bound), or nowhere.
Basis = Literal["recorded", "limit", "unknown"]
#: So many recorded answers make a mean worth having.
_ENOUGH = 5


@dataclass(frozen=True, slots=True)
class CandidateEstimate:
    """What one candidate's missing answers would take; None = unknown.

    Args:
        candidate: its name.
        calls: asks that have no answer yet.
        input_tokens: estimated at four characters each.
        output_tokens: by ``basis``.
        basis: where that comes from.
        cost_usd: from the price and both.
    """

    candidate: str
    calls: int
    input_tokens: int
    output_tokens: int | None
    basis: Basis
    cost_usd: float | None


def estimate(
    herd: Herd, items: Sequence[Item], record: Record, *, samples: int, max_tokens: int | None
) -> list[CandidateEstimate]:
    """One estimate per candidate, in the herd's order; what is recorded already is not counted."""
    tokens = {item.id: _input_tokens(item.messages) for item in items}
    estimates = []
    for candidate in herd:
        missing = [
            tokens[item.id]
            for item in items
            for sample in range(samples)
            if (item.id, candidate.name, sample) not in record.answers
        ]
        lengths = [
            a.output_tokens
            for a in record.answers.values()
            if a.candidate == candidate.name and a.output_tokens is not None
        ]
        output: int | None = None
        basis: Basis = "unknown"
        if len(lengths) >= _ENOUGH:
            output, basis = math.ceil(sum(lengths) / len(lengths) * len(missing)), "recorded"
        elif max_tokens is not None:
            output, basis = max_tokens * len(missing), "limit"
        cost = candidate.price.cost_usd(sum(missing), output) if missing else 0.0
        estimates.append(CandidateEstimate(candidate.name, len(missing), sum(missing), output, basis, cost))
    return estimates


def _input_tokens(messages: Sequence[Any]) -> int:
    chars = sum(len(m["content"]) if isinstance(m.get("content"), str) else len(str(m)) for m in messages)
    return math.ceil(chars / CHARS_PER_TOKEN)
