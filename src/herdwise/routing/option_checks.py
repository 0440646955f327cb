"""Checks of a policy's options, as they come from a config, a command line or a saved router."""

from __future__ import annotations

from herdwise.core.candidate import Herd
from herdwise.core.errors import ConfigError


def fraction(policy: str, option: str, value: float, *, zero: bool) -> float:
    """A number in [0, 1], or in (0, 1] where ``zero`` is not allowed.

    Raises:
        ConfigError: when it is none.
    """
    if not _number(value) or not 0 <= value <= 1 or (value == 0 and not zero):
        raise ConfigError(f"{policy}: {option} {value!r} is not a number in {'[' if zero else '('}0, 1].")
    return value


def count(policy: str, option: str, value: object) -> int:
    """A whole number of 1 or more.

    Raises:
        ConfigError: when it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{policy}: {option} {value!r} is not a whole number of 1 or more.")
    return value


def cost(policy: str, option: str, value: float) -> float:
    """A number of 0 or more.

    Raises:
        ConfigError: when it is none.
    """
    if not _number(value) or not value >= 0:
        raise ConfigError(f"{policy}: {option} {value!r} is not a number of 0 or more.")
    return value


def one_of(policy: str, option: str, value: str, known: tuple[str, ...]) -> str:
    """One of the known words.

    Raises:
        ConfigError: when it is none.
    """
    if value not in known:
        raise ConfigError(f"{policy}: {option} {value!r} is not known.", remedy=f"Known: {', '.join(known)}.")
    return value


def known_candidate(policy: str, name: str | None, herd: Herd) -> None:
    """A candidate's name is one of the herd; None is no name.

    Raises:
        ConfigError: when it is not.
    """
    if name is not None and name not in herd:
        raise ConfigError(
            f"{policy}: there is no candidate {name!r}.", remedy=f"The herd: {', '.join(herd.names)}."
        )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
