"""DeclaredRouter: ranks by what the config declares, until a router is trained."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

import numpy as np

from herdwise.answers.signals import Signals
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import UnknownNameError
from herdwise.core.query import Query
from herdwise.encoding.static import StaticEncoder
from herdwise.prediction.signal_features import signal_row
from herdwise.prediction.signal_worth import SignalWorth
from herdwise.routing.base import Belief, Situation
from herdwise.routing.constraints import ANSWER_TOKENS, HerdFacts
from herdwise.routing.explain import Neighbour
from herdwise.routing.ranker import scene

#: Expected quality of a candidate that declares none: below any declared one that is worth asking.
PRIOR_QUALITY = 0.3


@lru_cache(maxsize=1)
def known_quality() -> dict[str, float]:
    """Mean recorded quality of the candidates that ``like:`` may name (data/known_candidates.csv)."""
    text = files("herdwise").joinpath("data/known_candidates.csv").read_text(encoding="utf-8")
    return {row["candidate"]: float(row["quality"]) for row in csv.DictReader(text.splitlines())}


@lru_cache(maxsize=1)
def _encoder() -> StaticEncoder:
    return StaticEncoder()


class DeclaredRouter:
    """The same for every query: declared ``quality``, else that of the candidate it is ``like``.

    Raises:
        UnknownNameError: when ``like`` names a candidate that is not known.
    """

    def __init__(self, herd: Herd) -> None:
        self._herd = herd
        self._facts = HerdFacts(herd)
        self._worth = SignalWorth()
        self._quality = np.array([declared_quality(c) for c in herd], dtype=np.float64)

    @property
    def herd(self) -> Herd:
        """The candidates, in column order."""
        return self._herd

    @property
    def blocking(self) -> bool:
        """Never: what is declared is at hand."""
        return False

    @property
    def encoder(self) -> None:
        """Nothing was learned yet."""
        return None

    @property
    def fusion(self) -> None:
        """Nothing was recorded yet."""
        return None

    def estimate_one(self, query: Query) -> Estimates:
        """Declared quality; cost from declared prices and an assumed answer of ``ANSWER_TOKENS``."""
        facts = self._facts
        tokens = float(query.max_output_tokens or ANSWER_TOKENS)
        cost = (query.input_tokens * facts.input_usd_per_mtok + tokens * facts.output_usd_per_mtok) / 1e6
        return Estimates(
            quality=self._quality,
            quality_std=None,
            cost_usd=cost,
            latency_s=facts.latency_s,
            output_tokens=np.full(len(self._herd), np.nan),
            origin="declared",
        )

    def situation(self, query: Query, goals: Goals, estimates: Estimates | None = None) -> Situation:
        """See ``Ranker.situation``."""
        return scene(self._facts, query, goals, estimates or self.estimate_one(query))

    def belief(self, query: Query, estimates: Estimates) -> Belief | None:
        """Nothing was recorded yet, so nothing is believed."""
        del query, estimates
        return None

    def evidence(self, candidate: int, signals: Signals, chars: int, tokens: int | None) -> float:
        """By priors: nothing was recorded yet. See ``Ranker.evidence``."""
        del candidate, chars, tokens
        return self._worth.evidence(-1, signal_row(signals, None))

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Ranker.vectors``: by the default encoder, which is loaded when first needed."""
        return _encoder().encode(list(texts))

    def explain(self, query: Query, k: int = 5) -> tuple[Neighbour, ...]:
        """Nothing was recorded yet: always empty."""
        del query, k
        return ()


def declared_quality(candidate: Candidate) -> float:
    """What a candidate declares: its quality, else that of whom it is like, else ``PRIOR_QUALITY``.

    Raises:
        UnknownNameError: when ``like`` names a candidate that is not known.
    """
    if candidate.quality is not None:
        return candidate.quality
    if candidate.like is None:
        return PRIOR_QUALITY
    known = known_quality()
    if candidate.like not in known:
        raise UnknownNameError(
            f"candidate {candidate.name!r}: like: {candidate.like!r} is not a known candidate.",
            remedy=f"Known: {', '.join(sorted(known))}.",
        )
    return known[candidate.like]
