"""Cost-quality hulls and AIQ (docs/decisions/0004).

The hull is the upper convex hull of (cost, quality) points, made non-decreasing: any point on it can be
had by answering a share of the queries at one vertex and the rest at the next. AIQ is the area under it
over the fixed candidates' cost range, divided by that range.
Source: Hu et al., RouterBench (2024), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from herdwise.evaluation.metrics import TINY

#: Points of a sweep over cost_weight, the unweighted one included.
N_SWEEP = 19
# In units of 1 / (cost range): from a weight that moves next to nobody to one that buys the cheapest.
_WEIGHT_LOW, _WEIGHT_HIGH = 0.003, 300.0


@dataclass(frozen=True, slots=True)
class Hull:
    """Vertices of a non-decreasing upper convex hull, cost ascending.

    Args:
        cost: ``(k,)``.
        quality: ``(k,)``, strictly ascending with cost.
    """

    cost: np.ndarray
    quality: np.ndarray

    def at(self, cost: np.ndarray) -> np.ndarray:
        """Best quality within each mean cost, ``(n,)``.

        To the right of the hull its best quality stands. To the left, only a share cost / cheapest of
        the queries can be paid for; the others go unanswered and earn nothing.
        """
        cost = np.asarray(cost, dtype=np.float64)
        inside: np.ndarray = np.interp(cost, self.cost, self.quality)
        first = self.cost[0]
        if first <= 0:
            return inside
        return np.asarray(np.where(cost < first, self.quality[0] * cost / first, inside))


def upper_hull(cost: np.ndarray, quality: np.ndarray) -> Hull:
    """The non-decreasing upper convex hull of ``(k,)`` points, k > 0, all finite."""
    vertices: list[tuple[float, float]] = []
    # Cheapest first, the better first among equals: a point that buys nothing is never a vertex.
    for c, q in sorted(
        zip(map(float, cost), map(float, quality), strict=True), key=lambda point: (point[0], -point[1])
    ):
        if vertices and q <= vertices[-1][1]:
            continue
        while len(vertices) > 1 and _turns_left(vertices[-2], vertices[-1], (c, q)):
            vertices.pop()
        vertices.append((c, q))
    return Hull(np.array([v[0] for v in vertices]), np.array([v[1] for v in vertices]))


def aiq(hull: Hull, low: float, high: float) -> float | None:
    """Area under the hull from ``low`` to ``high`` divided by (high - low); None without a cost range."""
    if not high - low > TINY * max(1.0, abs(high)):
        return None
    inside = (hull.cost > low) & (hull.cost < high)
    # The hull is linear between these, so that trapezoids are exact.
    edges = np.concatenate([[low], hull.cost[inside], [high]])
    return float(np.trapezoid(hull.at(edges), edges) / (high - low))


def sweep_weights(low: float, high: float, n: int = N_SWEEP) -> np.ndarray:
    """Cost weights ``(n,)`` to sweep, 0 first, scaled to the fixed candidates' cost range."""
    return np.concatenate([[0.0], np.geomspace(_WEIGHT_LOW, _WEIGHT_HIGH, n - 1) / (high - low)])


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or below the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])
