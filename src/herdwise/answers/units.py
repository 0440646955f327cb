"""Units that short answers come in, so that 5 km and 5000 m say the same.

A fixed table of what people write: a library of all units would read "m" as metre, minute or million at will.
"""

from __future__ import annotations

#: Names (without case) -> dimension and size in its base unit.
_SIZES: dict[str, tuple[str, float]] = {}


def _add(dimension: str, size: float, *names: str) -> None:
    for name in names:
        _SIZES[name] = (dimension, size)
        if len(name) > 3:  # words have a plural, symbols have none
            _SIZES[name + "s"] = (dimension, size)


for _prefix, _letter, _size in (
    ("", "", 1.0), ("kilo", "k", 1e3), ("centi", "c", 1e-2), ("milli", "m", 1e-3), ("nano", "n", 1e-9),
):  # fmt: skip
    _add("length", _size, _letter + "m", _prefix + "metre", _prefix + "meter")
    _add("mass", _size * 1e-3, _letter + "g", _prefix + "gram", _prefix + "gramme")
    _add("volume", _size * 1e-3, _letter + "l", _prefix + "litre", _prefix + "liter")
    _add("time", _size, _letter + "s", _prefix + "second")
_add("time", 60.0, "min", "minute", "minutes")
_add("time", 3600.0, "h", "hr", "hrs", "hour")
_add("time", 86400.0, "day", "days")
_add("mass", 1e3, "tonne")
_add("time", 1.0, "sec", "secs")


def common_size(a: str, b: str) -> tuple[float, float] | None:
    """Sizes of two units in one base unit; None where they are not known to measure the same.

    >>> common_size("km", "metres"), common_size("km", "kg")
    ((1000.0, 1.0), None)
    """
    left, right = _SIZES.get(a.casefold()), _SIZES.get(b.casefold())
    if left is None or right is None or left[0] != right[0]:
        return None
    return left[1], right[1]
