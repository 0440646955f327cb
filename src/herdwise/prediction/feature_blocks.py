"""Features made block by block where they are used, since all of them would not fit beside the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

#: Cells (rows x features) of a block; features of no more than so many are made once and kept.
BLOCK_CELLS = 2**22


class FeatureBlocks:
    """``(n, p)`` float32 features of n rows.

    Args:
        n_rows, n_features: n and p.
        make: rows ``(b,)`` int -> their features ``(b, p)``; called in every pass over them.
    """

    def __init__(self, n_rows: int, n_features: int, make: Callable[[np.ndarray], np.ndarray]) -> None:
        self._rows, self.n_features, self._make = np.arange(n_rows), n_features, make
        self._kept: np.ndarray | None = None

    @classmethod
    def of(cls, Z: np.ndarray) -> FeatureBlocks:
        """Of features that are there already."""
        return cls(len(Z), Z.shape[1], Z.__getitem__)

    def __len__(self) -> int:
        return len(self._rows)

    def among(self, chosen: np.ndarray) -> FeatureBlocks:
        """The rows of a ``(n,)`` mask."""
        if chosen.all():
            return self
        if self._kept is not None:
            return FeatureBlocks.of(self._kept[chosen])
        part = FeatureBlocks(0, self.n_features, self._make)
        part._rows = self._rows[chosen]
        return part

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        """(place among the rows, features) of each block in turn."""
        step = max(BLOCK_CELLS // max(self.n_features, 1), 1)
        if len(self) <= step:
            if self._kept is None:
                self._kept = self._make(self._rows)
            yield slice(0, len(self)), self._kept
            return
        for start in range(0, len(self), step):
            place = slice(start, min(start + step, len(self)))
            yield place, self._make(self._rows[place])
