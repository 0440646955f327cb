"""Admitted: enlisted candidates as columns that are computed from the learned candidates' columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.errors import ArtefactError
from herdwise.prediction.guard import held_back
from herdwise.prediction.resources import KINDS, Resources, priced
from herdwise.prediction.resources_quantiles import LEVELS, at_level
from herdwise.routing.manifest import candidate_from_json, candidate_to_json

#: Standard errors of the level by which an enlisted candidate must overtake the best learned one.
_CAUTION = 0.5

_ARRAYS = ("weights", "offset", "level_std", "factors", "constants", "spread")


@dataclass(frozen=True, eq=False)
class Admitted:
    """Predictions of ``r`` enlisted candidates from those of ``k`` learned ones.

    Args:
        herd: the enlisted candidates.
        weights, offset: ``(r, k)``, ``(r,)``: quality = offset + weights x learned qualities.
        level_std: ``(r,)`` standard error of the level, from the probes.
        factors, constants: ``(r, 3, k)``, ``(r, 3)`` for cost, latency and length: value = constant +
            factors x learned values; a constant of NaN = unknown.
        spread: ``(r, 3, len(LEVELS))`` quantiles of log(value / expected value) on the probes; NaN = unknown.
    """

    herd: Herd
    weights: np.ndarray
    offset: np.ndarray
    level_std: np.ndarray
    factors: np.ndarray
    constants: np.ndarray
    spread: np.ndarray

    @cached_property
    def _across(self) -> np.ndarray:
        return np.ascontiguousarray(self.weights.T, dtype=np.float32)

    @cached_property
    def prices(self) -> tuple[np.ndarray, np.ndarray]:
        """USD per million input and output tokens, ``(r,)`` each."""
        return (
            self.herd.column(lambda c: c.price.input_usd_per_mtok),
            self.herd.column(lambda c: c.price.output_usd_per_mtok),
        )

    def quality(
        self, learned: np.ndarray, best: int | None = None, trusted: np.ndarray | None = None
    ) -> np.ndarray:
        """``(..., k + r)`` qualities from ``(..., k)`` learned ones.

        A few probes tell a level within a standard error, and may be lucky. So an advantage over the best
        learned candidate counts only beyond half of it, as a predictor's guard has it.

        Args:
            best: column of the best learned candidate that is served, None = nobody is held back.
            trusted: ``(r,)`` bool, who is held back by nothing: even the lower end of its mean's interval is
                above that candidate's mean.
        """
        own = np.minimum(np.maximum(learned @ self._across + self.offset, 0.0), 1.0)
        if best is not None:
            margin = _CAUTION * (
                self.level_std if trusted is None else np.where(trusted, 0.0, self.level_std)
            )
            own = held_back(own, learned[..., best, None], margin)
        return np.concatenate([learned, own.astype(learned.dtype, copy=False)], axis=-1)

    def std(self, learned: np.ndarray) -> np.ndarray:
        """``(n, k + r)`` standard errors; the learned candidates are taken to err together."""
        own = np.sqrt((learned @ np.abs(self._across)) ** 2 + self.level_std**2)
        return np.concatenate([learned, own], axis=-1)

    def resources(self, learned: Resources, input_tokens: Any) -> Resources:
        """``(..., k + r)``; a cost is the one measured, else price times tokens, else unknown."""
        values = (learned.cost_usd, learned.latency_s, learned.output_tokens)
        cost, latency, output = (
            np.nan_to_num(value) @ self.factors[:, kind].T + self.constants[:, kind]
            for kind, value in enumerate(values)
        )
        at_price = priced(input_tokens, output, *self.prices)
        own = (np.where(np.isnan(cost), at_price, cost), latency, output)
        return Resources(*(np.concatenate(pair, axis=-1) for pair in zip(values, own, strict=True)))

    def quantile(
        self, kind: str, probability: float, learned: np.ndarray, expected: np.ndarray
    ) -> np.ndarray:
        """``(k + r,)`` what a call takes at most, from ``(k,)`` quantiles and expectations of the learned.

        An enlisted candidate's value lies off its expectation as its probes' values did. Where they tell
        nothing, it does by the factor by which those lie off theirs that it is computed from: the geometric
        mean, weighted by what each adds to the expectation. NaN where that is not known either.
        """
        place = KINDS.index(kind)
        shares = self.factors[:, place] * np.nan_to_num(expected)
        total = shares.sum(axis=1)
        known = np.isfinite(learned) & (expected > 0)
        off = np.log(np.where(known, learned, 1.0) / np.where(known, expected, 1.0))
        shares = shares / np.maximum(total, 1e-300)[:, None]
        whole = (shares[:, ~known].sum(axis=1) < 1e-3) & (total > 0)
        borrowed = np.where(whole, shares @ off, np.nan)
        measured = at_level(self.spread[:, place], probability)
        own = (self.constants[:, place] + total) * np.exp(np.where(np.isnan(measured), borrowed, measured))
        return np.concatenate([learned, own])

    def parts(self, learned: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``(k + r,)`` of each part of the learned qualities: an enlisted one takes its weights of each."""
        return {
            name: np.concatenate([part, (part @ self._across).astype(part.dtype, copy=False)])
            for name, part in learned.items()
        }

    def joined(self, other: Admitted) -> Admitted:
        """These and those; a name that stands in both is the other's."""
        mine = self.without(other.herd.names)
        if mine is None:
            return other
        arrays = (np.concatenate([getattr(mine, name), getattr(other, name)]) for name in _ARRAYS)
        return Admitted(Herd([*mine.herd, *other.herd]), *arrays)

    def without(self, names: Sequence[str]) -> Admitted | None:
        """These without some; None when nobody is left."""
        kept = [i for i, name in enumerate(self.herd.names) if name not in names]
        if not kept:
            return None
        return Admitted(Herd(self.herd[i] for i in kept), *(getattr(self, name)[kept] for name in _ARRAYS))

    def state(self) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        """Candidates as JSON values, and arrays."""
        return [candidate_to_json(c) for c in self.herd], {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_state(cls, candidates: Sequence[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when arrays are missing or do not fit.
        """
        herd = Herd(candidate_from_json(c) for c in candidates)
        # A router saved before there were quantiles knows none.
        arrays = {"spread": np.full((len(herd), len(KINDS), len(LEVELS)), np.nan), **arrays}
        if any(name not in arrays or len(arrays[name]) != len(herd) for name in _ARRAYS):
            raise ArtefactError(
                "the router's enlisted candidates and their arrays do not fit.",
                remedy="Enlist them again: herdwise enlist.",
            )
        return cls(herd, *(np.asarray(arrays[name]) for name in _ARRAYS))
