"""The Herd paper's figures: how a herd of smaller models stands beside one reference model.

Source: Mangla et al., Herd: Using multiple, smaller LLMs to match the performances of proprietary, large
LLMs via an intelligent composer (2023).
"""

from __future__ import annotations

import numpy as np

from herdwise.evaluation.figures import ReferenceFigures

#: "As well as the reference": at most this much below it.
TOLERANCE = 0.05
#: The reference misses a query below the first, a candidate is right above the second.
MISSED_BELOW, RIGHT_ABOVE = 0.9, 0.95


def reference_figures(
    name: str,
    reference: np.ndarray,
    quality: np.ndarray,
    picked_quality: np.ndarray,
    active_params_b: np.ndarray,
    reference_active_params_b: float | None,
) -> ReferenceFigures | None:
    """The figures; None when the reference ran none of these queries.

    Args:
        name: the reference's.
        reference: ``(n,)`` its quality, NaN = not run.
        quality: ``(n, m)`` of the herd, the reference left out of it (m may be 0).
        picked_quality: ``(n,)`` of the router's answers.
        active_params_b: ``(n,)`` summed over the router's asks, NaN = unknown.
        reference_active_params_b: of the reference, None = unknown.
    """
    known = np.isfinite(reference)
    if not known.any():
        return None
    own, herd = reference[known].astype(np.float64), quality[known].astype(np.float64)
    picked, sizes = picked_quality[known], active_params_b[known]
    best = herd.max(axis=1) if herd.shape[1] else None
    missed = own < MISSED_BELOW
    some_missed = bool(missed.any())
    size = float(sizes.mean()) if np.isfinite(sizes).all() else None
    ratio = reference_active_params_b / size if reference_active_params_b is not None and size else None
    return ReferenceFigures(
        candidate=name,
        n=int(known.sum()),
        quality=float(own.mean()),
        as_well=_as_well(picked, own),
        as_well_some_candidate=None if best is None else _as_well(best, own),
        missed=float(missed.mean()),
        missed_some_candidate=(
            float((best[missed] > RIGHT_ABOVE).mean()) if best is not None and some_missed else None
        ),
        missed_router=float((picked[missed] > RIGHT_ABOVE).mean()) if some_missed else None,
        effective_params_b=size,
        size_ratio=ratio,
    )


def _as_well(quality: np.ndarray, reference: np.ndarray) -> float:
    # Recorded as float32: 0.95 against 1.0 is within 0.05, whatever the last bit says.
    return float((quality >= reference - TOLERANCE - 1e-6).mean())
