"""Multiple choice: the option letter that a completion names equals the reference."""

from __future__ import annotations

from typing import ClassVar

from herdwise.answers.choice import LETTERS, TEN, read_choice
from herdwise.core.completion import Completion
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import Grade, Grader


class Choice(Grader):
    """1 where the chosen letter is the reference's, else 0; a letter that is not named is a wrong answer.

    Args:
        guess: whether the last letter that stands alone anywhere counts where nothing better is found
            (MMLU-Pro's own script does so; off, since such a letter is mostly a formula's).
    """

    name: ClassVar[str] = "choice"
    quick: ClassVar[bool] = True
    instruction: ClassVar[str] = 'Finish with "The answer is (X)." where X is the letter of your choice.'

    def __init__(self, *, guess: bool = False) -> None:
        self.guess = guess

    def check(self, item: Item) -> str | None:
        """It needs a letter as reference, within the choices where they are given."""
        letters = LETTERS[: len(item.choices)] if item.choices else TEN
        if len(item.choices) > len(LETTERS):
            return f"choices: at most {len(LETTERS)} can be lettered."
        if item.reference is None:
            return "reference: is missing; the choice grader compares with its letter."
        if item.reference not in letters or len(item.reference) != 1:
            return f"reference: {item.reference!r} is none of the letters {letters[0]} to {letters[-1]}."
        return None

    def grade(self, item: Item, completion: Completion) -> Grade:
        """See the class."""
        choice = read_choice(completion.text, options=item.choices or None)
        if choice is None or not (choice.sure or self.guess):
            return Grade(0.0, None, "no letter could be read")
        return Grade(float(choice.letter == item.reference), choice.letter, choice.how)
