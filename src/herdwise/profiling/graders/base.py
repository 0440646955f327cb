"""The grader seam: an item and a completion in, a quality out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from herdwise.core.completion import Completion
from herdwise.core.registry import Registry
from herdwise.profiling.benchmark import Item

#: What is sent in one ask, in OpenAI's shape.
Messages = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Grade:
    """What an answer is worth.

    Args:
        quality: in [0, 1]; None = it could not be graded (never used for a wrong or missing answer).
        answer: the answer as it was read, in normal form; None = none could be read.
        note: for people: why.
    """

    quality: float | None
    answer: str | None
    note: str = ""


class Grader(ABC):
    """Grades the answers to one kind of item. Holds options only.

    An answer that refuses, is empty, or in which nothing can be read, is a wrong one: quality 0, answer
    None. ``grade`` may take its time (code runs in a sandbox) and is called off the event loop, unless
    ``quick``.
    """

    name: ClassVar[str]
    #: Whether ``grade`` takes microseconds, so that a thread would take longer.
    quick: ClassVar[bool] = False
    #: Added to a question that the item does not bring as a finished prompt; "" = nothing.
    instruction: ClassVar[str] = ""

    @abstractmethod
    def check(self, item: Item) -> str | None:
        """What the item lacks for this grader, beginning with the field's name; None when nothing."""

    @abstractmethod
    def grade(self, item: Item, completion: Completion) -> Grade:
        """What the completion is worth."""


class AskingGrader(Grader):
    """A grader that asks a candidate first. It says what to ask and reads the replies; it reaches nobody.

    The profiler asks, records each reply, and never pays twice for the same question.

    Args:
        candidate: who is asked; None is refused by ``check``.
        temperature: sent with every question; None = nothing is sent.
        max_tokens: sent with every question.
    """

    #: Questions per answer, at most.
    n_questions: ClassVar[int] = 1

    def __init__(
        self, *, candidate: str | None = None, temperature: float | None = 0.0, max_tokens: int = 1024
    ) -> None:
        self.candidate, self.temperature, self.max_tokens = candidate, temperature, max_tokens

    def check(self, item: Item) -> str | None:
        """It needs somebody to ask."""
        del item
        if self.candidate is None:
            return f"grader_options.candidate: is missing; name it (--grader {self.name}:candidate=NAME)."
        return None

    @property
    def request(self) -> dict[str, Any]:
        """Fields of each ask beside its messages."""
        fields = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in fields.items() if value is not None}

    @abstractmethod
    def questions(self, item: Item, completion: Completion) -> tuple[Messages, ...]:
        """What to ask before grading, one conversation each; () where there is nothing to judge.

        ``item.messages`` is the whole conversation that the completion answers.
        """

    @abstractmethod
    def grade(self, item: Item, completion: Completion, replies: Sequence[str] = ()) -> Grade:
        """What the completion is worth, given the replies to ``questions``, in their order."""


GRADERS: Registry[Grader] = Registry("grader", "herdwise.graders")
