"""FittedArrays: state and rebuilding for predictors whose fit is a handful of named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from herdwise.core.errors import ArtefactError
from herdwise.prediction.base import Predictor


class FittedArrays(Predictor):
    """A subclass names its fitted arrays in ``arrays`` and its constructor's arguments in ``options``."""

    arrays: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[str, ...]] = ()

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Constructor arguments, and the fitted arrays by attribute name."""
        arrays = {name: np.asarray(getattr(self, name)) for name in ("means_", *self.arrays)}
        arrays["n_features_"] = np.array(self.n_features_, dtype=np.int64)
        return {name: getattr(self, name) for name in self.options}, arrays

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when an array is missing.
        """
        predictor = cls(**options)
        for name in ("means_", "n_features_", *cls.arrays):
            if name not in arrays:
                raise ArtefactError(
                    f"the saved {cls.name!r} predictor lacks the array {name!r}.",
                    remedy="Train the router again.",
                )
        for name in ("means_", *cls.arrays):
            setattr(predictor, name, np.asarray(arrays[name]))
        predictor.n_features_ = int(arrays["n_features_"])
        predictor.n_candidates_ = len(predictor.means_)
        predictor._prepare()
        return predictor

    def _prepare(self) -> None:
        """Derive what a decision needs from the fitted arrays; called by ``_fit`` and ``from_state``."""
