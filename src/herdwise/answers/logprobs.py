"""How probable a candidate held its own tokens, where the backend says so (``logprobs: true``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Natural logarithms of token probabilities, at most 0.

    Args:
        mean: over all tokens of the answer.
        minimum: of the least probable token.
        answer: of the tokens that name the answer (an option's letter, a number) together; None where they
            can't be found.
        n_tokens: tokens counted.
    """

    mean: float
    minimum: float
    answer: float | None
    n_tokens: int


def token_logprobs(bodies: Iterable[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Tokens and their logprobs of a first choice, in order; empty where the backend gives none.

    Reads OpenAI's ``choices[0].logprobs.content`` and the older ``tokens`` with ``token_logprobs``.

    Args:
        bodies: a whole answer's object, or a stream's chunk objects in order.
    """
    found: list[tuple[str, float]] = []
    for body in bodies:
        for choice in body.get("choices") or ():
            told = choice.get("logprobs") if isinstance(choice, Mapping) else None
            if not isinstance(told, Mapping) or choice.get("index", 0) != 0:
                continue
            content = told.get("content")
            if isinstance(content, (list, tuple)):
                pairs: list[tuple[Any, Any]] = [
                    (t.get("token"), t.get("logprob")) for t in content if isinstance(t, Mapping)
                ]
            else:
                older = told.get("tokens"), told.get("token_logprobs")
                tokens, logprobs = (part if isinstance(part, (list, tuple)) else () for part in older)
                pairs = list(zip(tokens, logprobs, strict=False))
            for token, logprob in pairs:
                if isinstance(token, str) and _is_finite(logprob):
                    found.append((token, min(float(logprob), 0.0)))
    return found


def read_logprobs(tokens: list[tuple[str, float]], value: str | None = None) -> TokenLogprobs | None:
    """Mean, minimum and the answer's own logprob; None where there is no token.

    Args:
        tokens: as ``token_logprobs`` gives them.
        value: the answer that was read; its last place in the text counts, since reasoning names others
            on its way.

    >>> read_logprobs([("The answer is (", -0.25), ("B", -0.5), (").", 0.0)], "B")
    TokenLogprobs(mean=-0.25, minimum=-0.5, answer=-0.5, n_tokens=3)
    """
    if not tokens:
        return None
    each = [p for _, p in tokens]
    return TokenLogprobs(sum(each) / len(each), min(each), _of_value(tokens, value), len(each))


def _of_value(tokens: list[tuple[str, float]], value: str | None) -> float | None:
    if not value:
        return None
    text = "".join(token for token, _ in tokens)
    # A letter is written as it is read; other values are read in lower case.
    where, sought = (text, value) if len(value) == 1 and value.isupper() else (text.lower(), value.lower())
    if len(where) != len(text):
        return None
    begin = where.rfind(sought)
    while begin >= 0 and not _stands_alone(where, begin, begin + len(sought)):
        begin = where.rfind(sought, 0, begin)
    if begin < 0:
        return None
    end, at, total = begin + len(sought), 0, 0.0
    for token, logprob in tokens:
        if at < end and at + len(token) > begin:
            total += logprob
        at += len(token)
    return total


def _stands_alone(text: str, begin: int, end: int) -> bool:
    before, after = text[begin - 1 : begin], text[end : end + 1]
    return not (before.isalnum() and text[begin].isalnum()) and not (
        after.isalnum() and text[end - 1].isalnum()
    )


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e300  # math.isfinite takes no whole number of any length
