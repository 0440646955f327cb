"""Candidate (one model with its price, size and abilities) and Herd (the ordered candidates)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from herdwise.core.errors import ConfigError, UnknownNameError
from herdwise.core.money import UNKNOWN_PRICE, Price


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model that may be asked. ``None`` always means unknown.

    Args:
        name: unique in its herd.
        params_b: total parameters, in billions.
        active_params_b: parameters used per token, in billions.
        open_weights: whether the weights can be had.
        price: USD per million tokens.
        context_tokens: longest prompt plus answer.
        modalities: of the input, such as {"text", "image"}.
        tools: whether it can call tools.
        json_schema: whether its answers can be made to keep a JSON schema.
        licence: SPDX identifier or the licence's own name.
        released: day of release.
        tags: free labels such as "on-premises".
        quality: declared expected quality in [0, 1]; used only until a router is trained.
        like: name of a known candidate whose recorded quality stands in until a router is trained.
        latency_s: declared typical seconds per answer.
    """

    name: str
    params_b: float | None = None
    active_params_b: float | None = None
    open_weights: bool | None = None
    price: Price = UNKNOWN_PRICE
    context_tokens: int | None = None
    modalities: frozenset[str] | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    licence: str | None = None
    released: dt.date | None = None
    tags: frozenset[str] = field(default_factory=frozenset)
    quality: float | None = None
    like: str | None = None
    latency_s: float | None = None

    def replace(self, **changes: Any) -> Candidate:
        """A copy with some fields changed."""
        return replace(self, **changes)


class Herd:
    """The ordered candidates; their order is the order of every ``(n, m)`` matrix's columns.

    Raises:
        ConfigError: when a name stands twice.
    """

    __slots__ = ("_candidates", "_index")

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._candidates = tuple(candidates)
        self._index: dict[str, int] = {}
        for position, candidate in enumerate(self._candidates):
            if candidate.name in self._index:
                raise ConfigError(
                    f"candidate {candidate.name!r} stands twice in the herd.", remedy="Rename or remove one."
                )
            self._index[candidate.name] = position

    @property
    def names(self) -> list[str]:
        """Candidate names, in order."""
        return [c.name for c in self._candidates]

    def index(self, name: str) -> int:
        """Column of a candidate.

        Raises:
            UnknownNameError: when it is not in the herd.
        """
        try:
            return self._index[name]
        except KeyError:
            raise UnknownNameError(
                f"candidate {name!r} is not in the herd.", remedy=f"Known: {', '.join(self.names)}."
            ) from None

    def get(self, name: str) -> Candidate | None:
        """The candidate of that name, or None."""
        position = self._index.get(name)
        return None if position is None else self._candidates[position]

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __getitem__(self, key: str | int) -> Candidate:
        return self._candidates[self.index(key) if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates)

    def __len__(self) -> int:
        return len(self._candidates)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Herd) and self._candidates == other._candidates

    def __hash__(self) -> int:
        return hash(self._candidates)

    def __repr__(self) -> str:
        return f"Herd({self.names})"

    def subset(self, names: Iterable[str]) -> Herd:
        """The named candidates, in this herd's order.

        Raises:
            UnknownNameError: when one of them is not in the herd.
        """
        wanted = {self.index(name) for name in names}
        return Herd(c for i, c in enumerate(self._candidates) if i in wanted)

    def column(self, value: Callable[[Candidate], float | None]) -> np.ndarray:
        """A float64 ``(m,)`` array of one property, NaN where unknown."""
        got = (value(c) for c in self._candidates)
        return np.array([np.nan if v is None else float(v) for v in got], dtype=np.float64)
