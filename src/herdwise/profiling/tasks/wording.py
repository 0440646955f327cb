"""How a question is put to a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from herdwise.answers.choice import LETTERS


def lettered(question: str, choices: Sequence[str]) -> str:
    """A question with its choices below it.

    >>> lettered("Which?", ["red", "blue"])
    'Which?\\nA. red\\nB. blue'
    """
    return "\n".join([question, *(f"{x}. {c}" for x, c in zip(LETTERS, choices, strict=False))])


def asked(text: str, instruction: str) -> tuple[Mapping[str, Any], ...]:
    """One user message: the text, and what its grader wants said."""
    return ({"role": "user", "content": f"{text}\n\n{instruction}" if instruction else text},)
