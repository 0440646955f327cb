"""Hand-over: where no expert is good enough, the generalist answers."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from herdwise.core.decision import Estimates
from herdwise.core.errors import InputError
from herdwise.routing.base import Situation


def good_enough(estimates: Estimates, least: float, probability: float | None) -> np.ndarray:
    """Whose expected quality reaches ``least`` with a probability, ``(m,)`` bool.

    The expectation is taken to err normally, with the standard error that the predictor states. Where it
    states none, and with a probability of None, the expectation itself is compared.
    """
    quality = np.asarray(estimates.quality, dtype=np.float64)
    error = None if probability is None else estimates.std()
    if probability is not None and error is not None:
        quality = quality - NormalDist().inv_cdf(probability) * np.nan_to_num(error)
    return np.asarray(quality >= least)


def handed_over(situation: Situation, order: np.ndarray, reason: str, least: float) -> tuple[np.ndarray, str]:
    """The order with who is good enough first; where no expert is, with the generalist first.

    Args:
        situation: before anybody was asked.
        order: admitted candidates, best first.
        reason: why the first is first.
        least: the quality asked for.

    Raises:
        InputError: when no generalist is named, or an unknown one.
    """
    goals, herd = situation.goals, situation.herd
    if goals.generalist is None:
        raise InputError(
            "min_quality is set, but no generalist is named.",
            remedy="Name the candidate that answers when no expert is good enough: goals.generalist.",
        )
    generalist = herd.index(goals.generalist)
    good = good_enough(situation.estimates, least, goals.min_quality_probability)
    experts_good = good.copy()
    experts_good[generalist] = False
    wanted = f"{least:g} or more"
    if goals.min_quality_probability is not None:
        wanted += f" with probability {goals.min_quality_probability:g}"
    if experts_good[order].any():
        order = np.concatenate([order[good[order]], order[~good[order]]])
        return order, f"{reason} among those predicted at {wanted}"
    if situation.admitted[generalist]:
        order = np.concatenate([[generalist], order[order != generalist]])
        return order, f"no expert is predicted at {wanted}: handed to the generalist"
    return order, (
        f"no expert is predicted at {wanted}, and the generalist"
        f" is removed ({situation.removed.get(goals.generalist, 'constraint')}): {reason}"
    )
