"""What a profile asks of whom, and how it is graded: prepared once, and then only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError
from herdwise.core.money import Price
from herdwise.profiling.asking import Asker
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import AskingGrader, Grader
from herdwise.profiling.spending import most_usd


@dataclass(frozen=True, slots=True)
class Judge:
    """A candidate that graders ask.

    Args:
        candidate: its name and price.
        identity: what stands behind it; part of every question's digest.
        asker: of its own, apart from the same candidate's as one that is profiled.
    """

    candidate: Candidate
    identity: str
    asker: Asker


@dataclass(frozen=True, slots=True)
class Plan:
    """One profile.

    Args:
        herd: the candidates.
        items: checked, each with a split.
        samples: times each item is asked of each candidate.
        sampling: fields added to every ask, over an item's own.
        limits: name -> asks at a time, judges included.
        askers: name -> asker, of the herd.
        judges: name -> judge.
        graders: item id -> grader.
        digests: item id -> digest of all that its grade depends on.
        by_id: item id -> item.
    """

    herd: Herd
    items: tuple[Item, ...]
    samples: int
    sampling: Mapping[str, Any]
    limits: Mapping[str, int]
    askers: Mapping[str, Asker]
    judges: Mapping[str, Judge]
    graders: Mapping[str, Grader]
    digests: Mapping[str, str]
    by_id: Mapping[str, Item]

    @property
    def n_pairs(self) -> int:
        """(candidate, item, sample) in all."""
        return len(self.herd) * len(self.items) * self.samples

    def request(self, item: Item) -> dict[str, Any]:
        """Fields of an ask beside its messages."""
        return {**item.request, **self.sampling}

    def judge_of(self, item: Item) -> Judge | None:
        """Who is asked before the item's answers are graded; None = nobody."""
        grader = self.graders[item.id]
        return self.judges[grader.candidate or ""] if isinstance(grader, AskingGrader) else None

    def refuse_unbounded(self) -> None:
        """A budget can only be kept where the most that each ask can cost is known.

        Raises:
            ConfigError: naming who has no price, or saying that answers have no limit.
        """
        candidates = [
            *self.herd,
            *(j.candidate for j in self.judges.values() if j.candidate not in self.herd),
        ]
        unpriced = sorted({c.name for c in candidates if not c.price.known})
        if unpriced:
            raise ConfigError(
                f"a budget cannot be kept: the price of {', '.join(unpriced)} is unknown.",
                remedy="State input_usd_per_mtok and output_usd_per_mtok; 0 says free.",
            )
        paid = Price(1.0, 1.0)
        if any(c.price != Price(0.0, 0.0) for c in self.herd) and any(
            most_usd(paid, (), self.request(item)) is None for item in self.items
        ):
            raise ConfigError(
                "a budget cannot be kept: the answers' length has no limit.", remedy="Add --max-tokens."
            )
