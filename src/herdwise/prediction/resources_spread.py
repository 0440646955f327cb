"""How far a call's cost, latency and length may lie from what is predicted: quantiles per query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from herdwise.prediction.least_squares import solve
from herdwise.prediction.log_lines import Design, LogLines
from herdwise.prediction.resources_quantiles import (
    LEVELS,
    N_GROUPS,
    at_level,
    few_quantiles,
    grouped_quantiles,
    log_scale,
    relative_quantiles,
)

_ARRAYS = ("smear_", "edges_", "quantiles_", "relative_")


class ResourceSpread:
    """Quantiles of left-out residuals over a scale that is itself predicted from the query.

    Normalised conformal prediction (Papadopoulos 2008) on logarithms, with quantiles by groups of
    predictions (Mondrian conformal prediction, Vovk 2005). A candidate of few rows has the herd's
    distribution about its mean.

    Args:
        d: features of the query vectors.
        n_kinds, m: kinds of resources, and candidates; nothing is known of them yet.
    """

    def __init__(self, d: int, n_kinds: int, m: int) -> None:
        self._scales = LogLines.unknown(d, n_kinds, m)
        self.smear_ = np.zeros((n_kinds, m))
        self.edges_ = np.full((n_kinds, m, N_GROUPS - 1), np.inf)
        self.quantiles_ = np.full((n_kinds, m, N_GROUPS, len(LEVELS)), np.nan)
        self.relative_ = np.full((n_kinds, len(LEVELS)), np.nan)
        self._across: dict[int, np.ndarray] = {}

    def fit_scale(
        self, kind: int, columns: Sequence[int], residual: np.ndarray, features: np.ndarray, design: Design
    ) -> np.ndarray:
        """Learn how large residuals are from the query.

        Args:
            kind, columns: of which candidates.
            residual: ``(n, len(columns))`` left-out residuals of logarithms, NaN = not recorded.
            features: ``(n, n_features)`` of ``design``.

        Returns:
            The residuals over their left-out scale, same shape.
        """
        size = log_scale(residual)
        least, most = np.nanmin(size, axis=0), np.nanmax(size, axis=0)
        fit = solve(features, size, np.nanmean(size, axis=0))
        design.fold(self._scales, kind, columns, fit.weights, fit.offset)
        self._scales.low[kind, columns], self._scales.high[kind, columns] = least, most
        return np.asarray(residual / np.exp(np.clip(fit.left_out, least, most)))

    def fit_quantiles(
        self,
        kind: int,
        learned: Mapping[int, tuple[np.ndarray, np.ndarray, np.ndarray]],
        few: Mapping[int, np.ndarray],
    ) -> None:
        """Learn the distributions.

        Args:
            kind: of resource.
            learned: candidate -> predictions by the others' slopes about the mean of all, residuals over
                their scale, and recorded values, each ``(n_j,)`` logarithms.
            few: candidate of too few rows to be learned -> its recorded values, logarithms.
        """
        self.relative_[kind] = relative_quantiles([recorded for _, _, recorded in learned.values()])
        if learned:
            columns = list(learned)
            self.edges_[kind, columns], self.quantiles_[kind, columns] = grouped_quantiles(
                [predicted for predicted, _, _ in learned.values()], [z for _, z, _ in learned.values()]
            )
        for column, recorded in few.items():
            self.quantiles_[kind, column] = few_quantiles(recorded, self.relative_[kind])
            for part in (self._scales.offset, self._scales.low, self._scales.high):
                part[kind, column] = 0.0

    def quantile(
        self, kind: int, centre: np.ndarray, x: np.ndarray, length: Any, probability: float
    ) -> np.ndarray:
        """Logarithm of what a call takes at most, with a probability; NaN where that is unknown.

        Args:
            kind: of resource.
            centre: ``(..., m)`` predicted logarithms.
            x: ``(..., d)`` query vectors.
            length: ``(..., 1)`` logarithms of the inputs' lengths, or one of them.
            probability: within ``LEVELS``.
        """
        across = self._across.get(kind)
        if across is None:
            across = self._across[kind] = np.ascontiguousarray(self._scales.weights[:, kind])
        scales = self._scales
        scale = x @ across + length * scales.on_length[kind] + scales.offset[kind]
        scale = np.exp(np.minimum(np.maximum(scale, scales.low[kind]), scales.high[kind]))
        group = (centre[..., None] > self.edges_[kind]).sum(axis=-1)
        z = at_level(self.quantiles_[kind], probability)
        return np.asarray(centre + scale * z[np.arange(len(z)), group])

    def state(self) -> dict[str, np.ndarray]:
        """The fitted arrays."""
        return self._scales.arrays("scale_") | {name: np.asarray(getattr(self, name)) for name in _ARRAYS}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], d: int, n_kinds: int, m: int) -> Self:
        """Rebuild from ``state``; from arrays of a time before there were quantiles, nothing is known.

        Raises:
            KeyError: when some arrays are missing, but not all.
        """
        spread = cls(d, n_kinds, m)
        if any(name in arrays for name in _ARRAYS):
            spread._scales = LogLines.of(arrays, "scale_")
            for name in _ARRAYS:
                setattr(spread, name, np.asarray(arrays[name]))
        return spread
