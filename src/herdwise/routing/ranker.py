"""What serving and evaluation need of a router, trained or declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from herdwise.answers.signals import Signals
from herdwise.core.candidate import Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.query import Query
from herdwise.encoding.base import Encoder
from herdwise.prediction.fusion import Fusion
from herdwise.routing.base import Belief, Policy, Situation
from herdwise.routing.constraints import HerdFacts, admit, refuse_empty
from herdwise.routing.explain import Neighbour
from herdwise.routing.utility import utilities


class Ranker(Protocol):
    """Predicts for one query and sets the scene for a policy."""

    @property
    def herd(self) -> Herd:
        """The candidates, in column order."""

    @property
    def blocking(self) -> bool:
        """Whether predicting waits for somebody else (a remote encoder): then call it off an event loop."""

    @property
    def encoder(self) -> Encoder | None:
        """What makes vectors of queries; None where nothing was learned."""

    @property
    def fusion(self) -> Fusion | None:
        """What recorded answers taught; None where there were none."""

    def estimate_one(self, query: Query) -> Estimates:
        """Predictions for one query."""

    def situation(self, query: Query, goals: Goals, estimates: Estimates | None = None) -> Situation:
        """The scene before anybody was asked.

        Raises:
            NoCandidateError: when nobody meets the constraints.
            UnknownCostError: when cost counts and none is known.
        """

    def belief(self, query: Query, estimates: Estimates) -> Belief | None:
        """What is believed of a query's answers before any came; None where no fusion was learned."""

    def evidence(self, candidate: int, signals: Signals, chars: int, tokens: int | None) -> float:
        """Log-odds of being right that the signals of a candidate's answer add; 0 = they tell nothing.

        Args:
            candidate: position in the herd.
            signals: what was read of it.
            chars, tokens: length of the whole completion; None = not stated.
        """

    def vectors(self, texts: Sequence[str]) -> np.ndarray | None:
        """Vectors ``(n, d)`` by which answers are compared; None where none are at hand at once."""

    def explain(self, query: Query, k: int = 5) -> tuple[Neighbour, ...]:
        """The nearest recorded queries; empty where none are kept."""


def opening(
    ranker: Ranker, policy: Policy, query: Query, goals: Goals, estimates: Estimates | None = None
) -> Situation:
    """The scene for a policy, with what is believed before any answer where the policy consults.

    Raises:
        NoCandidateError, UnknownCostError: see ``Ranker.situation``.
    """
    situation = ranker.situation(query, goals, estimates)
    if not policy.consults:
        return situation
    return replace(situation, belief=ranker.belief(query, situation.estimates))


def scene(facts: HerdFacts, query: Query, goals: Goals, estimates: Estimates) -> Situation:
    """Apply constraints and goals to predictions.

    Raises:
        NoCandidateError: when nobody meets the constraints.
        UnknownCostError: when cost counts and none is known.
    """
    admitted, removed = admit(facts, query, estimates, goals)
    if admitted is not facts.all_admitted and not admitted.any():
        raise refuse_empty(removed)
    utility, admitted = utilities(facts, estimates, goals, admitted, removed)
    return Situation(
        query=query,
        herd=facts.herd,
        estimates=estimates,
        goals=goals,
        admitted=admitted,
        removed=removed,
        utility=utility,
    )


def unknown(m: int) -> np.ndarray:
    """An ``(m,)`` array of unknowns."""
    return np.full(m, np.nan)
