"""Overlap of words with the reference: SQuAD's F1."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from typing import ClassVar

from herdwise.answers.extract import final_answer, states_answer, without_thinking
from herdwise.core.completion import Completion
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import Grade, Grader

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
#: Writing without blanks between its words, whose characters are the units then.
_UNSPACED = re.compile(r"([぀-ヿ㐀-鿿豈-﫿])")


class F1(Grader):
    """Harmonic mean of precision and recall over words, in [0, 1]; the best over all references.

    Words as SQuAD's script has them: case, punctuation and English articles don't count (Rajpurkar et al.,
    SQuAD, EMNLP 2016). Chinese and Japanese characters are words of their own. Compared is the stated
    answer where one is stated, else the whole text.

    Args:
        alternatives: further references that are as good.
    """

    name: ClassVar[str] = "f1"
    quick: ClassVar[bool] = True
    instruction: ClassVar[str] = 'Finish with "The answer is" and the answer alone, in few words.'

    def __init__(self, *, alternatives: tuple[str, ...] | list[str] = ()) -> None:
        self.alternatives = tuple(alternatives)

    def check(self, item: Item) -> str | None:
        """It needs references with words."""
        if item.reference is None:
            return "reference: is missing; the f1 grader compares with it."
        if not squad_words(item.reference):
            return "reference: holds no word or number."
        return None

    def grade(self, item: Item, completion: Completion) -> Grade:
        """See the class."""
        text = completion.text
        said = squad_words(final_answer(text) if states_answer(text) else without_thinking(text))
        if not said:
            return Grade(0.0, None, "no answer could be read")
        wanted = [squad_words(r) for r in (item.reference, *self.alternatives) if r is not None]
        return Grade(max(word_f1(said, words) for words in wanted), " ".join(said))


def squad_words(text: str) -> list[str]:
    """A text's words, normalised.

    >>> squad_words("The  Eiffel-Tower, in Paris!")
    ['eiffeltower', 'in', 'paris']
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = "".join(c for c in text if c not in string.punctuation and c not in "“”‘’。，、！？")
    return _UNSPACED.sub(r" \1 ", _ARTICLES.sub(" ", text)).split()


def word_f1(said: list[str], wanted: list[str]) -> float:
    """F1 of two bags of words; 0.0 where they share none.

    >>> round(word_f1(["tower", "in", "paris"], ["paris"]), 3)
    0.5
    """
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted)) if shared else 0.0
