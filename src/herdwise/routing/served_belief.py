"""ServedBelief: a belief over the candidates learned, seen by the candidates served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from herdwise.routing.base import Belief


@dataclass(frozen=True, slots=True)
class ServedBelief:
    """See ``routing.base.Belief``. What was not learned is not believed: such a candidate sways nothing.

    Args:
        learned: over the candidates learned.
        columns: ``(m,)`` the column of each candidate served, -1 = none. Of several with one column (all
            ``like`` the same) the first to answer speaks for it; one opinion never counts twice. Samples of
            one candidate share its vote.
        quality: ``(m,)`` predicted quality, the trust in who gave no answer that the belief knows.
        heard: candidate -> value, for those that answered.
        spoken: column -> the candidate that spoke for it.
    """

    learned: Belief
    columns: np.ndarray
    quality: np.ndarray
    heard: tuple[tuple[int, str], ...] = ()
    spoken: Mapping[int, int] = field(default_factory=dict)

    def observe(self, candidate: int, value: str | None) -> ServedBelief:
        """One more answer, or a failure to give one."""
        heard = self.heard if value is None else (*self.heard, (candidate, value))
        column = int(self.columns[candidate])
        if column < 0 or self.spoken.get(column, candidate) != candidate:
            return replace(self, heard=heard)
        spoken = {**self.spoken, column: candidate}
        return replace(self, learned=self.learned.observe(column, value), heard=heard, spoken=spoken)

    def posterior(self) -> dict[str, float]:
        """Value -> P(right); a value that only strangers gave is believed as far as room is left for it."""
        known = {v: p for v, p in self.learned.posterior().items() if v is not None}
        room = max(0.0, 1.0 - sum(known.values()))
        for candidate, value in self.heard:
            if value not in known:
                known = {**known, value: min(room, self._expected(candidate))}
                room = max(0.0, room - known[value])
        return known

    def best(self) -> tuple[str | None, float]:
        """The likeliest value."""
        posterior = self.posterior()
        if not posterior:
            return None, 0.0
        value = max(posterior, key=lambda v: posterior[v])
        return value, posterior[value]

    def trust(self, candidate: int) -> float:
        """P(right) of what it said (of its likeliest answer), else what is expected of it."""
        said = [value for c, value in self.heard if c == candidate]
        if not said:
            return self._expected(candidate)
        posterior = self.posterior()
        return max(posterior[value] for value in said)

    def gain(self, candidates: np.ndarray) -> np.ndarray:
        """Expected gain, ``(k,)``; 0 for who was not learned, unless nobody has answered yet."""
        candidates = np.asarray(candidates, dtype=np.int64)
        columns = self.columns[candidates]
        fresh = columns >= 0
        if self.spoken:
            fresh &= ~np.isin(columns, list(self.spoken))
        gain = np.zeros(len(candidates))
        if fresh.any():
            gain[fresh] = self.learned.gain(columns[fresh])
        if not self.heard:
            gain[~fresh] = [self._expected(int(c)) for c in candidates[~fresh]]
        return gain

    def _expected(self, candidate: int) -> float:
        quality = float(self.quality[candidate])
        return min(max(quality, 0.0), 1.0) if np.isfinite(quality) else 0.0
