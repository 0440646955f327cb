"""Exact match: the stated answer equals the reference in normal form."""

from __future__ import annotations

from typing import ClassVar

from herdwise.answers.agree import same_answer
from herdwise.answers.extract import normal_form, read_short_text, without_thinking
from herdwise.core.completion import Completion
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import Grade, Grader


class Exact(Grader):
    """1 where the whole completion, or the answer that it states, equals the reference, else 0.

    Both sides in normal form: case, outer punctuation, emphasis and English articles don't count. Numbers
    are compared as numbers ("1,000" is "1000", "1/2" is "0.5").

    Args:
        tolerance: relative tolerance between numbers.
        alternatives: further references that are as good.
    """

    name: ClassVar[str] = "exact"
    quick: ClassVar[bool] = True
    instruction: ClassVar[str] = 'Finish with "The answer is" and the answer alone.'

    def __init__(self, *, tolerance: float = 1e-6, alternatives: tuple[str, ...] | list[str] = ()) -> None:
        self.tolerance, self.alternatives = tolerance, tuple(alternatives)

    def check(self, item: Item) -> str | None:
        """It needs a reference that holds a word or a number."""
        if item.reference is None:
            return "reference: is missing; the exact grader compares with it."
        return None if normal_form(item.reference) else "reference: holds no word or number."

    def grade(self, item: Item, completion: Completion) -> Grade:
        """See the class."""
        answer = read_short_text(completion.text)
        if answer is None:
            return Grade(0.0, None, "no answer could be read")
        said = (answer, normal_form(without_thinking(completion.text)))
        wanted = (item.reference, *self.alternatives)
        right = any(same_answer(s, w, relative=self.tolerance) for s in said for w in wanted)
        return Grade(float(right), answer)
