"""Principal directions of features that are made block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from herdwise.prediction.feature_blocks import FeatureBlocks

#: Cells of rotated features up to which they are kept.
_KEPT_CELLS = 2**26


@dataclass(eq=False)
class Factors:
    """Centre ``(p,)``, eigenvalues and eigenvectors ``(p, p)`` of the features' scatter."""

    features: FeatureBlocks
    centre: np.ndarray
    eigenvalues: np.ndarray
    basis: np.ndarray
    _kept: list[tuple[slice, np.ndarray]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, features: FeatureBlocks) -> Factors:
        """In one pass; products in float32 within a block, sums of blocks in float64."""
        p = features.n_features
        shift: np.ndarray | None = None
        total, scatter = np.zeros(p), np.zeros((p, p))
        for _, block in features:
            if shift is None:
                shift = block.mean(axis=0)  # near the centre, so that little is lost in taking it off again
            moved = block - shift
            total += moved.sum(axis=0, dtype=np.float64)
            scatter += moved.T @ moved
        assert shift is not None  # noqa: S101 - there are rows
        beyond = total / len(features)
        scatter -= len(features) * np.outer(beyond, beyond)
        eigenvalues, basis = np.linalg.eigh(scatter)
        return cls(features, (shift + beyond).astype(np.float32), np.maximum(eigenvalues, 0.0), basis)

    @property
    def scale(self) -> float:
        """The mean eigenvalue."""
        return max(float(self.eigenvalues.mean()), 1e-12)

    def against(self, target: np.ndarray) -> np.ndarray:
        """Products of the rotated features with a ``(n, m)`` target, ``(p, m)``; many rows are not turned."""
        products = np.zeros((self.features.n_features, target.shape[1]))
        if self._small:
            for place, rotated in self.rotated():
                products += rotated.T @ target[place]
            return products
        for place, block in self.features:
            products += (block - self.centre).T @ target[place]
        return np.asarray(self.basis.T @ products)

    @property
    def _small(self) -> bool:
        return len(self.features) * self.features.n_features <= _KEPT_CELLS

    def rotated(self) -> Iterator[tuple[slice, np.ndarray]]:
        """(place, centred features in the principal directions) of each block; kept where they are few."""
        if self._kept:
            yield from self._kept
            return
        basis = self.basis.astype(np.float32)
        made: list[tuple[slice, np.ndarray]] = []
        for place, block in self.features:
            turned = (block - self.centre) @ basis
            if self._small:
                made.append((place, turned))
            yield place, turned
        self._kept = made
