"""Which option did a completion choose? Reads one letter, and says how surely it was read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from herdwise.answers.extract import final_answer, normal_form, without_thinking

#: How a letter was found, surest first.
How = Literal["stated", "labelled", "bare", "option_text", "concluded", "last_letter"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Options in the common ten-option benchmarks; more must be named.
TEN = LETTERS[:10]

# "answer is" in English, German, French, Spanish, Italian, Portuguese, Dutch, Chinese, Japanese, Korean.
_STATING = (
    r"answer\s+(?:is|must\s+be|should\s+be|would\s+be|will\s+be)"
    r"|antwort\s+(?:ist|lautet)|r[ée]ponse\s+(?:est|exacte\s+est|correcte\s+est)|respuesta(?:\s+correcta)?\s+es"
    r"|risposta(?:\s+corretta)?\s+è|resposta(?:\s+correta)?\s+é|antwoord\s+is"
    r"|答案(?:应该|應該)?(?:是|为|為|选|選)|(?:正确|正確)(?:选项|選項|答案)(?:是|为|為)?"
    r"|(?:应选|應選|故选|故選|所以选|选择|選擇)|答えは|正解は|정답은|답은"
)
_LABEL = (
    r"(?:final\s+|correct\s+|best\s+)?(?:answer|antwort|r[ée]ponse|respuesta|risposta|resposta|antwoord)"
    r"|答案|答え|正解|정답"
)
_CORRECTION = re.compile(
    r"\b(?:wait|actually|correction|on second thought|let me (?:re|double)[- ]?\w*"
    r"|i made (?:a|an) (?:mistake|error)|sorry|apologi[sz]e)\b|不对|等等|更正",
    re.IGNORECASE,
)
# Capital I begins a clause of its own ("the answer is I think B") unless one of these follows.
_PRONOUN_I = re.compile(r"(?:['’]\w|\s+(?!(?:because|since|as|and|or|with|which|but|for|due|in)\b)[a-z])")


@dataclass(frozen=True, slots=True)
class Choice:
    """A letter that was read.

    Args:
        letter: the upper-case letter.
        how: "stated" (the answer is (C)), "labelled" (Answer: C), "bare" (the letter alone), "option_text"
            (the option's own words), "concluded" (the closest option is (C); so it would be (C)), or
            "last_letter": the last letter that stands alone anywhere, which is a guess.
    """

    letter: str
    how: How

    @property
    def sure(self) -> bool:
        """Whether the completion meant it as its answer."""
        return self.how != "last_letter"


@dataclass(frozen=True, slots=True)
class _Patterns:
    stated: re.Pattern[str]
    labelled: re.Pattern[str]
    concluded: re.Pattern[str]
    bare: re.Pattern[str]
    leading: re.Pattern[str]
    lone: re.Pattern[str]


@lru_cache(maxsize=32)
def _patterns(letters: str) -> _Patterns:
    upper, both = f"[{letters}]", f"[{letters}{letters.lower()}]"
    # Either wrapped, as (C), [C], \boxed{C} in either case, or a bare capital; quotes and emphasis aside.
    quotes, ends = r"[*_`\"'“$\s]*", r"(?![A-Za-z0-9_+]|[-−=^]\s*[A-Za-z0-9_])"
    inside_box = rf"\{{\s*\(?\s*(?:\\text\{{)?\(?(?P<x>{both})[)\s}}]"
    letter = (
        r"[\s:：]*(?:(?:option|choice|die|der|la|le|el|opción|Option)\s+|选项|選項)?"
        rf"(?:{quotes}[(\[（{{【]\s*(?P<w>{both})\s*[)\]）}}】]|{quotes}\\boxed{inside_box}"
        rf"|{quotes}(?P<p>{upper}){ends})"
    )
    return _Patterns(
        stated=re.compile(rf"(?:(?i:{_STATING}){letter}|\\boxed{inside_box.replace('<x>', '<y>')})"),
        labelled=re.compile(rf"(?i:\b{_LABEL})[*_\s]*[:：][*_\s]*{letter}"),
        concluded=re.compile(
            r"(?i:\b(?:is|be|matches|corresponds to|therefore|thus|so|choose|select|pick|option|choice))"
            rf"[\s:,*_]*(?:(?i:option|choice)\s+)?[*_]*[(\[](?P<w>{upper})[)\]]"
            r"|(?i:\b(?:choose|select|pick|option|choice)(?:\s+is)?(?:\s+option)?)"
            rf"\s+{quotes}(?P<p>{upper}){ends}"
        ),
        bare=re.compile(rf"^[\s*_`\"'“(\[（$]*(?P<w>{both})[\s*_`\"'”)\]）$.。:]*$"),
        leading=re.compile(rf"^[\s*_`\"'“(\[（]*(?P<w>{upper})[*_]*[).:：）\]][*_]*\s+\S", re.MULTILINE),
        lone=re.compile(rf"(?<![A-Za-z0-9_])(?P<p>{upper})(?![A-Za-z0-9_])"),
    )


def _letter(match: re.Match[str]) -> str:
    return next(v for v in match.groupdict().values() if v is not None).upper()


def _is_pronoun(match: re.Match[str], text: str) -> bool:
    plain = match.groupdict().get("p")
    return plain == "I" and _PRONOUN_I.match(text, match.end()) is not None


def _first_or_corrected(pattern: re.Pattern[str], text: str) -> str | None:
    """The first statement; a later one only where the text takes the earlier back.

    The first, because base models go on to invent further questions and answer those too.
    """
    chosen: re.Match[str] | None = None
    for match in pattern.finditer(text):
        if _is_pronoun(match, text):
            continue
        if chosen is None or _CORRECTION.search(text, chosen.end(), match.start()):
            chosen = match
    return None if chosen is None else _letter(chosen)


def read_choice(text: str, *, letters: str = TEN, options: Sequence[str] | None = None) -> Choice | None:
    """The option that a completion chose, or None when it names none.

    The order of trust is that of ``How``. Text inside ``<think>`` is not read. A caller that wants no
    guesses keeps only a ``Choice`` that is ``sure``.

    Args:
        text: the completion.
        letters: the letters that are options.
        options: the options' own words, in the letters' order; they also bound ``letters``.

    >>> read_choice("So it must double. The answer is (E).")
    Choice(letter='E', how='stated')
    >>> read_choice("Nobody can tell.") is None
    True
    """
    if options is not None:
        letters = LETTERS[: len(options)]
    text = without_thinking(text)
    patterns = _patterns(letters)
    first: tuple[tuple[How, re.Pattern[str]], ...] = (
        ("stated", patterns.stated),
        ("labelled", patterns.labelled),
    )
    for how, pattern in first:
        letter = _first_or_corrected(pattern, text)
        if letter is not None:
            return Choice(letter, how)
    lines = [line for line in text.splitlines() if line.strip()]
    for line in [lines[-1], lines[0]] if lines else []:
        bare = patterns.bare.match(line)
        if bare is not None:
            return Choice(_letter(bare), "bare")
    leading = patterns.leading.findall(text)
    if lines and len(leading) == 1 and patterns.leading.match(lines[0]):
        return Choice(leading[0], "bare")
    if options is not None and lines:
        said = {normal_form(lines[-1]), normal_form(text), normal_form(final_answer(text))}
        pairs = zip(letters, options, strict=True)
        alike = [letter for letter, option in pairs if normal_form(option) in said]
        if len(alike) == 1:
            return Choice(alike[0], "option_text")
    last: tuple[tuple[How, re.Pattern[str]], ...] = (
        ("concluded", patterns.concluded),
        ("last_letter", patterns.lone),
    )
    for source, pattern in last:
        meant = [match for match in pattern.finditer(text) if not _is_pronoun(match, text)]
        if meant:
            return Choice(_letter(meant[-1]), source)
    return None
