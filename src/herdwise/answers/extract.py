"""What a completion says: its answer's span, a number with its unit, yes or no, short text in normal form."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field

_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_AROUND = " \t\n*_`\"'$;:!?()"  # what may stand around a bare number; a leading point or minus is its own
_FENCE = re.compile(r"```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_STATED = re.compile(
    r"(?:answer\s+is|answer\s*[:：]|antwort\s+(?:ist|lautet)|antwort\s*:|r[ée]ponse\s+est|r[ée]ponse\s*:"
    r"|respuesta\s+es|respuesta\s*:|risposta\s+è|resposta\s+é|答案(?:是|为|為)?[:：]?|答えは|####)"
    r"[ \t*_:：]*",
    re.IGNORECASE,
)
_ARTICLES = frozenset({"a", "an", "the"})
_OUTER = r"[\s\"'“”‘’`*_.,;:!?。，；：！？()\[\]$]+"
_EDGES = re.compile(rf"^{_OUTER}|{_OUTER}$")

_GROUPED = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:[  ]\d{3})+(?:[.,]\d+)?"
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<sign>[-−–+]\s?)?[$€£¥]?(?P<body>{_GROUPED}|\d+[.,]\d+|\d+|\.\d+)"
    r"(?:\s*(?:[x×*]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?\s*(?P<power>[-−]?\d+)\}?|[eE](?P<exp>[-+]?\d+))?"
    r"(?:\s*/\s*(?P<under>\d+(?:\.\d+)?)(?![\w/]))?"
    r"(?P<scale>(?:[ \u00a0-]?(?i:hundred|thousand|million|billion|trillion|dozen)s?(?![A-Za-z]))+)?"
    r"(?:\s?(?P<unit>%|°\s?[CF]?|(?![xX×]\s*\d)[A-Za-zµΩ][A-Za-zµΩ/^²³0-9]{0,11}))?"
)
_FRACTION = re.compile(r"\\d?frac\s*\{\s*([-−]?\d+(?:\.\d+)?)\s*\}\s*\{\s*(\d+(?:\.\d+)?)\s*\}")
_PARTS = frozenset({2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 32, 64})
_VULGAR = re.compile("[¼-¾⅐-⅞]")
#: 1 1/2; an exponent or a denominator before a fraction is no whole number of it, and 13 1/20 holds a date.
_MIXED = re.compile(r"(?<![\w.,/^{])(\d{1,4})[ \u00a0]{1,2}(\d{1,3})\s?/\s?(\d{1,3})(?!\s*/|\w|[.,]\d)")
#: "is minus 5"; "7 minus 5" is a difference.
_MINUS = re.compile(
    r"(\A[\s*_\"'(]*|\b(?:is|be|to|of|equals)\s+[*_]*|[=:]\s*)(?:minus|negative)\s+(?=[$€£¥]?\.?\d)",
    re.IGNORECASE,
)
# Single letters are no scales: K is kelvin, M molar, and 3k three times k.
_SCALES = {"dozen": 12.0, "hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}

_YES = r"yes|yeah|yep|true|correct|ja|oui|vrai|s[íì]|verdadero|sim|vero|是的|是|对|正确|はい"
_NO = r"no|nope|false|incorrect|nein|non|faux|falso|não|不是|不对|否|错误|いいえ"
_LEADING = re.compile(
    rf"(?:(?P<no>{_NO})|(?P<yes>{_YES}))(?=\s*(?:[,.;:!–—-]|[，。；：！]|\Z))", re.IGNORECASE
)
_OFFERS_YES_NO = re.compile(
    r"\b(?:yes or no|yes/no|true or false|true/false|ja oder nein|oui ou non|vrai ou faux|sí o no)\b",
    re.IGNORECASE,
)
# Not "can you ...?", which asks for the thing itself.
_ASKS_WHETHER = re.compile(
    r"(?:\A|[.!?:,\n])\s*(?:is|are|was|were|do|does|did|can|could|will|would|has|have|had|should|must)\s"
    r"(?!\s*you\b)(?:(?!\bor\b)[^.!?\n])+\?\Z",
    re.IGNORECASE,
)
#: So much of a question's end is looked at.
_END_CHARS = 300
_YES_NO = re.compile(rf"(?<!\w)(?:(?P<no>{_NO})|(?P<yes>{_YES}))(?![a-zà-ÿ])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """A number that was read.

    Args:
        value: as a whole: 3000000.0 for "3 million".
        unit: what followed it; "" where nothing did.
        scale: what its words multiplied it by: 1e6 for "3 million".
    """

    value: float
    unit: str = ""
    scale: float = field(default=1.0, repr=False)


def without_thinking(text: str) -> str:
    """The text outside ``<think>`` blocks, also where the block is never closed or never opened."""
    closing = re.search(r"</(?:think|thinking|reasoning)>", text, re.IGNORECASE)
    opening = re.search(r"<(?:think|thinking|reasoning)>", text, re.IGNORECASE)
    if closing and (opening is None or opening.start() > closing.start()):
        text = text[closing.end() :]  # the chat template had opened the block already
    return _THINKING.sub("", text)


def boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}``, braces balanced; None where there is none."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for position in range(begin - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position].strip()
    return None


def final_answer(text: str) -> str:
    r"""The part of a completion that is its answer, without the marks around it.

    In this order: the last ``\boxed{}``; what follows the last "the answer is", "Answer:" or "####" up to
    the line's end; the last line that is not empty. "" for an empty completion.

    >>> final_answer("3 + 4 is 7.\n\nThe answer is **seven**.")
    'seven'
    """
    return trimmed(_answer_span(text))


def states_answer(text: str) -> bool:
    r"""Whether a completion marks its answer: by ``\boxed{}``, "the answer is", "Answer:" or "####"."""
    text = without_thinking(text)
    return boxed(text) is not None or any(text[m.end() :].strip() for m in _STATED.finditer(text))


def _answer_span(text: str) -> str:
    text = without_thinking(text)
    inside = boxed(text)
    if inside is not None:
        return inside
    stated = [m for m in _STATED.finditer(text) if text[m.end() :].strip()]
    if stated:
        return text[stated[-1].end() :].lstrip().splitlines()[0]
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def trimmed(text: str) -> str:
    """Without the punctuation, quotes and emphasis around it."""
    return _EDGES.sub("", text)


def normal_form(text: str) -> str:
    """Short text so that only its words count: NFKC, case folded, no outer punctuation or articles.

    >>> normal_form("  The **Eiffel Tower**. ") == normal_form("eiffel tower")
    True
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"[*_`\"“”]|(?<!\w)['‘’]|['‘’](?!\w)", " ", text)
    words = trimmed(text).split()
    # "A" may be the whole answer.
    return trimmed(" ".join(word for word in words if word not in _ARTICLES) or " ".join(words))


