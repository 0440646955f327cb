"""Router: encoder + predictors, for one herd. Learns from outcomes, predicts, saves and loads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from herdwise.answers.signals import Signals
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Detail, Estimates, Goals
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.encoding.base import Encoder
from herdwise.prediction.base import Predictor
from herdwise.prediction.fusion import Fusion
from herdwise.prediction.resources import ResourcePredictor
from herdwise.prediction.signal_features import signal_matrix, signal_row
from herdwise.prediction.signal_worth import SignalWorth
from herdwise.routing.adapting import adapting
from herdwise.routing.admitted import Admitted
from herdwise.routing.base import Belief, Situation
from herdwise.routing.batch_estimates import BatchEstimates
from herdwise.routing.constraints import HerdFacts
from herdwise.routing.detail import RouterDetail
from herdwise.routing.enlist import Admission, consider
from herdwise.routing.exchange import admitting, removing
from herdwise.routing.explain import Neighbour
from herdwise.routing.facts import TrainingFacts
from herdwise.routing.fitting import Progress, learn
from herdwise.routing.fusing import served_belief
from herdwise.routing.neighbours import Neighbours
from herdwise.routing.ranker import scene
from herdwise.routing.saving import load_router, save_router
from herdwise.routing.weighing import KnownCompletions

__all__ = ["BatchEstimates", "Progress", "Router"]


@dataclass(frozen=True, eq=False)
class Router:
    """Predicts quality, cost, latency and length of each candidate on a query.

    Built by ``fit`` or ``load``; ``adapt`` gives the same knowledge for another herd, such as a
    config's. It knows ``trained`` (a herd) and serves ``herd``.

    Args:
        herd: the candidates served, in column order.
        trained: the candidates known: learned or enlisted, and not removed.
        columns: the candidates learned, in the columns of the predictors.
        source: ``(len(herd),)`` column that predicts each candidate, -1 = none; those of ``admitted`` come
            after the learned ones.
        constant: ``(len(herd),)`` declared quality of those without a source, NaN elsewhere.
        admitted: the candidates enlisted from a few outcomes.
        fusion: what recorded answers taught, None where there were none.
        worth: what the signals of recorded answers taught; priors where there were none.
    """

    herd: Herd
    encoder: Encoder
    predictor: Predictor
    resources: ResourcePredictor
    facts: TrainingFacts
    trained: Herd
    columns: Herd
    source: np.ndarray
    constant: np.ndarray
    admitted: Admitted | None = None
    fusion: Fusion | None = None
    worth: SignalWorth = field(default_factory=SignalWorth)
    seed: int = 0
    _neighbours: Callable[[], Neighbours | None] = field(default=lambda: None, repr=False)

    @classmethod
    def fit(
        cls,
        table: OutcomeTable,
        *,
        encoder: str | Encoder = "static",
        predictor: str | Predictor = "stack",
        quality_column: str = "quality",
        seed: int = 0,
        keep_texts: bool = True,
        fusion: bool = True,
        completions: KnownCompletions | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from a table of outcomes (a training split).

        Candidates without a single graded outcome are left out. Sparse tables are fine.

        Args:
            table: outcomes; all its queries are learned from.
            encoder, predictor: registered names, or instances.
            quality_column: "quality" or "correct".
            keep_texts: keep the beginnings of the queries, so that decisions can be explained by them.
            fusion: learn what answers are worth, where the table records them; policies that consult need it.
            completions: (query id, candidate) -> full text of answers, whose signals are learned from; or
                what reads them for some query ids.
            progress: called with (stage, done, total).

        Raises:
            InputError: when nothing was graded.
        """
        learned = learn(
            table,
            encoder=encoder,
            predictor=predictor,
            quality_column=quality_column,
            seed=seed,
            keep_texts=keep_texts,
            fusion=fusion,
            completions=completions,
            progress=progress,
        )
        herd, near = learned.table.herd, learned.neighbours
        return cls(
            herd=herd,
            encoder=learned.encoder,
            predictor=learned.predictor,
            resources=learned.resources,
            facts=learned.facts,
            trained=herd,
            columns=herd,
            source=np.arange(len(herd)),
            constant=np.full(len(herd), np.nan),
            fusion=learned.fusion,
            worth=learned.worth,
            seed=seed,
            _neighbours=lambda: near,
        )

    # -- predicting ---------------------------------------------------------------------------------

    @cached_property
    def herd_facts(self) -> HerdFacts:
        """Properties of the herd that is served."""
        return HerdFacts(self.herd)

    @cached_property
    def best_single(self) -> int | None:
        """Position in the herd of the best candidate by training mean; None where no mean is known.

        An enlisted candidate's mean is an estimate: it counts with the lower end of its interval. Means over
        few of the queries are not compared, unless there are no others.
        """
        level = np.full(len(self.source), -1.0)
        for place, column in enumerate(self.source.tolist()):
            name = self.by_column[column].name if column >= 0 else ""
            if name in self.facts.enlisted:
                level[place] = self.facts.enlisted[name]["low"]
            elif self.facts.coverage.get(name, 0.0) >= 0.5 * max(self.facts.coverage.values()):
                level[place] = self.facts.mean_micro[name]
        level = np.where(np.isfinite(level), level, -1.0)
        return int(level.argmax()) if level.max() >= 0 else None

    @cached_property
    def _held_back(self) -> tuple[int | None, np.ndarray]:
        """Column of the best learned candidate served, and which enlisted ones are surely better than it."""
        facts, enlisted = self.facts, self.admitted.herd.names if self.admitted else ()
        means = {
            int(c): facts.mean_micro.get(self.by_column[int(c)].name, np.nan)
            for c in self.source
            if 0 <= c < len(self.columns)
        }
        known = {column: mean for column, mean in means.items() if np.isfinite(mean)}
        best = max(known, key=lambda column: known[column], default=None)
        floor = np.inf if best is None else known[best]
        lows = [facts.enlisted.get(name, {}).get("low", -np.inf) for name in enlisted]
        return best, np.array(lows) > floor

    def with_enlisted(self, learned: np.ndarray) -> np.ndarray:
        """Qualities of all columns, ``(..., k + r)``, from those of the learned ones, ``(..., k)``."""
        return learned if self.admitted is None else self.admitted.quality(learned, *self._held_back)

    @cached_property
    def _as_learned(self) -> bool:
        """Whether the herd is what the columns predict, in their order and at their prices."""
        return self._in_order and not self.repriced.any()

    @cached_property
    def _in_order(self) -> bool:
        """Whether the herd is what the columns predict, in their order."""
        return np.array_equal(self.source, np.arange(len(self.by_column)))

    @cached_property
    def by_column(self) -> list[Candidate]:
        """Whom each column predicts: the learned ones, removed ones too, then the enlisted."""
        return [*self.columns, *(self.admitted.herd if self.admitted else ())]

    @cached_property
    def column_of(self) -> dict[str, int]:
        """Name of a known candidate -> its column."""
        places = {name: i for i, name in enumerate(self.columns.names) if name in self.trained}
        enlisted = self.admitted.herd.names if self.admitted else []
        return places | {name: len(self.columns) + i for i, name in enumerate(enlisted)}

    @cached_property
    def learned_prices(self) -> tuple[np.ndarray, np.ndarray]:
        """USD per million input and output tokens of the learned candidates, ``(k,)`` each."""
        facts = HerdFacts(self.columns)
        return facts.input_usd_per_mtok, facts.output_usd_per_mtok

    @cached_property
    def _asked_prices(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The same for a decision; None where every cost follows another price in the end."""
        if self.admitted is None and self._in_order and self._whose_price == "everybody's":
            return None, None
        return self.learned_prices

    @cached_property
    def repriced(self) -> np.ndarray:
        """Whose price differs from the one in the training data: cost follows the price from here on."""
        trained = [self.by_column[int(s)].price if s >= 0 else None for s in self.source]
        return np.array(
            [c.price.known and (t is None or t != c.price) for c, t in zip(self.herd, trained, strict=True)],
            dtype=bool,
        )

    def encode(self, queries: Sequence[Query]) -> np.ndarray:
        """Vectors of queries, ``(n, d)``."""
        return self.encoder.encode([self._asked(q) for q in queries])

    def _asked(self, query: Query) -> str:
        return query.asked if self.encoder.reads_tools else query.text

    @property
    def blocking(self) -> bool:
        """Whether the encoder waits for somebody else; see ``Ranker.blocking``."""
        return self.encoder.blocking

    def estimate(self, queries: Sequence[Query], vectors: np.ndarray | None = None) -> BatchEstimates:
        """Predictions for many queries, whose vectors may be given."""
        X = self.encode(queries) if vectors is None else vectors
        tokens = np.array([q.input_tokens for q in queries])
        quality, std = self.predictor.predict(X), self.predictor.std(X)
        got = self.resources.predict(X, tokens, *self.learned_prices)
        if self.admitted is not None:
            quality, got = self.with_enlisted(quality), self.admitted.resources(got, tokens[:, None])
            std = None if std is None else self.admitted.std(std)

        def behind(i: int) -> Detail:
            return RouterDetail(self, X[i], queries[i])

        if self._as_learned:
            return BatchEstimates(
                quality, std, got.cost_usd, got.latency_s, got.output_tokens, behind, self.best_single
            )
        return BatchEstimates(
            quality=np.where(self.source < 0, self.constant, quality[:, self.source]),
            quality_std=None if std is None else self._moved(std),
            cost_usd=self._priced(self._moved(got.cost_usd), tokens[:, None], self._moved(got.output_tokens)),
            latency_s=np.where(self.source < 0, self.herd_facts.latency_s, self._moved(got.latency_s)),
            output_tokens=self._moved(got.output_tokens),
            detail=behind,
            best_single=self.best_single,
        )

    def _moved(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.source < 0, np.nan, values[:, self.source])

    def _priced(self, cost: np.ndarray, tokens: np.ndarray, output: np.ndarray) -> np.ndarray:
        who = self._whose_price
        if who == "nobody's":
            return cost
        facts = self.herd_facts
        price = (tokens * facts.input_usd_per_mtok + output * facts.output_usd_per_mtok) / 1e6
        # A free candidate costs nothing however long it writes, so its length need not be known.
        if self._free.any():
            price = np.where(self._free, 0.0, price)
        return price if who == "everybody's" else np.where(self.repriced, price, cost)

    @cached_property
    def _whose_price(self) -> str:
        """Whose price differs from the one in the training data."""
        if not self.repriced.any():
            return "nobody's"
        return "everybody's" if self.repriced.all() else "some's"

    @cached_property
    def _free(self) -> np.ndarray:
        """Who costs nothing, ``(m,)``."""
        facts = self.herd_facts
        return np.asarray((facts.input_usd_per_mtok == 0) & (facts.output_usd_per_mtok == 0))

    def estimate_one(self, query: Query) -> Estimates:
        """Predictions for one query; the serving path."""
        x = self.encoder.encode_one(self._asked(query))
        quality = self.predictor.predict_one(x)
        detail = RouterDetail(self, x, query)
        if self.admitted is None and self._in_order:
            return Estimates.late(quality, detail, self.best_single)
        tokens = query.input_tokens
        got = self.resources.predict_one(x, tokens, *self._asked_prices)
        if self.admitted is not None:
            quality, got = self.with_enlisted(quality), self.admitted.resources(got, tokens)
        none = self.source < 0
        output = np.where(none, np.nan, got.output_tokens[self.source])
        return Estimates(
            quality=np.where(none, self.constant, quality[self.source]),
            quality_std=None,
            cost_usd=self._priced(
                np.where(none, np.nan, got.cost_usd[self.source]), np.asarray(tokens), output
            ),
            latency_s=np.where(none, self.herd_facts.latency_s, got.latency_s[self.source]),
            output_tokens=output,
            detail=detail,
            best_single=self.best_single,
        )

    def taken(self, x: np.ndarray, query: Query) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost, latency and length of a herd that is what the columns predict, save for prices."""
        tokens = query.input_tokens
        got = self.resources.predict_one(x, tokens, *self._asked_prices)
        cost = self._priced(got.cost_usd, np.asarray(tokens), got.output_tokens)
        return cost, got.latency_s, got.output_tokens

    def cost_usd_of(self, position: int, x: np.ndarray, query: Query) -> float:
        """One value of the first of ``taken``."""
        tokens, (repriced, prices, learned) = query.input_tokens, self._price_lists
        cost, _, output = self.resources.predict_at(position, x, tokens)
        if repriced[position]:
            input_price, output_price = prices[position]
            if input_price == output_price == 0:
                return 0.0
            return (tokens * input_price + output * output_price) / 1e6
        if math.isnan(cost):
            input_price, output_price = learned[position]
            return (tokens * input_price + (output * output_price if output_price else 0.0)) * 1e-6
        return cost

    @cached_property
    def _price_lists(self) -> tuple[list[bool], list[tuple[float, float]], list[tuple[float, float]]]:
        """Who is repriced, and USD per million tokens in and out: served, and learned."""
        facts, learned = self.herd_facts, self.learned_prices
        served = zip(facts.input_usd_per_mtok.tolist(), facts.output_usd_per_mtok.tolist(), strict=True)
        known = zip(learned[0].tolist(), learned[1].tolist(), strict=True)
        return self.repriced.tolist(), list(served), list(known)

    def situation(self, query: Query, goals: Goals, estimates: Estimates | None = None) -> Situation:
        """See ``Ranker.situation``."""
        return scene(self.herd_facts, query, goals, estimates or self.estimate_one(query))

    def belief(self, query: Query, estimates: Estimates) -> Belief | None:
        """See ``Ranker.belief``."""
        if self.fusion is None:
            return None
        return served_belief(self.fusion, self.source, query.text, estimates.quality)

    def evidence(self, candidate: int, signals: Signals, chars: int, tokens: int | None) -> float:
        """See ``Ranker.evidence``."""
        length = {"output_chars": chars, "output_tokens": tokens}.get(self.worth.length_ or "")
        return self.worth.evidence(int(self.source[candidate]), signal_row(signals, length))

    def evidences(
        self, table: OutcomeTable, completions: Mapping[tuple[str, str], str] | None = None
    ) -> np.ndarray:
        """Evidence of all answers of a table of this herd, ``(n, m)``; 0 where nothing is on record."""
        return self.worth.evidences(signal_matrix(table, completions, self.worth.length_), self.source)

    def vectors(self, texts: Sequence[str]) -> np.ndarray | None:
        """See ``Ranker.vectors``."""
        return None if self.blocking else self.encoder.encode(list(texts))

    def explain(self, query: Query, k: int = 5) -> tuple[Neighbour, ...]:
        """The nearest recorded queries, with the outcomes of this herd."""
        near = self.kept_neighbours
        if near is None:
            return ()
        names = [self.by_column[int(s)].name for s in self.source if s >= 0]
        return near.nearest(self.encoder.encode_one(self._asked(query)), k, names)

    @cached_property
    def kept_neighbours(self) -> Neighbours | None:
        """The recorded queries, where the router keeps them."""
        return self._neighbours()

    # -- herds --------------------------------------------------------------------------------------

    def restrict(self, names: Sequence[str]) -> Router:
        """The same knowledge for some of the herd.

        Raises:
            UnknownNameError: when a name is not in the herd.
        """
        return self.adapt(self.herd.subset(names))

    def adapt(self, herd: Herd) -> Router:
        """The same knowledge for another herd: by name, else by ``like``, else by declared ``quality``.

        The new herd's own metadata (price, size, abilities) count from here on.

        Raises:
            HerdMismatchError: when a candidate is known by none of the three.
        """
        return adapting(self, herd)

    def consider(
        self, candidate: Candidate, probes: OutcomeTable, recorded: OutcomeTable | None = None
    ) -> Admission:
        """What a few outcomes say of a new candidate; changes nothing. See ``routing.enlist.consider``."""
        return consider(self, candidate, probes, recorded)

    def admit(self, admission: Admission) -> Router:
        """The same knowledge with one more candidate."""
        return admitting(self, admission)

    def enlist(
        self, candidate: Candidate, probes: OutcomeTable, recorded: OutcomeTable | None = None
    ) -> Router:
        """Add a candidate from a few outcomes, without training again: ``consider``, then ``admit``."""
        return self.admit(self.consider(candidate, probes, recorded))

    def remove(self, name: str) -> Router:
        """Forget a candidate; what was learned from its outcomes about the others stays.

        Raises:
            UnknownNameError: when it is not known.
            InputError: when nobody would be left, or another candidate is declared like it.
        """
        return removing(self, name)

    # -- saving -------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, figures: dict[str, Any] | None = None) -> None:
        """Write a router folder (see storage.router_folder).

        Args:
            figures: what was measured of it, kept in the manifest for people.

        Raises:
            ArtefactError: when ``path`` holds something else.
        """
        save_router(self, path, figures)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Router:
        """Load a router folder; its parts are rebuilt through the registries.

        Raises:
            ArtefactError: when it is missing, truncated, changed or newer than this herdwise.
            UnknownNameError: when it needs an encoder or predictor that is not installed.
        """
        return load_router(cls, path)
