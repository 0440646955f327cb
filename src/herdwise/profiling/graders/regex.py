"""A regular expression: the completion holds it, or what it captures is the reference."""

from __future__ import annotations

import re
from typing import ClassVar

from herdwise.answers.agree import same_answer
from herdwise.answers.extract import final_answer, normal_form, without_thinking
from herdwise.core.completion import Completion
from herdwise.core.errors import ItemsError
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import Grade, Grader
from herdwise.sandbox.patterns import MATCHER, PatternError

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}


class Regex(Grader):
    """1 where the text holds the pattern; where the pattern has a group, what it captured is compared.

    With a group (the one called ``answer``, else the first), the last match's capture is the answer, and
    must equal the item's reference as grader ``exact`` compares; without one, the match itself is enough.

    Patterns are Python's ``re``. One that takes longer than ``herdwise.sandbox.patterns.LIMIT_S`` on an
    answer, as ``(a+)+$`` may, is refused: it would take as long on others.

    Args:
        pattern: the expression; the item's reference where it is not given.
        flags: letters of ``imsx``.
        full: the whole of what is read must match, not a part of it.
        read: "text" (all of the completion but its thinking) or "answer" (only the stated answer).
        absent: the pattern may NOT stand there.
    """

    name: ClassVar[str] = "regex"

    def __init__(
        self,
        *,
        pattern: str | None = None,
        flags: str = "",
        full: bool = False,
        read: str = "text",
        absent: bool = False,
    ) -> None:
        self.pattern, self.flags, self.full, self.read, self.absent = pattern, flags, full, read, absent

    def check(self, item: Item) -> str | None:
        """It needs a pattern that compiles, and a reference where the pattern captures."""
        if self.pattern is None and item.reference is None:
            return "reference: is missing; the regex grader takes it as pattern, or grader_options.pattern."
        if set(self.flags) - set(_FLAGS):
            return f"grader_options.flags: {self.flags!r} must be of the letters {''.join(_FLAGS)}."
        if self.read not in {"text", "answer"}:
            return f"grader_options.read: {self.read!r} must be text or answer."
        field = "reference" if self.pattern is None else "grader_options.pattern"
        try:
            compiled = self._compiled(item)
        except re.error as error:
            return f"{field}: is no regular expression: {error}."
        if self.pattern is not None and compiled.groups:
            if self.absent:
                return "grader_options.absent: a pattern that captures must match; use (?:...)."
            if item.reference is None or not normal_form(item.reference):
                return "reference: is missing; what the pattern captures is compared with it."
        return None

    def _compiled(self, item: Item) -> re.Pattern[str]:
        flags = re.NOFLAG
        for letter in self.flags:
            flags |= _FLAGS[letter]
        return re.compile(self.pattern if self.pattern is not None else item.reference or "", flags)

    def grade(self, item: Item, completion: Completion) -> Grade:
        """See the class. Blocks while the pattern is matched.

        Raises:
            ItemsError: when that takes too long; answers are kept, and graded when the pattern is mended.
        """
        said = final_answer(completion.text) if self.read == "answer" else without_thinking(completion.text)
        said = said.strip()
        if not said:
            return Grade(0.0, None, "no answer could be read")
        pattern = self._compiled(item)
        try:
            found = MATCHER.last(pattern.pattern, said, flags=pattern.flags, whole=self.full)
        except PatternError as error:
            field = "reference" if self.pattern is None else "grader_options.pattern"
            raise ItemsError(
                f"{item.where or 'items'}, {field} of item {item.id!r}: {error}"
                f" on an answer of {len(said)} characters by {completion.candidate}.",
                remedy="Write it without repeats of repeats, such as (a+)+, leave the item this id,"
                " and run the same command again: what was answered is kept.",
            ) from None
        if self.absent:
            return Grade(float(found is None), said if found is None else found.text)
        if self.pattern is None or not pattern.groups:
            return Grade(float(found is not None), said if found is None else found.text)
        if found is None or found.captured is None:
            return Grade(0.0, None, "the pattern captured nothing")
        return Grade(float(same_answer(found.captured, item.reference, relative=1e-6)), found.captured)
