"""RouteLLM's figures for a herd of two: PGR, APGR and CPT.

Source: Ong et al., RouteLLM: Learning to Route LLMs with Preference Data (2024), section 2.2.
"""

from __future__ import annotations

import numpy as np

from herdwise.evaluation.figures import PairFigures
from herdwise.evaluation.measured import Measured
from herdwise.evaluation.metrics import TINY, gap_recovered

_CPT_LEVELS = (0.5, 0.8)


def pair_figures(measured: Measured, predicted: np.ndarray) -> PairFigures:
    """The figures of a two-candidate herd.

    The share of strong calls is swept over every threshold on the predicted advantage of the strong
    candidate, so that APGR is the integral which the paper approximates by ten steps.

    Args:
        measured: rows of two candidates; its best single one is the strong one.
        predicted: ``(n, 2)`` predicted quality.
    """
    strong, weak = measured.best, 1 - measured.best
    quality, weights = measured.quality, measured.weights
    low, high = (float(measured.mean(quality[:, column])) for column in (weak, strong))
    pgr = gap_recovered(float(measured.mean(measured.picked)), low, high)
    apgr: float | None = None
    cpt: list[float | None] = [None, None]
    if pgr is not None:
        recovered = _recovered(
            predicted[:, strong] - predicted[:, weak], quality, strong, weights, high - low
        )
        apgr = float(np.trapezoid(recovered) / len(quality))
        cpt = [_first_share(recovered, level) for level in _CPT_LEVELS]
    return PairFigures(
        strong=measured.names[strong],
        weak=measured.names[weak],
        strong_share=float((measured.answered == strong).mean()),
        pgr=pgr,
        apgr=apgr,
        cpt_50=cpt[0],
        cpt_80=cpt[1],
    )


def _recovered(
    advantage: np.ndarray, quality: np.ndarray, strong: int, weights: np.ndarray, gap: float
) -> np.ndarray:
    """Gap recovered when the k queries of largest predicted advantage go to strong, ``(n + 1,)``."""
    order = np.argsort(-advantage, kind="stable")
    gain = (weights * (quality[:, strong] - quality[:, 1 - strong]))[order]
    # Queries of equal advantage can't be told apart, so that they share their gain.
    _, tie = np.unique(-advantage[order], return_inverse=True)
    mean_gain = np.bincount(tie, weights=gain) / np.bincount(tie)
    return np.concatenate([[0.0], np.cumsum(mean_gain[tie])]) / gap


def _first_share(recovered: np.ndarray, level: float) -> float | None:
    reached = np.flatnonzero(recovered >= level - TINY)
    return float(reached[0] / (len(recovered) - 1)) if len(reached) else None
