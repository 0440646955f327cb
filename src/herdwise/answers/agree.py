"""Which answers say the same? Letters and short texts by normal form, numbers within a tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from herdwise.answers.extract import Number, as_number, normal_form
from herdwise.answers.units import common_size


def same_number(a: float, b: float, *, relative: float = 1e-4, absolute: float = 1e-9) -> bool:
    """Whether two numbers are equal within a tolerance; NaN equals nothing."""
    return math.isclose(a, b, rel_tol=relative, abs_tol=absolute)


def said_in_scale(scaled: Number, bare: Number, *, relative: float, absolute: float = 0.0) -> bool:
    """Whether "3 million" meets a bare 3: how many millions, or dozens, was asked."""
    if scaled.scale == 1.0 or bare.scale != 1.0 or bare.unit:
        return False
    return same_number(scaled.value / scaled.scale, bare.value, relative=relative, absolute=absolute)


def same_answer(a: str | None, b: str | None, *, relative: float = 1e-4) -> bool:
    """Whether two extracted answers say the same.

    An answer that could not be read (None or "") agrees with nothing, not even with another such.
    Numbers agree within ``relative`` where their units do not contradict each other; of units that measure
    the same, one is converted. "3 million" is 3,000,000, and also a bare 3, as an answer counted in millions.

    >>> same_answer("1,000 m", "1000"), same_answer("The Seine", "seine."), same_answer("3 m", "3 km")
    (True, True, False)
    >>> same_answer("5 km", "5000 metres"), same_answer("90 min", "1.5 h")
    (True, True)
    """
    if not a or not b:
        return False
    left, right = as_number(a), as_number(b)
    if left is not None and right is not None:
        if any(said_in_scale(*pair, relative=relative) for pair in ((left, right), (right, left))):
            return True
        units = (left.unit.casefold(), right.unit.casefold())
        if units[0] and units[1] and units[0] != units[1]:
            sizes = common_size(*units)
            if sizes is None:
                return False
            return same_number(left.value * sizes[0], right.value * sizes[1], relative=relative)
        if units[0] != units[1] and "%" in units:
            return False
        return same_number(left.value, right.value, relative=relative)
    form = normal_form(a)
    return bool(form) and form == normal_form(b)


def groups(answers: Sequence[str | None], *, relative: float = 1e-4) -> list[int]:
    """A label per answer: equal labels say the same; -1 = none could be read.

    Labels count up from 0 in the order of first appearance. An answer joins the first group whose first
    member it agrees with, so that tolerance never chains.

    >>> groups(["C", None, "D", " c."])
    [0, -1, 1, 0]
    """
    heads: list[str] = []
    labels: list[int] = []
    for answer in answers:
        if not answer or not normal_form(answer):
            labels.append(-1)
            continue
        for label, head in enumerate(heads):
            if same_answer(answer, head, relative=relative):
                labels.append(label)
                break
        else:
            heads.append(answer)
            labels.append(len(heads) - 1)
    return labels
