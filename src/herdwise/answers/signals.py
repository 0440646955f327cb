"""Signals of a completion's soundness that need no second opinion: what its text and tokens tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from herdwise.answers.extract import without_thinking
from herdwise.answers.logprobs import TokenLogprobs, read_logprobs, token_logprobs
from herdwise.answers.malformed import Malformed, read_malformed
from herdwise.answers.refusal import Refusal, read_refusal
from herdwise.answers.stated import hedges, stated_confidence
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
        malformed: see ``read_malformed``.
        stated: the confidence that it states, in [0, 1]; None where it states none.
        hedges: how often it hedges.
        logprobs: of its tokens; None where the backend gives none.
    """

    truncated: bool | None
    unclosed: bool
    chars: int
    words: int
    repetition: float
    refusal: Refusal | None
    malformed: Malformed | None = None
    stated: float | None = None
    hedges: int = 0
    logprobs: TokenLogprobs | None = None


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


def read_signals(
    text: str,
    finish_reason: str | None = None,
    *,
    bodies: Sequence[Mapping[str, Any]] = (),
    calls: Iterable[Mapping[str, Any]] = (),
    value: str | None = None,
) -> Signals:
    """Signals of one answer's text.

    Args:
        text: the completion.
        finish_reason: as the upstream stated it.
        bodies: the upstream's objects, for token logprobs: one whole answer, or a stream's chunks.
        calls: its tool calls in OpenAI's shape.
        value: the answer that was read, for its own probability.
    """
    said = without_thinking(text)
    truncated = True if finish_reason in _LIMITED else False if finish_reason in _FINISHED else None
    return Signals(
        truncated=truncated,
        unclosed=bool(said.strip()) and _CLOSING.search(said) is None,
        chars=len(said),
        words=len(said.split()),
        repetition=repetition(said),
        refusal=read_refusal(text),
        malformed=read_malformed(text, calls),
        stated=stated_confidence(text),
        hedges=hedges(text),
        logprobs=read_logprobs(token_logprobs(bodies), value),
    )


def completion_signals(completion: Completion, value: str | None = None) -> Signals:
    """Signals of a completion: its finish reason, tool calls and token logprobs included."""
    choices: Any = completion.body.get("choices") or ({},)
    message = choices[0].get("message") or {}
    return read_signals(
        completion.text,
        completion.finish_reason,
        bodies=[completion.body],
        calls=[call for call in message.get("tool_calls") or () if isinstance(call, Mapping)],
        value=value,
    )
