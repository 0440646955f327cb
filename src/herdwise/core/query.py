"""Query: one request, as routing sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from herdwise.core.frozen import made_fast

#: Characters per token when no tokenizer of the candidate is at hand: a rough, stated estimate.
CHARS_PER_TOKEN = 4.0
#: Stands before each tool in ``Query.asked``, and between a tool's name, description and parameters: group
#: and unit separator of ASCII, which texts do not use.
TOOLS_MARK, TOOL_FIELDS = "\n\x1d", "\x1f"


@made_fast
@dataclass(frozen=True, slots=True)
class Query:
    """One request.

    Args:
        text: what is routed on: the last user message, with earlier ones as far as the wire decides.
        id: unique where the query comes from a folder or benchmark.
        benchmark: where it comes from; never shown to a predictor at serving time.
        messages: the conversation in OpenAI's shape; empty for recorded queries.
        tools: offered tools in OpenAI's shape; a candidate must be able to call them.
        recorded_tools: tools that a recorded query offered, which demand nothing of a candidate.
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
    recorded_tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def input_tokens(self) -> float:
        """Estimated prompt length in tokens (``CHARS_PER_TOKEN``)."""
        return (self.chars if self.chars is not None else len(self.text)) / CHARS_PER_TOKEN

    @property
    def asked(self) -> str:
        """The text with the offered tools after it: see ``asked_text``."""
        return asked_text(self.text, self.tools or self.recorded_tools)


def asked_text(text: str, tools: Sequence[Mapping[str, Any]]) -> str:
    """A query's text, and after a mark each of its tools: for encoders that read tools.

    Tools are in OpenAI's shape, or bare functions as benchmarks record them.

    >>> asked_text("Weather in Ottawa?", [{"name": "weather", "parameters": {"properties": {"city": {}}}}])
    'Weather in Ottawa?\\n\\x1dweather\\x1f\\x1fcity'
    """
    if not tools:
        return text
    parts = [text]
    for tool in tools:
        function = tool.get("function")
        function = function if isinstance(function, Mapping) else tool
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        names = " ".join(map(str, properties)) if isinstance(properties, Mapping) else ""
        fields = [str(function.get("name") or ""), str(function.get("description") or ""), names]
        parts.append(TOOL_FIELDS.join(fields))
    return TOOLS_MARK.join(parts)
