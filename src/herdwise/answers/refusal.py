"""Did a completion refuse? Empty answers, refusals in several languages, and partial ones."""

from __future__ import annotations

import re
from typing import Literal

from herdwise.answers.extract import without_thinking

#: "empty": nothing to read. "refused": it declines and gives nothing else. "partial": it declines a part,
#: or speaks of being an AI, and then goes on to answer.
Refusal = Literal["empty", "refused", "partial"]

# Declining is a speech act in the first person at the start; "he cannot help" further down is content.
_EN_VERBS = (
    r"(?:help|assist|provid|comply|fulfil|answer|creat|writ|generat|support|offer|giv|discuss|engag|do\b)"
)
_EN_CANNOT = (
    r"(?:can['’]t|cannot|can not|won['’]t|will not|won['’]t be able|must decline|must refuse|decline|refuse)"
)
_EN_UNABLE = r"(?:not able|unable|not allowed|not permitted|not comfortable)"
_DE_VERBS = (
    r"(?:helfen|unterstützen|beantworten|bereitstellen|geben|erstellen|schreiben|nachkommen|entsprechen)"
)
_FR_VERBS = r"(?:aider|fournir|répondre|donner|créer|écrire|assister|en mesure|autorisé)"
_ES_VERBS = r"(?:ayudar|proporcionar|responder|cumplir|dar|crear|escribir|asistir|generar)"
_DECLINING = (
    # English
    rf"\bI\s+{_EN_CANNOT}\s+(?:to\s+)?(?:\w+\s+){{0,2}}?{_EN_VERBS}",
    rf"\bI(?:['’]m| am)\s+{_EN_UNABLE}\W+(?:\w+\W+){{0,2}}?{_EN_VERBS}",
    r"\b(?:sorry|afraid|apologi(?:es|[sz]e))\b[^\n]{0,40}"
    rf"\bI(?:['’]m| am)?\s+(?:{_EN_CANNOT}|{_EN_UNABLE})",
    r"^\W*(?:sorry|unfortunately)\W+(?:but\s+)?(?:can['’]t|cannot|unable)\b",
    r"\b(?:against|not in line with)\s+my\s+(?:guidelines|programming|polic)",
    # German
    r"\btut mir (?:sehr )?leid\b[^\n]{0,60}\b(?:nicht|kein)",
    rf"\bich (?:kann|darf|werde|möchte)\b[^.\n]{{0,50}}\bnicht\b[^.\n]{{0,40}}{_DE_VERBS}",
    r"\b(?:dabei|damit|hierbei)\s+(?:kann|darf)\s+ich\b[^.\n]{0,40}\bnicht\b",
    # French
    r"\bdésolée?\b[^\n]{0,60}\b(?:ne (?:peux|puis)|pas en mesure|impossible)",
    rf"\bje (?:ne (?:peux|puis|suis) pas|refuse)\b[^.\n]{{0,40}}{_FR_VERBS}",
    # Spanish
    r"\b(?:lo siento|lo lamento|disculp\w+)\b[^\n]{0,60}\bno (?:puedo|me es posible|estoy)",
    rf"\bno puedo\b[^.\n]{{0,30}}\b{_ES_VERBS}",
    # Italian, Portuguese
    r"\b(?:mi dispiace|spiacente)\b[^\n]{0,60}\bnon (?:posso|sono in grado)",
    r"\bnon posso\b[^.\n]{0,30}\b(?:aiutar|fornir|rispondere)",
    r"\b(?:desculpe|sinto muito|lamento)\b[^\n]{0,60}\bnão (?:posso|consigo)",
    r"\bnão posso\b[^.\n]{0,30}\b(?:ajudar|fornecer|responder)",
    # Chinese, Japanese, Korean, Russian
    r"(?:抱歉|对不起|對不起|很遗憾|很遺憾)[^\n]{0,20}(?:无法|無法|不能|不便|没办法)",
    r"我(?:无法|無法|不能|不会|拒绝)[^\n。]{0,12}(?:帮助|幫助|提供|回答|协助|協助|满足|完成|生成|讨论)",
    r"(?:申し訳|すみません|恐れ入ります)[^\n]{0,40}(?:できません|お答えでき|いたしかねます)",
    r"죄송[^\n]{0,40}(?:없습니다|어렵습니다)",
    r"\b(?:извините|простите|к сожалению)\b[^\n]{0,40}\bне могу",
    r"\bя не могу\b[^.\n]{0,30}(?:помочь|предоставить|ответить)",
)
_SPEAKING_AS_AN_AI = (
    r"\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b",
    r"\bI(?:['’]m| am) (?:just |only )?an? (?:AI|language model)\b",
    r"\bals (?:eine? )?(?:KI|künstliche Intelligenz|Sprachmodell)",
    r"\ben tant qu(?:['’]|e )(?:IA|intelligence artificielle|modèle de langage)",
    r"\bcomo (?:una? )?(?:IA|inteligencia artificial|modelo de lenguaje)",
    r"\bcome (?:un['’]?\s*)?(?:IA|intelligenza artificiale|modello linguistico)",
    r"\bcomo (?:uma? )?(?:inteligência artificial|modelo de linguagem)",
    r"(?:作为|作為)(?:一个|一個|一名)?(?:AI|人工智能|人工智慧|语言模型|語言模型)",
    r"\bals (?:een )?(?:AI|taalmodel)\b|(?:AI|言語モデル)(?:として|である私|なので)",
    r"(?:AI|인공지능|언어 모델)(?:로서|이기 때문)|как (?:ИИ|искусственный интеллект|языковая модель)",
)
_TURNS = (
    r"\b(?:however|but|that said|instead|nevertheless|here(?:['’]s| is| are))\b",
    r"\b(?:aber|jedoch|dennoch|trotzdem|stattdessen|cependant|mais|toutefois)\b",
    r"\b(?:sin embargo|pero|tuttavia|però|porém|mas|однако|но)\b",
    r"但是|不过|然而|しかし|ただし|하지만",
)
_DECLINES, _AS_AN_AI, _GOES_ON = (
    re.compile("|".join(patterns), re.IGNORECASE) for patterns in (_DECLINING, _SPEAKING_AS_AN_AI, _TURNS)
)
_WORD = re.compile(r"\w")
#: A refusal stands at the start; what follows decides whether it was a partial one.
_OPENING_CHARS = 240
#: So much text behind a refusal, with a turn such as "however", is an answer of its own.
_ANSWER_CHARS = 200
#: And so much is one without any turn.
_LONG_CHARS = 800


def read_refusal(text: str) -> Refusal | None:
    """Whether a completion is empty or refuses, None when it does neither.

    Read from its wording in English, German, French, Spanish, Italian, Portuguese, Chinese, Japanese,
    Korean and Russian. A plain "I don't know" is an answer, not a refusal.

    >>> read_refusal("Es tut mir leid, dabei kann ich nicht helfen.")
    'refused'
    >>> read_refusal("As an AI, I have no taste. Most people like the red one.")
    'partial'
    >>> read_refusal("The answer is (C).") is None
    True
    """
    said = without_thinking(text).strip()
    if not _WORD.search(said):
        return "empty"
    opening = said[:_OPENING_CHARS]
    declines = _DECLINES.search(opening)
    if declines is not None:
        rest = said[declines.end() :]
        turned = _GOES_ON.search(rest) is not None
        answered = len(rest) > _LONG_CHARS or (len(rest) > _ANSWER_CHARS and turned)
        return "partial" if answered else "refused"
    return "partial" if _AS_AN_AI.search(opening) else None
