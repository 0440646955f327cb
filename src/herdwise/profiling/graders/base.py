"""The grader seam: an item and a completion in, a quality out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from herdwise.core.completion import Completion
from herdwise.core.registry import Registry
from herdwise.profiling.benchmark import Item


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
    None. ``grade`` may take its time (code runs in a sandbox) and is called off the event loop.
    """

    name: ClassVar[str]
    #: Added to a question that the item does not bring as a finished prompt; "" = nothing.
    instruction: ClassVar[str] = ""

    @abstractmethod
    def check(self, item: Item) -> str | None:
        """What the item lacks for this grader, beginning with the field's name; None when nothing."""

    @abstractmethod
    def grade(self, item: Item, completion: Completion) -> Grade:
        """What the completion is worth."""


GRADERS: Registry[Grader] = Registry("grader", "herdwise.graders")
