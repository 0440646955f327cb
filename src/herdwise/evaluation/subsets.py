"""Subsets: the best few of many candidates, by the quality that routing among them reaches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: An exchange must gain more than rounding does.
_TINY = 1e-9
#: Where routing gains nothing any more, who could gain most in hindsight goes first.
_HINDSIGHT = 1e-4


class Routed:
    """Mean quality when each query goes to whom of a set is predicted best.

    Args:
        predicted: ``(n, m)`` expected quality.
        quality: ``(n, m)`` recorded quality, finite.
        weight: ``(n,)`` of the queries, together 1.
    """

    def __init__(self, predicted: np.ndarray, quality: np.ndarray, weight: np.ndarray) -> None:
        self.predicted, self.quality, self.weight = predicted, quality, weight

    def __call__(self, columns: np.ndarray) -> float:
        """Of one set."""
        best = columns[self.predicted[:, columns].argmax(axis=1)]
        return float(self.weight @ self.quality[np.arange(len(best)), best])

    def worth(self, columns: np.ndarray) -> float:
        """What sets are compared by: their routed quality, and a hair of their oracle to break ties."""
        return self(columns) + _HINDSIGHT * float(self.weight @ self.quality[:, columns].max(axis=1))

    def with_one_more(self, columns: np.ndarray) -> np.ndarray:
        """``(m,)`` worth of the set with each candidate added; -inf for its own members."""
        if len(columns) == 0:
            return np.asarray((1.0 + _HINDSIGHT) * (self.weight @ self.quality))
        best = columns[self.predicted[:, columns].argmax(axis=1)]
        at = np.arange(len(best))
        ahead, now = self.predicted[at, best], self.quality[at, best]
        base = float(self.weight @ now)
        gain = np.where(self.predicted > ahead[:, None], self.quality - now[:, None], 0.0)
        best_of_all = np.maximum(self.quality, self.quality[:, columns].max(axis=1)[:, None])
        total = base + self.weight @ gain + _HINDSIGHT * (self.weight @ best_of_all)
        total[columns] = -np.inf
        return np.asarray(total)

    def with_one_less(self, columns: np.ndarray) -> np.ndarray:
        """``(len(columns),)`` routed quality of the set with each member taken out; two members or more."""
        predicted, quality = self.predicted[:, columns], self.quality[:, columns]
        at, k = np.arange(len(predicted)), len(columns)
        first = predicted.argmax(axis=1)
        others = predicted.copy()
        others[at, first] = -np.inf
        second = others.argmax(axis=1)
        change = self.weight * (quality[at, second] - quality[at, first])
        return float(self.weight @ quality[at, first]) + np.bincount(first, weights=change, minlength=k)


def best_subsets(
    routed: Routed, largest: int, *, progress: Callable[[int, int], None] | None = None
) -> list[np.ndarray]:
    """For each size 1..``largest`` the best set found, columns ascending.

    From below by adding the candidate that gains most, from above by taking out the one that costs least; the
    better of the two is then improved by exchanging one member for one outsider while that gains.
    """
    m = routed.predicted.shape[1]
    above: dict[int, np.ndarray] = {m: np.arange(m)}
    for size in range(m - 1, 0, -1):
        left = above[size + 1]
        above[size] = np.delete(left, int(routed.with_one_less(left).argmax()))
    found: list[np.ndarray] = []
    for size in range(1, largest + 1):
        smaller = found[-1] if found else np.zeros(0, dtype=np.int64)
        grown = np.append(smaller, int(routed.with_one_more(smaller).argmax()))
        start = max((grown, above[size]), key=routed.worth)
        found.append(np.sort(_exchanged(routed, start)))
        if progress is not None:
            progress(size, largest)
    return found


def _exchanged(routed: Routed, columns: np.ndarray) -> np.ndarray:
    value = routed.worth(columns)
    while True:
        better: tuple[float, np.ndarray] | None = None
        for place in range(len(columns)):
            rest = np.delete(columns, place)
            gains = routed.with_one_more(rest)
            newcomer = int(gains.argmax())
            if gains[newcomer] > max(value, better[0] if better else value) + _TINY:
                better = float(gains[newcomer]), np.append(rest, newcomer)
        if better is None:
            return columns
        value, columns = better
