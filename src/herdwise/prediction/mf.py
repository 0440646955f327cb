"""Matrix factorisation with query features: traits of a query meet abilities of a candidate (EmbedLLM)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.least_squares import solve
from herdwise.prediction.option_checks import whole


class MatrixFactorisationPredictor(FittedArrays):
    """Quality = candidate's mean + traits(query) . abilities(candidate), traits linear in the vector.

    Solved without gradient descent as reduced-rank ridge (Mukherjee and Zhu 2011): the ridge fit, projected
    on the leading directions of its fitted values. The rank is chosen by leave-one-out error.

    Args:
        max_rank: most traits that are tried.
    """

    name: ClassVar[str] = "mf"
    arrays: ClassVar[tuple[str, ...]] = ("traits_", "abilities_", "offset_")
    options: ClassVar[tuple[str, ...]] = ("max_rank",)

    def __init__(self, max_rank: int = 16) -> None:
        self.max_rank = whole(self.name, "max_rank", max_rank, least=0)

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        del rng
        fit = solve(X, Y, self.means_)
        self.offset_ = fit.offset
        fitted = X @ fit.weights
        level = fitted.mean(axis=0)
        _, _, abilities = np.linalg.svd(fitted - level, full_matrices=False)
        known = np.isfinite(Y)
        centred = fit.left_out - fit.offset - level
        best: tuple[float, int] | None = None
        for rank in range(min(self.max_rank, len(abilities)) + 1):
            kept = abilities[:rank]
            error = np.where(known, Y - fit.offset - level - centred @ kept.T @ kept, 0.0)
            total = float(np.sum(error.astype(np.float64) ** 2))
            if best is None or total < best[0]:
                best = (total, rank)
        assert best is not None  # noqa: S101 - rank 0 was tried
        self.abilities_ = np.ascontiguousarray(abilities[: best[1]])
        self.traits_ = fit.weights @ self.abilities_.T
        self.left_out_ = centred @ self.abilities_.T @ self.abilities_ + fit.offset + level
        # Directions that were dropped keep their mean.
        self.offset_ = self.offset_ + level - level @ self.abilities_.T @ self.abilities_

    def _predict(self, X: np.ndarray) -> np.ndarray:
        predicted: np.ndarray = (X @ self.traits_) @ self.abilities_ + self.offset_
        return predicted
