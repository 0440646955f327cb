"""Reading: the parameters of fusion's network as one query sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from herdwise.prediction.confidence import Confidence


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The network's parameters as one query sees them: predicted log-odds and options are worked in.

    Args:
        say, spoke, fail: ``(m, h)`` what a candidate adds to the hidden units: of the value it says, of all
            values, of all values when it fails.
        offset, unsaid: ``(h,)`` what all values start with; what a value that nobody said adds.
        readout: ``(h,)``.
        vote, unsaid_spoke, unsaid_fail: ``(m,)`` what a candidate adds to scores: to the value it says, to
            those that nobody said.
        unsaid_score: score that those start with.
        next, next_fail: ``(h, m)`` what a candidate would say, from the hidden units.
        next_unsaid, next_fail_score: ``(m,)``.
        speaks: ``(m,)`` bool, who was learned of.
        lead: ``(m,)`` predicted log-odds less their mean over those learned of.
        kin, overlap: ``(m,)`` who says much of what a candidate says (-1 = nobody), and how much: once the
            kin was heard, the candidate counts for the rest.
        offered: the options' values, in their order.
        option: ``(len(offered), h)``, what each option adds to its own hidden units.
        option_score: ``(len(offered),)``.
        confidence: brings scores to frequencies.
    """

    say: np.ndarray
    spoke: np.ndarray
    fail: np.ndarray
    offset: np.ndarray
    unsaid: np.ndarray
    readout: np.ndarray
    vote: np.ndarray
    unsaid_spoke: np.ndarray
    unsaid_fail: np.ndarray
    unsaid_score: float
    next: np.ndarray
    next_unsaid: np.ndarray
    next_fail: np.ndarray
    next_fail_score: np.ndarray
    speaks: np.ndarray
    lead: np.ndarray
    kin: np.ndarray
    overlap: np.ndarray
    offered: tuple[str, ...]
    option: np.ndarray
    option_score: np.ndarray
    confidence: Confidence

    @classmethod
    def of(
        cls,
        p: Mapping[str, np.ndarray],
        odds: np.ndarray,
        lead: np.ndarray,
        speaks: np.ndarray,
        kin: np.ndarray,
        overlap: np.ndarray,
        offered: tuple[str, ...],
        features: np.ndarray,
        confidence: Confidence,
    ) -> Reading:
        """Of a query with centred log-odds and leads ``(m,)``, and option features ``(len(offered), f)``."""
        level = float(odds.mean())
        column = odds[:, None]
        return cls(
            say=p["say"] + column * p["say_odds"],
            spoke=p["spoke"] + column * p["spoke_odds"],
            fail=p["fail"],
            offset=p["offset"] + level * p["query"],
            unsaid=p["unsaid"],
            readout=p["readout"],
            vote=p["vote"] + odds * p["vote_odds"],
            unsaid_spoke=p["unsaid_spoke"],
            unsaid_fail=p["unsaid_fail"],
            unsaid_score=float(p["unsaid_score"][0]) + level * float(p["unsaid_query"][0]),
            next=p["next"],
            next_unsaid=p["next_unsaid"],
            next_fail=p["next_fail"],
            next_fail_score=p["next_fail_score"],
            speaks=speaks,
            lead=lead,
            kin=kin,
            overlap=overlap,
            offered=offered,
            option=features @ p["option"],
            option_score=features @ p["option_score"],
            confidence=confidence,
        )
