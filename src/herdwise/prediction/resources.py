"""What an answer will take: output tokens, seconds and USD per candidate and query."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from herdwise.core.errors import ArtefactError, InputError
from herdwise.core.frozen import made_fast
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import CHARS_PER_TOKEN
from herdwise.prediction.least_squares import MISSING, solve
from herdwise.prediction.log_lines import Design, LogLines
from herdwise.prediction.resources_quantiles import at_level
from herdwise.prediction.resources_spread import ResourceSpread

KINDS = ("cost_usd", "latency_s", "output_tokens")
#: Groups of candidates that ran the same queries, beyond which each is learned more cheaply: fewer directions
#: and, of a candidate's rows, fewer.
_MANY_GROUPS, _FEW_DIRECTIONS, _FEW_ROWS = 64, 24, 4000
#: Finite, and its exponential is 0: a candidate that never took anything is known to take nothing.
_LOG_OF_NOTHING = -800.0


@made_fast
@dataclass(frozen=True, slots=True)
class Resources:
    """Expected per (query, candidate), ``(n, m)`` or ``(m,)`` float64; NaN = unknown.

    Args:
        cost_usd: USD for the call.
        latency_s: seconds to the last byte.
        output_tokens: length of the answer.
    """

    cost_usd: np.ndarray
    latency_s: np.ndarray
    output_tokens: np.ndarray


class ResourcePredictor:
    """Ridge on the logarithm of what was recorded, brought back to the recorded mean, with quantiles.

    Features are the logarithm of the input's length and the leading directions of the query vectors.
    Candidates that ran the same queries are fitted together (see ``least_squares``). The
    exponential of a mean logarithm is too low as an expectation, so each candidate's predictions are
    scaled until their mean over the training rows is the recorded mean (ratio smearing, after Duan 1983).
    Predictions stay within what was recorded for the candidate. A candidate with fewer than ``min_rows``
    recorded values gets their plain mean; one without any stays NaN.

    What a call takes at most with a stated probability comes from left-out residuals: ``resources_spread``.

    Args:
        n_directions: principal directions of the query vectors.
        min_rows: recorded values from which a candidate is learned rather than averaged.
        max_rows: of each candidate's recorded values, as many are learned from, drawn at random.
    """

    def __init__(self, n_directions: int = 96, min_rows: int = 30, max_rows: int = 20_000) -> None:
        self.n_directions, self.min_rows, self.max_rows = n_directions, min_rows, max_rows

    def fit(self, X: np.ndarray, input_tokens: np.ndarray, table: OutcomeTable) -> Self:
        """Learn from the recorded columns ``cost_usd``, ``latency_s`` and ``output_tokens``.

        Where only ``output_chars`` was recorded, tokens are characters / ``CHARS_PER_TOKEN``.

        Args:
            X: ``(n, d)`` query vectors, in the table's order.
            input_tokens: ``(n,)`` prompt lengths.
            table: the outcomes of n queries on m candidates.

        Raises:
            InputError: when the numbers of queries differ.
        """
        X = np.ascontiguousarray(X, dtype=np.float32)
        if X.ndim != 2 or len(X) != table.n_queries or len(input_tokens) != len(X):
            raise InputError(
                f"X {X.shape} and {len(input_tokens)} lengths do not fit {table.n_queries} queries."
            )
        d, m = X.shape[1], table.n_candidates
        length = np.log1p(np.maximum(np.asarray(input_tokens, dtype=np.float64), 0.0)).astype(np.float32)
        self.length_range_ = np.array([length.min(), length.max()]) if len(X) else np.zeros(2)
        design = Design(X, length, self.n_directions)
        self._lines = LogLines.unknown(d, len(KINDS), m)
        self._spread = ResourceSpread(d, len(KINDS), m)
        drawn = np.random.default_rng(0).permutation(len(X))
        for kind, name in enumerate(KINDS):
            self._fit_kind(kind, _recorded(table, name), design, drawn)
        return self._prepared()

    def _fit_kind(self, kind: int, value: np.ndarray, design: Design, drawn: np.ndarray) -> None:
        lines, known = self._lines, np.isfinite(value)
        count = known.sum(axis=0)
        floors = np.full(value.shape[1], 1e-12)
        learned: list[int] = []
        for j in np.flatnonzero(count).tolist():
            seen = np.maximum(value[known[:, j], j].astype(np.float64), 0.0)
            positive = seen[seen > 0]
            if not positive.size:
                lines.low[kind, j] = lines.high[kind, j] = lines.offset[kind, j] = _LOG_OF_NOTHING
                continue
            # Zeros (a free call, an empty answer) enter the logarithm as a thousandth of the median.
            floors[j] = 1e-3 * float(np.median(positive))
            lines.low[kind, j] = np.log(floors[j])
            lines.high[kind, j] = np.log(max(seen.max(), floors[j]))
            lines.offset[kind, j] = np.log(max(float(seen.mean()), floors[j]))
            if count[j] >= self.min_rows:
                learned.append(j)

        def logarithms(rows: np.ndarray, columns: list[int]) -> np.ndarray:
            return np.asarray(
                np.log(np.maximum(value[np.ix_(rows, np.array(columns))].astype(np.float64), floors[columns]))
            )

        together = _ran_together(known, learned)
        many = len(together) > _MANY_GROUPS
        n_directions = min(self.n_directions, _FEW_DIRECTIONS) if many else self.n_directions
        most = min(self.max_rows, _FEW_ROWS) if many else self.max_rows
        told: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for columns in together:
            rows = drawn[known[:, columns].any(axis=1)[drawn]][:most]
            target = logarithms(rows, columns)
            features = design.features(rows, n_directions)
            centre = self._fit_lines(kind, columns, target, features, design)
            z = self._spread.fit_scale(kind, columns, target - centre, features, design)
            for place, column in enumerate(columns):
                there = np.isfinite(target[:, place])
                left_out, recorded = centre[there, place], target[there, place]
                # A left-out mean is the lower the higher the row's own value was. Grouped by it, lengths that
                # no query foretells would be grouped by what they turned out to be.
                likely = left_out + (recorded - left_out) / len(recorded)
                told[column] = likely, z[there, place], recorded
        few = [j for j in np.flatnonzero(count).tolist() if j not in told]
        own = {j: logarithms(np.flatnonzero(known[:, j]), [j])[:, 0] for j in few}
        self._spread.fit_quantiles(kind, told, own)

    def _fit_lines(
        self, kind: int, columns: list[int], target: np.ndarray, features: np.ndarray, design: Design
    ) -> np.ndarray:
        """Fill the lines of some candidates; left-out predictions of their logarithms."""
        least, most = np.nanmin(target, axis=0), np.nanmax(target, axis=0)
        fit = solve(features, target, np.nanmean(target, axis=0))
        plain = np.clip(features @ fit.weights + fit.offset, least, most).astype(np.float64)
        plain[np.isnan(target)] = np.nan
        smear = np.log(np.nanmean(np.exp(target), axis=0) / np.nanmean(np.exp(plain), axis=0))
        design.fold(self._lines, kind, columns, fit.weights, fit.offset + smear)
        self._spread.smear_[kind, columns] = smear
        return np.asarray(np.clip(fit.left_out, least, most))

    def _prepared(self) -> Self:
        """Lay the parts of the recorded kinds side by side, so that a decision is one product."""
        lines = self._lines
        self._kinds = [k for k in range(len(KINDS)) if np.isfinite(lines.offset[k]).any()]
        flat = lines.weights[:, self._kinds].reshape(len(lines.weights), -1)
        self._weights = np.ascontiguousarray(flat, dtype=np.float32)
        rest = (lines.on_length, lines.offset, lines.low, lines.high)
        self._on_length, self._offset, self._low, self._high = (a[self._kinds].ravel() for a in rest)
        self._across = np.ascontiguousarray(self._weights.T)
        rows = zip(*(a.tolist() for a in (self._on_length, self._offset, self._low, self._high)), strict=True)
        self._lists: list[tuple[float, float, float, float]] = list(rows)
        self._bounds = float(self.length_range_[0]), float(self.length_range_[1])
        self._all_costs = bool(np.isfinite(lines.offset[KINDS.index("cost_usd")]).all())
        self._unknown = np.full(self.n_candidates, np.nan)
        self._unknown.flags.writeable = False
        return self

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return int(self._lines.offset.shape[1])

    def known(self) -> dict[str, np.ndarray]:
        """For each of ``KINDS`` which candidates it was learned for, ``(m,)`` bool."""
        return {kind: np.isfinite(self._lines.offset[i]) for i, kind in enumerate(KINDS)}

    def predict(
        self,
        X: np.ndarray,
        input_tokens: np.ndarray,
        input_usd_per_mtok: np.ndarray,
        output_usd_per_mtok: np.ndarray,
    ) -> Resources:
        """Expected resources of ``(n, d)`` vectors and ``(n,)`` prompt lengths.

        A candidate's cost is the learned one where costs were recorded, else price times tokens, else NaN.

        Args:
            X: ``(n, d)`` query vectors.
            input_tokens: ``(n,)`` prompt lengths.
            input_usd_per_mtok: ``(m,)`` price of a million input tokens, NaN = unknown.
            output_usd_per_mtok: ``(m,)`` price of a million output tokens, NaN = unknown.

        Raises:
            InputError: when X does not have the training data's features.
        """
        if X.ndim != 2 or X.shape[1] != len(self._weights):
            raise InputError(
                f"X {X.shape} does not have the {len(self._weights)} features of the training data."
            )
        tokens = np.asarray(input_tokens, dtype=np.float64)[:, None]
        return self._resources(X @ self._weights, tokens, input_usd_per_mtok, output_usd_per_mtok)

    def predict_one(
        self,
        x: np.ndarray,
        input_tokens: float,
        input_usd_per_mtok: np.ndarray | None,
        output_usd_per_mtok: np.ndarray | None,
    ) -> Resources:
        """The same for one vector ``(d,)``: arrays of ``(m,)``; without prices, learned costs only."""
        tokens, (shortest, longest) = float(input_tokens), self._bounds
        length = min(max(math.log1p(tokens), shortest), longest)
        value = x.dot(self._weights) + length * self._on_length
        value += self._offset
        np.maximum(value, self._low, out=value)
        np.minimum(value, self._high, out=value)
        np.exp(value, out=value)
        m = self.n_candidates
        parts = [self._unknown] * len(KINDS)
        for place, kind in enumerate(self._kinds):
            parts[kind] = value[place * m : (place + 1) * m]
        cost, latency, output = parts
        if not self._all_costs and input_usd_per_mtok is not None and output_usd_per_mtok is not None:
            price = priced(tokens, output, input_usd_per_mtok, output_usd_per_mtok)
            cost = np.where(np.isnan(cost), price, cost)
        return Resources(cost, latency, output)

    def predict_at(self, column: int, x: np.ndarray, input_tokens: float) -> tuple[float, float, float]:
        """Cost, seconds and length of one candidate, as recorded; prices play no part, NaN = unknown."""
        shortest, longest = self._bounds
        length = min(max(math.log1p(float(input_tokens)), shortest), longest)
        found, m = [math.nan] * len(KINDS), self.n_candidates
        for place, kind in enumerate(self._kinds):
            on_length, offset, low, high = self._lists[place * m + column]
            value = float(self._across[place * m + column].dot(x)) + length * on_length + offset
            found[kind] = math.nan if math.isnan(value) else math.exp(min(max(value, low), high))
        cost, latency, output = found
        return cost, latency, output

    def _resources(
        self, projected: np.ndarray, tokens: Any, input_price: np.ndarray, output_price: np.ndarray
    ) -> Resources:
        logarithm = projected + self._length(tokens) * self._on_length + self._offset
        value = np.exp(np.minimum(np.maximum(logarithm, self._low), self._high))
        m = self.n_candidates
        parts: list[np.ndarray] = [np.full((*value.shape[:-1], m), np.nan) for _ in KINDS]
        for place, kind in enumerate(self._kinds):
            parts[kind] = value[..., place * m : (place + 1) * m]
        cost, latency, output = parts
        return Resources(
            np.where(np.isnan(cost), priced(tokens, output, input_price, output_price), cost),
            latency,
            output,
        )

    def _length(self, tokens: Any) -> Any:
        return np.minimum(np.maximum(np.log1p(tokens), self.length_range_[0]), self.length_range_[1])

    def quantile(self, x: np.ndarray, input_tokens: Any, kind: str, probability: float) -> np.ndarray:
        """What a call takes at most, with a probability; of what was recorded alone, prices play no part.

        Args:
            x: ``(d,)`` a query vector, or ``(n, d)``.
            input_tokens: its prompt's length; for many, ``(n, 1)``.
            kind: one of ``KINDS``.
            probability: 0.01 to 0.99.

        Returns:
            ``(m,)`` or ``(n, m)``; NaN where the distribution is unknown.
        """
        number, m = KINDS.index(kind), self.n_candidates
        if number not in self._kinds:
            return np.full((*x.shape[:-1], m), np.nan)
        lines, length = self._lines, self._length(input_tokens)
        place = self._kinds.index(number) * m
        low, high = lines.low[number], lines.high[number]
        centre = x @ self._weights[:, place : place + m] + length * lines.on_length[number]
        centre = np.minimum(np.maximum(centre + (lines.offset - self._spread.smear_)[number], low), high)
        logarithm = self._spread.quantile(number, centre, x, length, probability)
        return np.asarray(np.exp(np.minimum(np.maximum(logarithm, low), high)))

    def relative(self, kind: str) -> np.ndarray:
        """``resources_quantiles.relative_quantiles`` of one kind: ``(len(LEVELS),)``, NaN = unknown."""
        return np.asarray(self._spread.relative_[KINDS.index(kind)])

    def relative_quantile(self, kind: str, probability: float) -> float:
        """What a call takes at most, as a multiple of its candidate's mean, over all candidates; or NaN."""
        return float(np.exp(at_level(self.relative(kind), probability)))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options as JSON values, and fitted arrays."""
        options = {
            "n_directions": self.n_directions,
            "min_rows": self.min_rows,
            "max_rows": self.max_rows,
        }
        arrays = {**self._lines.arrays(), "length_range_": self.length_range_, **self._spread.state()}
        return options, arrays

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``. Saved before there were quantiles, it predicts the same without them.

        Raises:
            ArtefactError: when an array is missing.
        """
        predictor = cls(**options)
        try:
            predictor._lines = LogLines.of(arrays)
            predictor.length_range_ = np.asarray(arrays["length_range_"])
            shape = predictor._lines.weights.shape
            predictor._spread = ResourceSpread.from_state(arrays, *shape)
        except KeyError as error:
            raise ArtefactError(
                f"the saved resource predictor lacks the array {error}.", remedy="Train the router again."
            ) from error
        return predictor._prepared()


