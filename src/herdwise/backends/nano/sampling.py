"""Which token comes next, and how sure of it the model is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herdwise.backends.nano.tokens import END, PAD
from herdwise.backends.nano.weights import F32
from herdwise.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Token:
    """One token that a model said.

    Args:
        token: its number; ``tokens.END`` ends an answer.
        logprob: natural logarithm of its probability under the model, whatever the temperature.
        top: (token, logprob) of the likeliest, the likeliest first; empty when none were asked for.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Picks tokens from logits.

    Args:
        temperature: 0 picks the likeliest.
        top_p: only the likeliest that together have this probability are drawn from.
        seed: of the draws; None = another each time.
        n_top: alternatives that are told.

    Raises:
        InputError: when a setting is out of range.
    """

    def __init__(
        self, temperature: float = 0.0, top_p: float = 1.0, seed: int | None = None, n_top: int = 0
    ) -> None:
        if not 0 <= temperature < math.inf or not 0 < top_p <= 1 or n_top < 0:
            raise InputError(
                f"temperature {temperature}, top_p {top_p}, {n_top} alternatives: one is out of range.",
                remedy="temperature is 0 or more, top_p above 0 and up to 1.",
            )
        self._temperature, self._top_p, self._n_top = temperature, top_p, n_top
        self._draws = np.random.default_rng(seed) if temperature > 0 else None

    def pick(self, logits: F32) -> Token:
        """One token.

        Args:
            logits: (n_tokens,); those of marks that no answer holds are overwritten.
        """
        logits[PAD:END] = -np.inf
        best = int(logits.argmax())
        shifted = logits - logits[best]
        weights = np.exp(shifted)
        log_total = math.log(float(weights.sum()))
        token = best if self._draws is None else self._draw(shifted, self._draws)
        top: tuple[tuple[int, float], ...] = ()
        if self._n_top:
            order = np.argsort(-shifted, kind="stable")[: self._n_top]
            top = tuple((int(i), float(shifted[i]) - log_total) for i in order)
        return Token(token, float(shifted[token]) - log_total, top)

    def _draw(self, shifted: F32, draws: np.random.Generator) -> int:
        weights: NDArray[np.float64] = np.exp(shifted.astype(np.float64) / self._temperature)
        weights /= weights.sum()
        if self._top_p < 1:
            order = np.argsort(-weights, kind="stable")
            before = np.cumsum(weights[order]) - weights[order]
            weights[order[before >= self._top_p]] = 0
        total = np.cumsum(weights)
        drawn = int(np.searchsorted(total, draws.random() * total[-1], side="right"))
        return min(drawn, int(np.flatnonzero(weights)[-1]))
