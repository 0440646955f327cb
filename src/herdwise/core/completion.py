"""What a candidate gave back: a whole Completion, or Chunks of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from herdwise.core.frozen import made_fast


@made_fast
@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the upstream stated them; None = not stated."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    def plus(self, other: Usage) -> Usage:
        """The sum; unknown where either is unknown."""

        def add(a: int | None, b: int | None) -> int | None:
            return None if a is None or b is None else a + b

        return Usage(add(self.input_tokens, other.input_tokens), add(self.output_tokens, other.output_tokens))


@made_fast
@dataclass(frozen=True, slots=True)
class Completion:
    """One whole answer.

    Args:
        candidate: who answered.
        text: the first choice's text ("" when it holds only tool calls).
        finish_reason: as the upstream stated it.
        usage: token counts.
        latency_s: seconds from ask to last byte.
        first_token_s: seconds from ask to the first text, when streamed.
        body: the upstream's own response object, passed on untouched but for ``model``.
    """

    candidate: str
    text: str
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    latency_s: float | None = None
    first_token_s: float | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Chunk:
    """One piece of a streamed answer: the upstream's own chunk object, and what was read from it.

    Not changed once it is made; that is not enforced, because making it would take four times as long.
    """

    body: Mapping[str, Any]
    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
