"""Frozen values that are made fast behave as frozen dataclasses do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass, field

import pytest

from herdwise.core.frozen import made_fast


@dataclass(frozen=True, slots=True)
class Plain:
    x: int
    y: tuple[int, ...] = ()
    z: dict[str, int] = field(default_factory=dict)


@made_fast
@dataclass(frozen=True, slots=True)
class Fast:
    x: int
    y: tuple[int, ...] = ()
    z: dict[str, int] = field(default_factory=dict)


def test_a_value_made_fast_cannot_be_changed() -> None:
    value = Fast(1)
    for name in ("x", "y", "new"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
            setattr(value, name, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        del value.x
    assert type(value) is Fast
    assert value.x == 1


def test_equality_repr_copies_and_replacement_are_those_of_a_dataclass() -> None:
    value = Fast(1, z={"a": 1})
    assert value == Fast(1, (), {"a": 1}) != Fast(2)
    assert repr(value) == "Fast(x=1, y=(), z={'a': 1})"
    assert dataclasses.replace(value, x=5) == Fast(5, (), {"a": 1})
    assert dataclasses.asdict(value) == dataclasses.asdict(Plain(1, (), {"a": 1}))
    assert copy.deepcopy(value) == value == copy.copy(value)
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own
    assert hash(Query(1)) == hash(Query(1))


def test_every_value_has_its_own_default_that_is_made() -> None:
    assert Fast(1).z is not Fast(1).z
    assert Fast(1).y is Fast(1).y


@pytest.mark.parametrize("wrong", [((), {}), ((1, (), {}, 4), {}), ((1,), {"w": 2}), ((1,), {"x": 2})])
def test_wrong_arguments_are_refused_as_by_a_dataclass(wrong: tuple[tuple[int, ...], dict[str, int]]) -> None:
    for made in (Plain, Fast):
        with pytest.raises(TypeError, match=r"__init__\(\)"):
            made(*wrong[0], **wrong[1])  # type: ignore[arg-type]


def test_the_signature_names_the_same_arguments() -> None:
    assert list(inspect.signature(Fast).parameters) == list(inspect.signature(Plain).parameters)


@made_fast
@dataclass(frozen=True, slots=True)
class Query:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("below zero")


def test_checks_after_making_are_made() -> None:
    with pytest.raises(ValueError, match="below zero"):
        Query(-1)


def test_a_class_that_cannot_be_made_fast_is_refused() -> None:
    @dataclass(frozen=True)
    class Open:
        x: int

    with pytest.raises(TypeError, match="slots"):
        made_fast(Open)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        x: int

    with pytest.raises(TypeError, match="plain argument"):
        made_fast(Named)
