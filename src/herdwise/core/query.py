"""Query: one request, as routing sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Characters per token when no tokenizer of the candidate is at hand: a rough, stated estimate.
CHARS_PER_TOKEN = 4.0


@dataclass(frozen=True, slots=True)
class Query:
    """One request.

    Args:
        text: what is routed on: the last user message, with earlier ones as far as the wire decides.
        id: unique where the query comes from a folder or benchmark.
        benchmark: where it comes from; never shown to a predictor at serving time.
        messages: the conversation in OpenAI's shape; empty for recorded queries.
        tools: offered tools in OpenAI's shape.
        modalities: what the input holds beyond text, such as "image".
        json_schema: whether the answer must keep a schema.
        max_output_tokens: the caller's own limit.
    """

    text: str
    id: str = ""
    benchmark: str | None = None
    messages: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    modalities: frozenset[str] = field(default_factory=frozenset)
    json_schema: bool = False
    max_output_tokens: int | None = None
    chars: int | None = None

    @property
    def input_tokens(self) -> float:
        """Estimated prompt length in tokens (``CHARS_PER_TOKEN``)."""
        return (self.chars if self.chars is not None else len(self.text)) / CHARS_PER_TOKEN


def as_queries(texts: Sequence[str]) -> list[Query]:
    """Plain texts as queries."""
    return [Query(text=t) for t in texts]