def _value(body: str) -> float:
    body = re.sub(r"[  ]", "", body)
    comma, dot = body.rfind(","), body.rfind(".")
    if comma >= 0 and dot >= 0:
        # The later mark is the decimal one: 1,234.5 and 1.234,5.
        body = body.replace(",", "") if dot > comma else body.replace(".", "").replace(",", ".")
    elif comma >= 0:
        # 1,234 groups thousands; 3,14 is a decimal comma.
        grouped = re.fullmatch(r"\d{1,3}(?:,\d{3})+", body)
        body = body.replace(",", "") if grouped and not body.startswith("0,") else body.replace(",", ".")
    return float(body)


def _number(match: re.Match[str]) -> Number | None:
    value = _value(match["body"])
    try:
        if match["power"] is not None:
            value *= 10.0 ** int(match["power"].replace("−", "-"))
        if match["exp"] is not None:
            value *= 10.0 ** int(match["exp"])
    except (OverflowError, ValueError):  # int() reads no more than some thousand digits
        return None
    if match["under"] is not None:
        if float(match["under"]) == 0:
            return None
        value /= float(match["under"])
    if (match["sign"] or "").strip() in {"-", "−", "–"}:
        value = -value
    scale = 1.0
    for word in re.findall("[a-z]+", (match["scale"] or "").lower()):
        scale *= _SCALES[word.removesuffix("s")]
    if not math.isfinite(value * scale):  # beyond what a float holds, where all would be the same
        return None
    return Number(value * scale, (match["unit"] or "").replace(" ", ""), scale)


