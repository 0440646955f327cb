"""Frozen values that are made as fast as others.

A frozen dataclass sets each field through ``object.__setattr__``, which takes ten times as long as an
assignment. What is made several times per request is therefore filled while it may still be changed, and
frozen after that, by the class that it has (docs/experiments/2026-11-21-gateway.md).
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

_C = TypeVar("_C", bound=type)


def made_fast(cls: _C) -> _C:
    """Class decorator above ``@dataclass(frozen=True, slots=True)``: the same class, made faster.

    Raises:
        TypeError: when the class has no slots or bases, or a field that is no plain argument.

    >>> from dataclasses import dataclass
    >>> @made_fast
    ... @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1)
    Point(x=1, y=0)
    """
    told: tuple[Field[Any], ...] = fields(cls)
    names = tuple(one.name for one in told)
    if cls.__dict__.get("__slots__") != names or cls.__bases__ != (object,):
        raise TypeError(f"{cls.__name__} is no dataclass with slots and without bases")
    if any(not one.init or one.kw_only for one in told):
        raise TypeError(f"a field of {cls.__name__} is no plain argument")
    # Of the same layout, so that one can become the other.
    filled = type(cls.__name__, (), {"__slots__": names})
    known: dict[str, Any] = {
        "frozen_": cls,
        "filled_": filled,
        "become_": object.__dict__["__class__"].__set__,
        "given_": MISSING,
    }
    arguments, lines = [], ["become_(self, filled_)"]
    for one in told:
        name = one.name
        if one.default is not MISSING:
            known[f"default_{name}"] = one.default
            arguments.append(f"{name}=default_{name}")
        elif one.default_factory is not MISSING:
            known[f"make_{name}"] = one.default_factory
            arguments.append(f"{name}=given_")
        else:
            arguments.append(name)
        value = f"make_{name}() if {name} is given_ else {name}" if f"make_{name}" in known else name
        lines.append(f"self.{name} = {value}")
    lines.append("self.__class__ = frozen_")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    code = f"def __init__(self, {', '.join(arguments)}):\n  " + "\n  ".join(lines)
    exec(code, known)  # noqa: S102 - as dataclasses makes its own; only names of fields stand in it
    made = known["__init__"]
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    made.__annotations__ = dict(cls.__init__.__annotations__)  # type: ignore[misc]  # of the class itself
    cls.__init__ = made  # type: ignore[misc]
    return cls
