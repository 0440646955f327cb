"""A number: the one that a completion gives equals the reference, within a tolerance."""

from __future__ import annotations

import math
from typing import ClassVar

from herdwise.answers.agree import said_in_scale
from herdwise.answers.extract import Number, read_number
from herdwise.answers.units import common_size
from herdwise.core.completion import Completion
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import Grade, Grader


class Numeric(Grader):
    """1 where the number that the completion gives is the reference's, else 0.

    Read is the stated number (after "the answer is" or ``####``, in ``\\boxed{}``), else the last one of
    the text; thousands marks, decimal commas, powers of ten, fractions, currency signs and "million" are
    understood, see ``herdwise.answers.extract.numbers``.
    The reference is read alike, so that GSM8K's worked answers ("... #### 72") can stand as they are.
    Units that are known here are converted (5 km is 5000 m) and may not contradict each other; other words
    behind a number ("72 clips") are not looked at. 50% is 0.5, and also 50 where the reference is a bare 50;
    3 million is 3,000,000, and also 3 where the reference is a bare 3.

    Args:
        tolerance: relative, of the reference.
        absolute: in the reference's own unit.
        alternatives: further references that are as good.
    """

    name: ClassVar[str] = "numeric"
    quick: ClassVar[bool] = True
    instruction: ClassVar[str] = 'Finish with "The answer is" and the number alone.'

    def __init__(
        self,
        *,
        tolerance: float = 1e-6,
        absolute: float = 0.0,
        alternatives: tuple[str | float, ...] | list[str | float] = (),
    ) -> None:
        self.tolerance, self.absolute = tolerance, absolute
        self.alternatives = tuple(str(a) for a in alternatives)

    def check(self, item: Item) -> str | None:
        """It needs a reference in which a number can be read, and tolerances that are some."""
        for field, value in (("tolerance", self.tolerance), ("absolute", self.absolute)):
            if not 0 <= value < math.inf:
                return f"grader_options.{field}: {value!r} must be a number of 0 or more."
        for field, text in (("reference", item.reference), *(("alternatives", a) for a in self.alternatives)):
            if text is None:
                return f"{field}: is missing; the numeric grader compares with it."
            if read_number(text) is None:
                return f"{field}: holds no number: {text[:80]!r}."
        return None

    def grade(self, item: Item, completion: Completion) -> Grade:
        """See the class."""
        said = read_number(completion.text)
        if said is None:
            return Grade(0.0, None, "no number could be read")
        wanted = [read_number(text) for text in (item.reference, *self.alternatives) if text is not None]
        right = any(self._same(said, number) for number in wanted if number is not None)
        return Grade(float(right), f"{said.value:.15g}")

    def _same(self, said: Number, wanted: Number) -> bool:
        if (said.unit == "%") != (wanted.unit == "%"):
            scaled = (_fraction(said), _fraction(wanted))
            bare = said.unit == "%" and self._close(said.value, wanted.value)
            return bare or self._close(*scaled)
        if said_in_scale(said, wanted, relative=self.tolerance, absolute=self.absolute):
            return True
        value = said.value
        known = [common_size(unit, unit) is not None for unit in (said.unit, wanted.unit)]
        if all(known):
            sizes = common_size(said.unit, wanted.unit)
            if sizes is None:
                return False
            value *= sizes[0] / sizes[1]
        return self._close(value, wanted.value)

    def _close(self, said: float, wanted: float) -> bool:
        return math.isclose(said, wanted, rel_tol=0.0, abs_tol=self.tolerance * abs(wanted) + self.absolute)


def _fraction(number: Number) -> float:
    return number.value / 100 if number.unit == "%" else number.value
