"""Checks of a predictor's options, as they come from a command line or a saved router."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from herdwise.core.errors import ConfigError


def whole(predictor: str, option: str, value: Any, least: int = 1) -> int:
    """A whole number of ``least`` or more.

    Raises:
        ConfigError: when it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{predictor}: {option} {value!r} is not a whole number of {least} or more.")
    return value


def positive(predictor: str, option: str, value: Any, *, zero: bool = False) -> float:
    """A finite number above 0, or of 0 or more where ``zero`` is allowed.

    Raises:
        ConfigError: when it is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf") or (value == 0 and not zero):
        raise ConfigError(
            f"{predictor}: {option} {value!r} is not a number {'of 0 or more' if zero else 'above 0'}."
        )
    return float(value)


def several(predictor: str, option: str, values: Any) -> Sequence[Any]:
    """A list that holds something.

    Raises:
        ConfigError: when it is none.
    """
    if not isinstance(values, list | tuple) or not values:
        raise ConfigError(
            f"{predictor}: {option} {values!r} is not a list of one or more.", remedy="Such as [a,b]."
        )
    return values