def _plain(text: str) -> str:
    text = _FRACTION.sub(lambda m: f" {m[1]}/{m[2]} ", text).replace("\\%", "%").replace("\\,", "")
    text = _VULGAR.sub(lambda m: " " + unicodedata.normalize("NFKC", m[0]).replace("\u2044", "/"), text)
    return _MIXED.sub(_mixed, _MINUS.sub(r"\1-", text))


def _mixed(match: re.Match[str]) -> str:
    """1 1/2 as a decimal; where the fraction is no part of one, these are two numbers."""
    whole, over, under = (int(part) for part in match.groups())
    return repr(whole + over / under) if 0 < over < under and under in _PARTS else match[0]


def numbers(text: str) -> list[Number]:
    """All numbers of a text in order, with the units behind them.

    Reads thousands separators, decimal commas, 1.2e3, 1.2 × 10^3, fractions (3/4, 1 1/2, ½), minus signs,
    and dozen, hundred, thousand, million, billion and trillion behind a number; no number words.

    >>> [n.value for n in numbers("1,234.5 km, 3/4 and -2 × 10^3")]
    [1234.5, 0.75, -2000.0]
    """
    found = (_number(match) for match in _NUMBER.finditer(_plain(text)))
    return [number for number in found if number is not None]


def as_number(text: str) -> Number | None:
    """The number that a short answer consists of, unit included; None where other words stand by it.

    >>> as_number("**1,000 m**."), as_number("room 5")
    (Number(value=1000.0, unit='m'), None)
    """
    match = _NUMBER.fullmatch(_plain(text).strip(_AROUND).removesuffix(".").strip(_AROUND))
    return None if match is None else _number(match)


def read_number(text: str) -> Number | None:
    """The number that a completion gives as its answer: the stated one, else the last; None without any."""
    text = without_thinking(text)
    span = _answer_span(text)
    said = numbers(span)
    if said:
        # "x = 3 + 4 = 7" ends in its result; "7 apples out of 9" begins with it.
        return said[-1] if "=" in span else said[0]
    anywhere = numbers(text)
    return anywhere[-1] if anywhere else None


def read_yes_no(text: str) -> bool | None:
    """Yes (True), no (False) or neither (None): in a short stated answer, else in the first 80 characters."""
    said = final_answer(text)
    for part in (said if len(said) < 80 else "", without_thinking(text).lstrip()[:80]):
        match = _YES_NO.search(part)
        if match is not None:
            return match["yes"] is not None
    return None


def asks_yes_no(question: str) -> bool:
    """Whether a question, or the last one of a text, is to be answered by yes or no.

    >>> asks_yes_no("Rain fell. Is it wet?"), asks_yes_no("Is it red or blue?"), asks_yes_no("What is it?")
    (True, False, False)
    """
    if _OFFERS_YES_NO.search(question) is not None:
        return True
    return _ASKS_WHETHER.search(question.strip()[-_END_CHARS:]) is not None


def leading_yes_no(text: str) -> bool | None:
    """Yes (True) or no (False) where a completion, or the answer that it states, begins so; else None.

    >>> leading_yes_no("Yes, it is."), leading_yes_no("Answer: **No**"), leading_yes_no("No one knows.")
    (True, False, None)
    """
    for part in (final_answer(text), trimmed(without_thinking(text).strip())):
        match = _LEADING.match(part)
        if match is not None:
            return match["yes"] is not None
    return None


def read_code(text: str, language: str | None = None) -> str | None:
    """The last fenced block (of that language where one is so marked), else None.

    A text without any fence is the caller's to judge: it may be code or prose.
    """
    blocks = [(m[1].lower(), m[2]) for m in _FENCE.finditer(without_thinking(text))]
    if not blocks:
        return None
    wanted = [code for marked, code in blocks if language is None or marked.startswith(language[:2].lower())]
    return (wanted or [code for _, code in blocks])[-1]


def read_short_text(text: str) -> str | None:
    """The stated answer in normal form, None when nothing is left of it."""
    return normal_form(final_answer(text)) or None
