"""Qualities lie between 0 and 1."""

from __future__ import annotations

import numpy as np

#: As arrays of the usual kind: numbers would be turned into some at every call.
_NONE, _ALL = np.array(0.0, dtype=np.float32), np.array(1.0, dtype=np.float32)


def clip_unit(values: np.ndarray) -> np.ndarray:
    """Floats of 32 bits between 0 and 1, in place."""
    np.maximum(values, _NONE, out=values)
    np.minimum(values, _ALL, out=values)
    return values
