"""What a profile may spend: an ask is held at the most it can cost until what it took is known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from herdwise.core.money import Price

#: Tokens that a chat template may add to a message, and to an ask.
_PER_MESSAGE, _PER_ASK = 16, 64
#: Tokens of a part that is no text, such as an image, at most: those of the largest tiled images.
_PER_PART = 4000


def most_usd(price: Price, messages: Sequence[Mapping[str, Any]], request: Mapping[str, Any]) -> float | None:
    """The most that one ask can cost, in USD; None where its price or the answer's length is unbounded.

    A token holds at least one byte, so there are no more tokens than bytes; output is bounded by
    ``max_completion_tokens`` or ``max_tokens``, for each of ``n`` choices.
    """
    if price.input_usd_per_mtok == 0 and price.output_usd_per_mtok == 0:
        return 0.0
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    tokens = _PER_ASK + sum(_most_tokens(m.get("content")) + _PER_MESSAGE + _beside(m) for m in messages)
    extra = {k: v for k, v in request.items() if k in {"tools", "response_format"}}
    tokens += len(msgspec.json.encode(extra)) if extra else 0
    choices = request.get("n") or 1
    return price.cost_usd(tokens, None if limit is None else limit * choices)


def _beside(message: Mapping[str, Any]) -> int:
    """Tokens of what a message holds besides its content, such as calls of tools."""
    other = {key: value for key, value in message.items() if key not in {"role", "content"}}
    return len(msgspec.json.encode(other)) if other else 0


def _most_tokens(content: Any) -> int:
    if isinstance(content, str):
        return len(content.encode())
    if not isinstance(content, list):
        return len(msgspec.json.encode(content))
    texts = [p.get("text") if isinstance(p, Mapping) else None for p in content]
    return sum(len(t.encode()) if isinstance(t, str) else _PER_PART for t in texts)


class Budget:
    """Spent and held USD of one run.

    Args:
        limit_usd: None = no limit; what is spent is counted all the same.
        spent_usd: by earlier runs of this profile.
    """

    def __init__(self, limit_usd: float | None, spent_usd: float) -> None:
        self.limit_usd, self.spent_usd = limit_usd, spent_usd
        self._held_usd, self._n_held = 0.0, 0
        self._changed = asyncio.Condition()

    async def hold(self, usd: float) -> bool:
        """Set so much aside, after waiting for open asks where it does not fit; False = it never fits."""
        if self.limit_usd is not None and usd > 0:
            async with self._changed:
                await self._changed.wait_for(lambda: self._fits(usd) or self._n_held == 0)
                if not self._fits(usd):
                    return False
                self._held_usd += usd
                self._n_held += 1
        return True

    async def settle(self, held_usd: float, took_usd: float) -> None:
        """Give back what ``hold`` set aside, and count what was spent."""
        self.spent_usd += took_usd
        if self.limit_usd is not None and held_usd > 0:
            async with self._changed:
                self._n_held -= 1
                self._held_usd = self._held_usd - held_usd if self._n_held else 0.0
                self._changed.notify_all()

    def _fits(self, usd: float) -> bool:
        return self.limit_usd is None or self.spent_usd + self._held_usd + usd <= self.limit_usd
