"""What a completion says of its own sureness: a stated confidence, and words that hedge.

Models state more than they reach (Xiong et al., Can LLMs Express Their Uncertainty?, 2024), so what is read
here is a signal whose worth has to be learned, not a probability to go by.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from herdwise.answers.extract import without_thinking

_N = r"(?P<n>\d{1,3}(?:[.,]\d+)?|[.,]\d+)"
_PERCENT = rf"{_N}\s*(?:%|percent\b|per cent\b|Prozent\b|pour cent\b|por ciento\b)"
#: 8/10, 8 out of 10, 0.8, 80 %.
_SCALE = rf"{_N}\s*(?:(?P<percent>%|percent\b)|(?:/|out of|von|sur|de)\s*(?P<of>10|100|5|1)\b)?"
_SURE = r"(?:sure|certain|confident|positive)"
_LABEL = (
    r"(?:(?:my|overall|final)\s+)?(?:confidence(?:\s+(?:level(?=\W{0,4}[:：=(])|score|rating))?|certainty"
    r"|probability\s+(?:that\s+)?(?:i\s+am|i['’]m|of\s+being)\s+(?:right|correct))"
    r"|konfidenz|sicherheit|zuversicht|niveau\s+de\s+confiance|confiance|certitude"
    r"|nivel\s+de\s+confianza|confianza|certeza|置信度|信心|把握|确信度|確信度"
)
_STATISTICS = re.compile(r"\s*(?:%\s*)?(?:confidence\s+)?(?:interval|limit|band|region|bound)", re.IGNORECASE)
_NUMBERED = re.compile(
    rf"(?:{_LABEL})[*_\s]*(?:[:：=]|is|ist|est|es|为|是|\()[*_\s]*(?:about\s+|around\s+|etwa\s+|约)?{_SCALE}"
    r"(?![\w.,]*\d)",
    re.IGNORECASE,
)
_IN_PERCENT = re.compile(
    rf"\bI(?:['’]m|\s+am)\s+(?:about\s+|around\s+|roughly\s+|only\s+|at least\s+)?{_PERCENT}\s+{_SURE}"
    rf"|{_PERCENT.replace('<n>', '<n2>')}\s+sure\b"
    rf"|\bwith\s+{_PERCENT.replace('<n>', '<n3>')}\s+certainty\b"
    rf"|\bzu\s+{_PERCENT.replace('<n>', '<n4>')}\s+(?:sicher|überzeugt)"
    rf"|\b(?:sûre?|certaine?)\s+à\s+{_PERCENT.replace('<n>', '<n5>')}"
    rf"|\bsegur[oa]\s+(?:al|en\s+un)\s+{_PERCENT.replace('<n>', '<n6>')}"
    rf"|{_PERCENT.replace('<n>', '<n7>')}\s+segur[oa]\b"
    rf"|{_PERCENT.replace('<n>', '<n8>')}\s*的?(?:把握|确定|確定|信心)",
    re.IGNORECASE,
)
_HIGH, _FAIR, _LOW, _NONE = 0.95, 0.75, 0.4, 0.25
# Most special first: "not very sure" must not read as "very sure".
_WORDED: tuple[tuple[float, str], ...] = (
    (
        _NONE,
        r"\bI\s+(?:really\s+|honestly\s+)?(?:have\s+no\s+idea|do(?:n['’]t|\s+not)\s+know)\b|\bich\s+weiß\s+(?:es\s+)?nicht"
        r"|\bje\s+ne\s+sais\s+pas|\bno\s+(?:lo\s+)?sé\b|我(?:真的)?不知道|\b(?:just|only)\s+a\s+guess\b"
        r"|\bI(?:['’]m|\s+am)\s+(?:just\s+)?guessing\b",
    ),
    (
        _LOW,
        rf"\b(?:not|n['’]t)\s+(?:at\s+all\s+|entirely\s+|completely\s+|quite\s+|very\s+|so\s+|100\s*%\s+|too\s+)?{_SURE}\b"
        r"|\bI(?:['’]m|\s+am)\s+(?:unsure|uncertain)\b|\b(?:low|little)\s+confidence\b"
        r"|\bnicht\s+(?:ganz\s+|sehr\s+|völlig\s+)?sicher\b|\bunsicher\b"
        r"|\b(?:pas|guère)\s+(?:tout\s+à\s+fait\s+|très\s+|entièrement\s+)?(?:sûre?|certaine?)\b"
        r"|\bno\s+estoy\s+(?:del\s+todo\s+|muy\s+|completamente\s+)?segur[oa]\b"
        r"|不(?:太|是很|能|完全)?(?:确定|確定|肯定)|没(?:有)?把握|沒(?:有)?把握",
    ),
    (
        _HIGH,
        r"\bI(?:['’]m|\s+am)\s+(?:very|absolutely|completely|totally|entirely|highly|quite|100\s*%)\s+"
        rf"{_SURE}\b|\bI(?:['’]m|\s+am)\s+{_SURE}\b|\b(?:high|full|great|complete)\s+confidence\b|\bwithout\s+(?:a\s+)?doubt\b"
        r"|\bbin\s+(?:mir\s+)?(?:sehr\s+|ganz\s+|absolut\s+|völlig\s+)?sicher\b|\bohne\s+Zweifel\b"
        r"|\bsuis\s+(?:tout\s+à\s+fait\s+|très\s+|absolument\s+)?(?:sûre?|certaine?)\b|\bsans\s+aucun\s+doute\b"
        r"|\bestoy\s+(?:muy\s+|totalmente\s+|completamente\s+)?segur[oa]\b|\bsin\s+(?:ninguna\s+)?duda\b"
        r"|我(?:非常|十分|很|完全)?(?:确定|確定|肯定)|毫无疑问|毫無疑問",
    ),
    (
        _FAIR,
        rf"\bI(?:['’]m|\s+am)\s+(?:fairly|pretty|reasonably|rather|somewhat|moderately|almost)\s+{_SURE}\b"
        r"|\b(?:moderate|medium|reasonable|fair)\s+confidence\b"
        r"|\bbin\s+(?:mir\s+)?(?:ziemlich|recht|relativ|fast|einigermaßen)\s+sicher\b"
        r"|\bsuis\s+(?:presque|assez|plutôt|relativement)\s+(?:sûre?|certaine?)\b"
        r"|\bestoy\s+(?:bastante|casi|razonablemente)\s+segur[oa]\b"
        r"|(?:比较|相当|基本)(?:确定|肯定)|比較確定",
    ),
)
_WORDS: tuple[tuple[float, re.Pattern[str]], ...] = tuple(
    (level, re.compile(pattern, re.IGNORECASE)) for level, pattern in _WORDED
)
_LABELLED_WORD = re.compile(
    rf"(?:{_LABEL})[*_\s]*[:：=][*_\s]*(?P<word>very\s+high|very\s+low|high|medium|moderate|low"
    r"|sehr\s+hoch|hoch|mittel|niedrig|gering|élevée?|haute|moyenne?|faible|alta|media|baja|很高|高|中|低)",
    re.IGNORECASE,
)
_LEVELS = {
    **dict.fromkeys(("very high", "sehr hoch", "很高"), 0.97),
    **dict.fromkeys(("high", "hoch", "élevé", "élevée", "haute", "alta", "高"), 0.9),
    **dict.fromkeys(("medium", "moderate", "mittel", "moyen", "moyenne", "media", "中"), 0.65),
    **dict.fromkeys(("low", "niedrig", "gering", "faible", "baja", "低"), _LOW),
    "very low": 0.15,
}

_HEDGING = re.compile(
    # English: of the speaker's doubt; "likely" and "may" are as often what is known of the subject.
    r"\b(?:maybe|perhaps|I\s+(?:think|believe|guess|suppose|assume|suspect)|my\s+(?:best\s+)?guess|hard\s+to\s+(?:say|tell)"
    r"|(?:could|might|may)\s+be\s+(?:wrong|mistaken)|as\s+far\s+as\s+I\s+(?:know|can\s+tell)|if\s+I\s+(?:recall|remember)"
    r"|(?:not|n['’]t)\s+(?:\w+\s+)?(?:sure|certain)|it\s+seems\s+(?:that|like|to\s+me)|I['’]d\s+say|sort\s+of|kind\s+of\s+like)\b"
    r"|\b(?:vielleicht|vermutlich|wahrscheinlich|möglicherweise|womöglich|eventuell|ich\s+(?:glaube|denke|vermute|schätze)"
    r"|nehme\s+ich\s+an|soweit\s+ich\s+weiß|nicht\s+(?:ganz\s+)?sicher|wohl\s+eher)\b"
    r"|\b(?:peut-être|sans\s+doute|probablement|il\s+me\s+semble|je\s+(?:pense|crois|suppose|dirais)|si\s+je\s+me\s+souviens"
    r"|pas\s+(?:tout\s+à\s+fait\s+)?(?:sûre?|certaine?))\b"
    r"|\b(?:quizás?|tal\s+vez|a\s+lo\s+mejor|probablemente|(?:yo\s+)?(?:creo|pienso|supongo)\s+que|me\s+parece"
    r"|si\s+mal\s+no\s+recuerdo|no\s+estoy\s+(?:\w+\s+){0,2}segur[oa])\b"
    r"|\b(?:forse|probabilmente|credo\s+che|penso\s+che|mi\s+sembra|talvez|acho\s+que|provavelmente|parece-me)\b"
    r"|也许|也許|或许|或許|大概|我(?:觉得|覺得|猜|想)|不(?:太|是很)?(?:确定|確定)|好像|似乎"
    r"|多分|たぶん|かもしれ|と思い|아마|것 같",
    re.IGNORECASE,
)
# Looking for plain substrings first is ten times as fast, and most answers hold none of them.
_OF_SURENESS = (
    *("sure", "certain", "confid", "positive", "probab", "idea", "know", "guess", "doubt"),
    *(
        "konfidenz",
        "sicher",
        "zuversicht",
        "zweifel",
        "weiß",
        "confian",
        "certitude",
        "sûr",
        "doute",
        "sais pas",
    ),
    *(
        "segur",
        "certeza",
        "duda",
        "no sé",
        "lo sé",
        "置信",
        "信心",
        "把握",
        "确",
        "確",
        "肯定",
        "毫无",
        "毫無",
        "知道",
    ),
)
_OF_HEDGING = (
    *("maybe", "perhaps", "i think", "i believe", "i guess", "i suppose", "i assume", "i suspect", "guess"),
    *(
        "hard to",
        "wrong",
        "mistaken",
        "far as i",
        "if i re",
        "sure",
        "certain",
        "it seems",
        "d say",
        "sort of",
        "kind of",
    ),
    *(
        "vielleicht",
        "vermutlich",
        "wahrscheinlich",
        "möglicherweise",
        "womöglich",
        "eventuell",
        "ich ",
        "soweit",
    ),
    *("sicher", "wohl eher", "peut-être", "sans doute", "probable", "il me semble", "je ", "pas "),
    *(
        "quizá",
        "tal vez",
        "a lo mejor",
        "creo que",
        "pienso que",
        "supongo que",
        "me parece",
        "recuerdo",
        "segur",
    ),
    *("forse", "probabilmente", "credo che", "penso che", "mi sembra", "talvez", "acho que", "provavelmente"),
    *("parece-me", "也许", "也許", "或许", "或許", "大概", "我", "不", "好像", "似乎"),
    *("多分", "たぶん", "かもしれ", "と思い", "아마", "것 같"),
)


def stated_confidence(text: str) -> float | None:
    """The confidence that a completion states in its answer, in [0, 1]; None where it states none.

    The last statement counts. Numbers ("70% sure", "Confidence: 8/10") go before words ("fairly certain"),
    which stand for a rough level. What is said of others, or of statistics ("a 95% confidence interval",
    "we are 95% confident"), is not read. English, German, French, Spanish and Chinese.

    >>> stated_confidence("The answer is (B). I'm 70% sure."), stated_confidence("Confidence: 8/10")
    (0.7, 0.8)
    >>> stated_confidence("Ich bin mir nicht ganz sicher."), stated_confidence("The answer is (B).")
    (0.4, None)
    """
    said = without_thinking(text)
    if not _holds(said, _OF_SURENESS):
        return None
    readers: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], float | None]], ...] = (
        (_NUMBERED, _of_scale),
        (_IN_PERCENT, _of_percent),
        (_LABELLED_WORD, lambda match: _LEVELS.get(" ".join(match["word"].casefold().split()))),
    )
    found: list[tuple[int, float]] = []
    for pattern, read in readers:
        for match in pattern.finditer(said):
            value = read(match)
            if value is not None and not _STATISTICS.match(said, match.end()):
                found.append((match.start(), value))
    if found:
        return max(found)[1]
    taken: list[tuple[int, int]] = []
    for level, pattern in _WORDS:
        for match in pattern.finditer(said):
            if not any(begin < match.end() and match.start() < end for begin, end in taken):
                taken.append(match.span())
                found.append((match.start(), level))
    return max(found)[1] if found else None


def hedges(text: str) -> int:
    """How often a completion hedges in its own voice ("I think", "vielleicht", "也许").

    Words that are as often content ("likely", "may") do not count. English, German, French, Spanish,
    Italian, Portuguese, Chinese, Japanese, Korean.

    >>> hedges("Perhaps it is (C), but I think it could be (D)."), hedges("It is (C).")
    (2, 0)
    """
    said = without_thinking(text)
    return sum(1 for _ in _HEDGING.finditer(said)) if _holds(said, _OF_HEDGING) else 0


def _holds(text: str, words: tuple[str, ...]) -> bool:
    folded = text.lower()
    return any(word in folded for word in words)


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _of_scale(match: re.Match[str]) -> float | None:
    value = _number(match["n"])
    if match["percent"]:
        value /= 100.0
    elif match["of"]:
        value /= float(match["of"])
    elif value > 1:
        # Bare numbers above 1: "Confidence: 85" can only be percent, "Confidence: 8" only out of ten.
        value /= 10.0 if value <= 10 else 100.0
    return value if 0 <= value <= 1 else None


def _of_percent(match: re.Match[str]) -> float | None:
    value = _number(next(v for v in match.groupdict().values() if v is not None)) / 100.0
    return value if 0 <= value <= 1 else None
