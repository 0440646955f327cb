"""Voice: what fusion makes of a candidate that it was not trained with, from a few scored probes.

It speaks as a mixture of the candidates that it is like, and counts in full while none of its kin was heard.
Whoever it errs with most is its kin: once that one was heard too, it counts for what it knows beyond it. A
copy of a known candidate so adds next to nothing to its original.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from herdwise.prediction.fusion_network import Parameters
from herdwise.prediction.likeness import Mix

#: The axis of the candidates in the network's parameters that have one.
_CANDIDATES = dict.fromkeys(("say", "say_odds", "spoke", "spoke_odds", "fail", "vote", "vote_odds"), 0)
_CANDIDATES |= dict.fromkeys(("unsaid_spoke", "unsaid_fail", "next_unsaid", "next_fail_score"), 0)
_CANDIDATES |= {"next": 1, "next_fail": 1}
#: Probes that count for "they err apart".
_PRIOR = 5.0


@dataclass(frozen=True)
class Voice:
    """How a candidate is heard that was not learned of.

    Args:
        shares: ``(k,)`` of the learned candidates in its voice, together 1.
        kin: column of the likest of them.
        overlap: how far its outcomes follow those of the kin beyond what both are predicted, in [0, 1].
    """

    shares: np.ndarray
    kin: int
    overlap: float

    @classmethod
    def of(cls, mix: Mix, outcomes: np.ndarray, predicted: np.ndarray, quality: np.ndarray) -> Self:
        """From probes.

        Args:
            mix: what it is like.
            outcomes, predicted: ``(N, k)`` of the learned candidates on the probes, without gaps.
            quality: ``(N,)`` its own outcomes.
        """
        kin = int(mix.shares.argmax())
        own, theirs = mix(predicted), predicted[:, kin]
        alike = float(1.0 - np.abs(quality - outcomes[:, kin]).mean())
        by_chance = float((own * theirs + (1.0 - own) * (1.0 - theirs)).mean())
        beyond = max(0.0, alike - by_chance) / max(1.0 - by_chance, 1e-6)
        return cls(mix.shares, kin, beyond * len(quality) / (len(quality) + _PRIOR))


def one_more(parameters: Parameters, shares: np.ndarray) -> Parameters:
    """With one candidate more, the last, a mixture of the others by ``(m,)`` shares."""

    def joined(value: np.ndarray, axis: int) -> np.ndarray:
        mixed = np.expand_dims(np.tensordot(shares, value, (0, axis)), axis).astype(value.dtype)
        return np.concatenate([value, mixed], axis=axis)

    return {
        name: joined(value, _CANDIDATES[name]) if name in _CANDIDATES else value
        for name, value in parameters.items()
    }


def one_less(parameters: Parameters, column: int) -> Parameters:
    """Without one candidate."""
    return {
        name: np.delete(value, column, _CANDIDATES[name]) if name in _CANDIDATES else value
        for name, value in parameters.items()
    }
