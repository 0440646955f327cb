"""Prices (USD per million tokens) and costs (USD per query). Unknown stays unknown, never zero."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Where money must add up exactly it is counted in billionths of a USD, as whole numbers.
NANOS_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a provider charges, in USD per million tokens.

    >>> Price(input_usd_per_mtok=0.5, output_usd_per_mtok=1.5).cost_usd(1_000_000, 2_000_000)
    3.5
    >>> Price(input_usd_per_mtok=0.5, output_usd_per_mtok=None).cost_usd(10, 10) is None
    True
    >>> Price(input_usd_per_mtok=0.5, output_usd_per_mtok=None).cost_usd(1_000_000, 0)
    0.5
    >>> Price(input_usd_per_mtok=0, output_usd_per_mtok=0).cost_usd(10, None)
    0.0
    """

    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None

    @property
    def known(self) -> bool:
        """Whether a cost can be computed from this price."""
        return self.input_usd_per_mtok is not None and self.output_usd_per_mtok is not None

    def cost_usd(self, input_tokens: float | None, output_tokens: float | None) -> float | None:
        """USD for one call; None where the price, or a count that is charged for, is unknown."""
        if self.input_usd_per_mtok is None or (self.output_usd_per_mtok is None and output_tokens != 0):
            return None  # embeddings have no output, whatever that costs
        # What is free costs nothing, however much of it nobody counted.
        total = 0.0
        if self.input_usd_per_mtok:
            if input_tokens is None:
                return None
            total += input_tokens * self.input_usd_per_mtok
        if self.output_usd_per_mtok:
            if output_tokens is None:
                return None
            total += output_tokens * self.output_usd_per_mtok
        return total / 1e6


def to_nanos(usd: float) -> int:
    """Billionths of a USD, rounded up: nothing is spent for free.

    >>> to_nanos(0.1), to_nanos(1e-12)
    (100000000, 1)
    """
    nanos = usd * NANOS_PER_USD
    nearest = round(nanos)
    return nearest if math.isclose(nanos, nearest, rel_tol=1e-12) else math.ceil(nanos)


UNKNOWN_PRICE = Price(None, None)
FREE = Price(0.0, 0.0)
