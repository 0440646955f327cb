"""Predictions for many queries at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from herdwise.core.decision import Detail, Estimates


@dataclass(frozen=True, slots=True)
class BatchEstimates:
    """Predictions for many queries, ``(n, m)`` each; NaN = unknown. See ``Estimates``.

    ``detail`` gives what stands behind those of the query at a position.
    """

    quality: np.ndarray
    quality_std: np.ndarray | None
    cost_usd: np.ndarray
    latency_s: np.ndarray
    output_tokens: np.ndarray
    detail: Callable[[int], Detail] | None = None
    best_single: int | None = None

    def row(self, i: int) -> Estimates:
        """One query's predictions."""
        return Estimates(
            quality=self.quality[i],
            quality_std=None if self.quality_std is None else self.quality_std[i],
            cost_usd=self.cost_usd[i],
            latency_s=self.latency_s[i],
            output_tokens=self.output_tokens[i],
            detail=None if self.detail is None else self.detail(i),
            best_single=self.best_single,
        )
