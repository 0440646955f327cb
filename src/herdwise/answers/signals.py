"""Signals of a completion's soundness that need no second opinion: truncation, length, repetition."""

from __future__ import annotations

import re
from dataclasses import dataclass

from herdwise.answers.extract import without_thinking
from herdwise.answers.refusal import Refusal, read_refusal
from herdwise.core.completion import Completion

#: Finish reasons by which upstreams say that the answer hit a limit.
_LIMITED = frozenset({"length", "max_tokens", "MAX_TOKENS", "model_length"})
_FINISHED = frozenset(
    {"stop", "end_turn", "eos", "STOP", "stop_sequence", "tool_calls", "function_call", "tool_use"}
)
_CLOSING = re.compile(r"[.!?。！？…:;)\]}»”\"'`*|>$]\s*$")
_GRAM = 6


@dataclass(frozen=True, slots=True)
class Signals:
    """What the text itself tells.

    Args:
        truncated: whether the upstream says that a limit cut it off; None when it says nothing.
        unclosed: whether the text ends without closing punctuation, as a cut-off text does.
        chars: length without thinking blocks.
        words: words of it.
        repetition: share of its 6-word runs that stood before, in [0, 1]; loops come near 1.
        refusal: see ``read_refusal``.
    """

    truncated: bool | None
    unclosed: bool
    chars: int
    words: int
    repetition: float
    refusal: Refusal | None


def repetition(text: str) -> float:
    """Share of a text's 6-word runs that it held before, in [0, 1]; 0.0 for fewer than seven words.

    >>> repetition("We can try. " * 30) > 0.9, repetition("Every word here is new to the text so far.")
    (True, 0.0)
    """
    words = text.split()
    n_runs = len(words) - _GRAM + 1
    if n_runs < 2:
        return 0.0
    runs = {tuple(words[i : i + _GRAM]) for i in range(n_runs)}
    return 1.0 - len(runs) / n_runs


def read_signals(text: str, finish_reason: str | None = None) -> Signals:
    """Signals of one answer's text."""
    said = without_thinking(text)
    truncated = True if finish_reason in _LIMITED else False if finish_reason in _FINISHED else None
    return Signals(
        truncated=truncated,
        unclosed=bool(said.strip()) and _CLOSING.search(said) is None,
        chars=len(said),
        words=len(said.split()),
        repetition=repetition(said),
        refusal=read_refusal(text),
    )


def completion_signals(completion: Completion) -> Signals:
    """Signals of a completion, its finish reason included."""
    return read_signals(completion.text, completion.finish_reason)
