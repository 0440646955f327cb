"""What a policy hears of an answer: its value, or why it is none. One function for replay and dispatch.

A value is what answers are compared by: a letter where the query offers options, canonical JSON where it
demands a schema, a program in normal form where it asks for one, yes or no where it asks whether something
is so, the stated or short answer in normal form, and of free text the words with which it begins, which
stand for all of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec

from herdwise.answers.agree import same_answer
from herdwise.answers.choice import read_choice
from herdwise.answers.code import asks_for_code, normal_program, program_of
from herdwise.answers.extract import (
    asks_yes_no,
    final_answer,
    leading_yes_no,
    normal_form,
    read_code,
    states_answer,
    without_thinking,
)
from herdwise.answers.options import options_of
from herdwise.answers.refusal import read_refusal
from herdwise.core.query import Query
from herdwise.routing.base import Answer, Belief, Failure
from herdwise.routing.weighing import weighed

#: Why an answer is none -> what is said of it.
MISSING = {
    "empty": "the answer is empty",
    "refused": "the candidate declined",
    "unreadable": "the answer names none of the options",
    "malformed": "the answer is not the JSON that was asked for",
    "truncated": "the answer was cut off",
    "fails_tests": "the program fails the tests that the question gives",
}
#: So many words are still a short answer, such as a name or a sentence.
_SHORT_WORDS = 30
_SHOWN = 60
_CUT_OFF = frozenset({"length", "max_tokens", "MAX_TOKENS", "model_length"})


def read_value(query: Query, text: str, finish_reason: str | None = None) -> tuple[str | None, str]:
    """What a completion answers, in the form in which answers are compared; never a mere guess.

    Args:
        query: what was asked.
        text: the whole completion.
        finish_reason: as the upstream stated it.

    Returns:
        The value and ""; or None and a key of ``MISSING``.
    """
    refusal = read_refusal(text)
    if refusal == "empty":
        return None, "empty"
    if query.json_schema:
        return _read_json(text)
    options = options_of(query.text)
    if options:
        choice = read_choice(text, options=options)
        if choice is not None and choice.sure:
            return choice.letter, ""
        return None, "refused" if refusal == "refused" else "unreadable"
    if refusal == "refused":
        return None, "refused"
    if finish_reason in _CUT_OFF and query.max_output_tokens is None:
        return None, "truncated"
    program = program_of(text) if asks_for_code(query.text) else None
    if program is not None:
        return marked("code", normal_program(program)), ""
    said = leading_yes_no(text) if asks_yes_no(query.text) else None
    if said is not None:
        return ("yes" if said else "no"), ""
    if is_free(text):
        return marked("text", normal_form(without_thinking(text))), ""
    value = normal_form(final_answer(text))
    return (value, "") if value else (None, "empty")


def is_free(text: str) -> bool:
    """Whether a completion is free text: longer than a short answer, and without a mark at its answer."""
    return len(without_thinking(text).split()) > _SHORT_WORDS and not states_answer(text)


def marked(kind: str, content: str) -> str:
    """A value that stands for more than can be shown: its kind, its beginning, and a digest of all of it."""
    begins = content[:_SHOWN].strip()
    return f"{kind}: {begins} ... {hashlib.sha256(content.encode(errors='replace')).hexdigest()[:12]}"


def hear(
    belief: Belief | None,
    answers: list[Answer],
    ask: int,
    candidate: int,
    *,
    value: str | None,
    missing: str = "",
    text: str = "",
    latency_s: float | None = None,
    cost_usd: float | None = None,
    evidence: float = 0.0,
    alike: tuple[float, ...] = (),
) -> tuple[Answer | Failure, Belief | None]:
    """One answer that came back: what the policy is told of it, and the belief after it.

    A value that says the same as an earlier one (1,000 and 1000.0) is given that one's wording.

    Args:
        belief: before it; None where none was learned.
        answers: those heard before it.
        ask, candidate: the ask's number and the candidate's position.
        value, missing: as ``read_value`` gives them; both empty where answers can't be told apart.
        text, latency_s, cost_usd, evidence, alike: see ``Answer``.
    """
    if missing:
        failure = Failure(
            ask, candidate, missing, MISSING[missing], returnable=bool(text) or missing != "empty"
        )
        return failure, None if belief is None else belief.observe(candidate, None)
    if value is None:
        return Answer(ask, candidate, text, None, None, latency_s, cost_usd), belief
    value = _wording(value, answers)
    told = Answer(ask, candidate, text, value, None, latency_s, cost_usd, evidence, alike)
    if belief is None:
        return told, None
    belief = weighed(belief.observe(candidate, value), [*answers, told])
    return replace(told, trust=belief.trust(candidate)), belief


def _wording(value: str, answers: list[Answer]) -> str:
    """The wording of the first answer that says the same, else its own."""
    if len(value) == 1 and value.isalpha():
        return value  # an option's letter has no other wording
    return next((a.value for a in answers if a.value is not None and same_answer(a.value, value)), value)


def _read_json(text: str) -> tuple[str | None, str]:
    body = read_code(text, "json") or text
    try:
        return msgspec.json.encode(msgspec.json.decode(body.strip()), order="sorted").decode(), ""
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None, "malformed"
