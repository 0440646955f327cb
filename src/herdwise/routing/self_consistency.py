"""SelfConsistency: one candidate is asked several times, and what it says most often is returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from herdwise.core.candidate import Herd
from herdwise.routing.base import Ask, Policy, Situation, Step, Wait
from herdwise.routing.consulting import (
    belief_of,
    by_quality,
    calls_left,
    open_candidates,
    over,
    settle,
    usd_left,
)
from herdwise.routing.option_checks import cost, count, known_candidate


class SelfConsistency(Policy):
    """The answer that most of the samples of one candidate give.

    All samples are asked at once, with a temperature that makes them differ; those under way are cancelled
    once they can change nothing. Samples of one candidate err together, so that their agreement is one
    opinion, not several: what is believed of the answer counts them as one vote. A candidate none of whose
    samples answers is replaced by the next. In replay the recorded samples stand for the asks.
    Source: Wang et al., Self-Consistency Improves Chain of Thought Reasoning in Language Models (2023).

    Args:
        samples: asks of the candidate.
        temperature: sent with every ask, 0 or more; at 0 most candidates repeat themselves.
        candidate: name; None = the one of best utility.

    Raises:
        ConfigError: when an option is out of range.
    """

    name: ClassVar[str] = "self_consistency"
    consults: ClassVar[bool] = True
    resamples: ClassVar[bool] = True
    samples_of_one: ClassVar[bool] = True

    def __init__(self, samples: int = 5, temperature: float = 0.7, candidate: str | None = None) -> None:
        self.samples = count(self.name, "samples", samples)
        self.temperature = cost(self.name, "temperature", temperature)
        self.candidate = candidate

    def check(self, herd: Herd) -> None:
        """See ``Policy.check``."""
        known_candidate(self.name, self.candidate, herd)

    def step(self, situation: Situation) -> Step:
        """See ``Policy.step``."""
        belief = belief_of(situation)
        if ended := over(situation):
            return settle(situation, belief, ended)
        votes = Counter(answer.value for answer in situation.answers if answer.value is not None)
        leading = votes.most_common(2)
        if situation.in_flight:
            ahead = leading[0][1] - (leading[1][1] if len(leading) > 1 else 0) if leading else 0
            if ahead > len(situation.in_flight):
                return settle(situation, belief, "the other samples could change nothing", leading[0][0])
            return Wait(situation.goals.max_seconds)
        if situation.answers:
            value, most = leading[0] if leading else (None, 0)
            why = f"{most} of {len(situation.answers)} samples agree"
            return settle(situation, belief, why, value)
        order = by_quality(situation, open_candidates(situation))
        if not order:
            return settle(situation, belief, "nobody else may be asked")
        chosen = order[0]
        if self.candidate is not None and self.candidate in situation.herd:
            named = situation.herd.index(self.candidate)
            chosen = named if named in order else chosen
        n = self._affordable(situation, chosen)
        # A seed of the client's would make all samples alike.
        return Ask((chosen,) * n, sampling={"temperature": self.temperature, "seed": None})

    def _affordable(self, situation: Situation, candidate: int) -> int:
        """So many samples as the budgets allow; the first is within them (see ``open_candidates``)."""
        n, usd = int(min(self.samples, calls_left(situation))), usd_left(situation)
        each = float(situation.estimates.cost_usd[candidate])
        if each > 0 and usd < n * each:
            n = int(usd / each)
        return max(n, 1)

    def options(self) -> dict[str, Any]:
        """See ``Policy.options``."""
        return {"samples": self.samples, "temperature": self.temperature, "candidate": self.candidate}

    def spectrum(self, n_candidates: int) -> Sequence[Policy]:
        """From one sample to all of them."""
        del n_candidates
        sizes = sorted({min(n, self.samples) for n in (1, 2, 3, 5, 10, self.samples)})
        return [SelfConsistency(n, self.temperature, self.candidate) for n in sizes]
