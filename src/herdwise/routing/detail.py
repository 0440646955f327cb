"""What stands behind a router's estimates of one query: uncertainty and parts, worked out when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from herdwise.core.decision import ResourceKind
from herdwise.core.query import Query
from herdwise.prediction.resources import priced

if TYPE_CHECKING:
    from herdwise.routing.router import Router

#: Names of the parts that a router adds to its predictor's.
ENLISTED, DECLARED = "enlisted", "declared"


class RouterDetail:
    """``herdwise.core.decision.Detail`` of one query.

    Args:
        router: who estimated.
        x: ``(d,)`` the query's vector.
        query: the query.
    """

    def __init__(self, router: Router, x: np.ndarray, query: Query) -> None:
        self._router, self._x, self._query = router, x, query
        self._quantiles: dict[tuple[ResourceKind, float], np.ndarray] = {}

    @cached_property
    def _std(self) -> np.ndarray | None:
        std = self._router.predictor.std(self._x[None])
        if std is None:
            return None
        if self._router.admitted is not None:
            std = self._router.admitted.std(std)
        return self._served(std[0])

    def quality_std(self) -> np.ndarray | None:
        """See ``Detail.quality_std``."""
        return self._std

    def quantile(self, kind: ResourceKind, probability: float) -> np.ndarray:
        """See ``Detail.quantile``.

        An answer is no longer than the request allows. A cost that follows a price does so at the length's
        quantile (the prompt's length is taken to be known). A declared latency varies about its value as
        the herd's latencies do about their means.
        """
        key = kind, probability
        if key not in self._quantiles:
            found = self._cost(probability) if kind == "cost_usd" else self._taken(kind, probability)
            self._quantiles[key] = found
        return self._quantiles[key]

    def _taken(self, kind: ResourceKind, probability: float) -> np.ndarray:
        router = self._router
        found = self._served(self._of_columns(kind, probability))
        if kind != "latency_s" or not (router.source < 0).any():
            return found
        declared = router.herd_facts.latency_s * router.resources.relative_quantile(kind, probability)
        return np.where(router.source < 0, declared, found)

    def _cost(self, probability: float) -> np.ndarray:
        router, facts = self._router, self._router.herd_facts
        found = self._served(self._of_columns("cost_usd", probability))
        if not router.repriced.any():
            return found
        output = self.quantile("output_tokens", probability)
        at_price = priced(
            self._query.input_tokens, output, facts.input_usd_per_mtok, facts.output_usd_per_mtok
        )
        return np.where(router.repriced, at_price, found)

    def _of_columns(self, kind: ResourceKind, probability: float) -> np.ndarray:
        """The same for every column, at the prices of the training data."""
        router, tokens = self._router, self._query.input_tokens
        found = router.resources.quantile(self._x, tokens, kind, probability)
        if kind == "cost_usd":
            output = router.resources.quantile(self._x, tokens, "output_tokens", probability)
            at_price = priced(tokens, self._allowed(output), *router.learned_prices)
            found = np.where(np.isnan(found), at_price, found)
        if router.admitted is not None:
            expected = router.resources.predict_one(self._x, tokens, *router.learned_prices)
            found = router.admitted.quantile(kind, probability, found, getattr(expected, kind))
            if kind == "cost_usd":
                k = len(router.columns)
                output = self._of_columns("output_tokens", probability)[k:]
                at_price = priced(tokens, output, *router.admitted.prices)
                found[k:] = np.where(np.isnan(found[k:]), at_price, found[k:])
        return self._allowed(found) if kind == "output_tokens" else found

    def _allowed(self, output: np.ndarray) -> np.ndarray:
        """Lengths of answers, no longer than the request allows, also where nothing is known of them."""
        most = self._query.max_output_tokens
        return output if most is None else np.fmin(output, most)

    def taken(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``LateDetail.taken``."""
        return self._router.taken(self._x, self._query)

    def cost_usd_of(self, position: int) -> float:
        """See ``LateDetail.cost_usd_of``."""
        return self._router.cost_usd_of(position, self._x, self._query)

    def parts(self) -> Mapping[str, np.ndarray]:
        """See ``Detail.parts``; in the order in which they are added."""
        router = self._router
        learned = router.predictor.parts(self._x)
        found = dict(learned)
        if router.admitted is not None:
            whole = np.sum(list(learned.values()), axis=0)
            found = router.admitted.parts(learned)
            found[ENLISTED] = router.with_enlisted(whole) - np.sum(list(found.values()), axis=0)
        served = {name: np.nan_to_num(self._served(part)) for name, part in found.items()}
        if (router.source < 0).any():
            served[DECLARED] = np.nan_to_num(router.constant)
        return served

    def _served(self, columns: np.ndarray) -> np.ndarray:
        """Values of the served herd from those of the columns; NaN where no column predicts a candidate."""
        router = self._router
        return np.where(router.source < 0, np.nan, columns[router.source])