def priced(tokens: Any, output: np.ndarray, input_price: np.ndarray, output_price: np.ndarray) -> np.ndarray:
    """Price times tokens, USD; free output costs nothing, however long: its length need not be known."""
    return np.asarray(
        (tokens * input_price + np.where(output_price == 0.0, 0.0, output * output_price)) * 1e-6
    )


def _recorded(table: OutcomeTable, kind: str) -> np.ndarray:
    """Dense ``(n, m)`` recorded values of one kind, NaN = unknown."""
    nothing = np.full((table.n_queries, table.n_candidates), np.nan, dtype=np.float32)
    value = table.matrix(kind) if table.has(kind) else nothing
    if kind == "output_tokens" and table.has("output_chars"):
        return np.where(np.isfinite(value), value, table.matrix("output_chars") / np.float32(CHARS_PER_TOKEN))
    return value


def _ran_together(known: np.ndarray, columns: list[int]) -> list[list[int]]:
    """Columns known in nearly all rows, and each set of others known in the same rows."""
    groups: dict[bytes, list[int]] = {}
    for j in columns:
        nearly = known[:, j].mean() >= 1.0 - MISSING
        groups.setdefault(b"" if nearly else np.packbits(known[:, j]).tobytes(), []).append(j)
    return list(groups.values())
