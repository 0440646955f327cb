"""Signals of an answer as numbers, the same from a record as from a live answer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from herdwise.answers.signals import Signals, read_signals
from herdwise.core.outcomes import LOGPROB_COLUMNS, OutcomeTable

#: The columns of ``signal_row``.
SIGNALS = (
    "length",
    "truncated",
    "unclosed",
    "repetition",
    "partial_refusal",
    "malformed",
    "stated",
    "hedges",
    *LOGPROB_COLUMNS,
)
#: Columns that may hold the length of an answer, the first that is recorded counts.
LENGTHS = ("output_chars", "output_tokens")
#: More hedges than this say no more.
_MOST_HEDGES = 3
_LEAST_P = 0.02


def signal_row(signals: Signals, length: float | None) -> np.ndarray:
    """Signals of one answer, ``(len(SIGNALS),)`` float32, NaN = unknown.

    Args:
        signals: what was read of it.
        length: of the whole completion, in the unit of one of ``LENGTHS``.
    """
    tokens = signals.logprobs
    return np.array(
        [
            math.log(length) if length else math.nan,
            math.nan if signals.truncated is None else float(signals.truncated),
            float(signals.unclosed),
            signals.repetition,
            float(signals.refusal == "partial"),
            float(signals.malformed is not None),
            _log_odds(signals.stated),
            float(min(signals.hedges, _MOST_HEDGES)),
            *(
                (math.nan, math.nan, math.nan)
                if tokens is None
                else (tokens.mean, tokens.minimum, math.nan if tokens.answer is None else tokens.answer)
            ),
        ],
        dtype=np.float32,
    )


def recorded_length(table: OutcomeTable, completions: Mapping[tuple[str, str], str] | None) -> str | None:
    """Which of ``LENGTHS`` a table's answers can be measured in, None = neither."""
    known = [name for name in LENGTHS if table.has(name) or (completions and name == LENGTHS[0])]
    return known[0] if known else None


def signal_matrix(
    table: OutcomeTable,
    completions: Mapping[tuple[str, str], str] | None = None,
    length: str | None = LENGTHS[0],
) -> np.ndarray:
    """Signals of all recorded answers, ``(n, m, len(SIGNALS))`` float32, NaN = unknown.

    Args:
        table: outcomes; its columns of length and logprobs go before what a text tells of them.
        completions: (query id, candidate) -> full text, of those that have one.
        length: which of ``LENGTHS`` measures an answer, None = none.
    """
    found = np.full((table.n_queries, table.n_candidates, len(SIGNALS)), np.nan, dtype=np.float32)
    if completions:
        answers = table.answer_matrix()
        row = {query_id: i for i, query_id in enumerate(table.query_ids)}
        column = {name: j for j, name in enumerate(table.herd.names)}
        for (query_id, name), text in completions.items():
            i, j = row.get(query_id), column.get(name)
            if i is not None and j is not None:
                found[i, j] = signal_row(
                    read_signals(text, value=answers[i, j]), len(text) if length == LENGTHS[0] else None
                )
    if length is not None and table.has(length):
        known = table.matrix(length)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[:, :, 0] = np.where(known > 0, np.log(known), found[:, :, 0])
    for name in LOGPROB_COLUMNS:
        if table.has(name):
            known = table.matrix(name)
            place = SIGNALS.index(name)
            found[:, :, place] = np.where(np.isfinite(known), known, found[:, :, place])
    return found


def _log_odds(p: float | None) -> float:
    if p is None:
        return math.nan
    p = min(max(p, _LEAST_P), 1.0 - _LEAST_P)
    return math.log(p / (1.0 - p))
