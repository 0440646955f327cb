"""Router: encoder + predictors, for one herd. Learns from outcomes, predicts, saves and loads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from herdwise import __version__
from herdwise.core.candidate import Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import ArtefactError, HerdMismatchError, HerdwiseError, InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.encoding.base import ENCODERS, Encoder
from herdwise.prediction.base import PREDICTORS, Predictor
from herdwise.prediction.resources import ResourcePredictor
from herdwise.routing.base import Situation
from herdwise.routing.constraints import HerdFacts
from herdwise.routing.explain import Neighbour
from herdwise.routing.manifest import candidate_from_json, candidate_to_json
from herdwise.routing.neighbours import Neighbours
from herdwise.routing.ranker import scene
from herdwise.storage.router_folder import read_arrays, read_manifest, read_text, write_router_folder

#: A candidate that ran less of the training queries has no part in the training facts.
MIN_COVERAGE = 0.95

Progress = Callable[[str, int, int], None]


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What the training split says, kept so that evaluation needs only the test split.

    Args:
        quality_column: the column that was learned.
        n_queries, n_outcomes: size of the training data (graded outcomes).
        n_common: queries that every candidate of at least ``MIN_COVERAGE`` ran.
        fingerprint: digest of the training data.
        coverage: candidate -> share of the queries it has a graded outcome for.
        mean_micro: candidate -> mean quality over the common queries.
        mean_macro: candidate -> mean over benchmarks of the mean over their common queries.
    """

    quality_column: str
    n_queries: int
    n_outcomes: int
    n_common: int
    fingerprint: str
    coverage: dict[str, float]
    mean_micro: dict[str, float]
    mean_macro: dict[str, float]

    @classmethod
    def of(cls, table: OutcomeTable, quality_column: str) -> Self:
        """Facts of a training table. Where no query is common to all, each candidate's own queries count."""
        quality = np.asarray(table.matrix(quality_column), dtype=np.float64)
        coverage = table.coverage(quality_column)
        covered = coverage >= MIN_COVERAGE
        common = np.asarray(np.isfinite(quality[:, covered]).all(axis=1), dtype=bool)
        if not covered.any():
            common = np.zeros(len(quality), dtype=bool)
        benchmarks = np.asarray(table.benchmarks, dtype=object)

        def means(column: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
            rows = rows & np.isfinite(column)
            if not rows.any():
                return float("nan"), float("nan")
            names = sorted(set(benchmarks[rows].tolist()))
            return float(column[rows].mean()), float(
                np.mean([column[rows & (benchmarks == name)].mean() for name in names])
            )

        everywhere = np.ones(len(quality), dtype=bool)
        pairs = [
            means(quality[:, j], common if covered[j] else everywhere) for j in range(table.n_candidates)
        ]
        names = table.herd.names
        return cls(
            quality_column=quality_column,
            n_queries=table.n_queries,
            n_outcomes=int(np.isfinite(quality).sum()),
            n_common=int(common.sum()),
            fingerprint=table.fingerprint(quality_column),
            coverage=dict(zip(names, coverage.tolist(), strict=True)),
            mean_micro={n: p[0] for n, p in zip(names, pairs, strict=True) if np.isfinite(p[0])},
            mean_macro={n: p[1] for n, p in zip(names, pairs, strict=True) if np.isfinite(p[1])},
        )


@dataclass(frozen=True, slots=True)
class BatchEstimates:
    """Predictions for many queries, ``(n, m)`` each; NaN = unknown. See ``Estimates``."""

    quality: np.ndarray
    quality_std: np.ndarray | None
    cost_usd: np.ndarray
    latency_s: np.ndarray
    output_tokens: np.ndarray

    def row(self, i: int) -> Estimates:
        """One query's predictions."""
        return Estimates(
            quality=self.quality[i],
            quality_std=None if self.quality_std is None else self.quality_std[i],
            cost_usd=self.cost_usd[i],
            latency_s=self.latency_s[i],
            output_tokens=self.output_tokens[i],
        )


@dataclass(frozen=True, eq=False)
class Router:
    """Predicts quality, cost, latency and length of each candidate on a query.

    Built by ``fit`` or ``load``; ``adapt`` gives the same knowledge for another herd, such as a
    config's. It holds what was learned for ``trained`` (a herd) and serves ``herd``.

    Args:
        herd: the candidates served, in column order.
        trained: the candidates learned, in the columns of the predictors.
        source: ``(len(herd),)`` column of ``trained`` that predicts each candidate, -1 = none.
        constant: ``(len(herd),)`` declared quality of those without a source, NaN elsewhere.
    """

    herd: Herd
    encoder: Encoder
    predictor: Predictor
    resources: ResourcePredictor
    facts: TrainingFacts
    trained: Herd
    source: np.ndarray
    constant: np.ndarray
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
        progress: Progress | None = None,
    ) -> Self:
        """Learn from a table of outcomes (a training split).

        Candidates without a single graded outcome are left out. Sparse tables are fine.

        Args:
            table: outcomes; all its queries are learned from.
            encoder, predictor: registered names, or instances.
            quality_column: "quality" or "correct".
            keep_texts: keep the beginnings of the queries, so that decisions can be explained by them.
            progress: called with (stage, done, total).

        Raises:
            InputError: when nothing was graded.
        """
        ran = np.isfinite(table.matrix(quality_column)).any(axis=0)
        if not ran.any():
            raise InputError(
                f"{table.name or 'the table'} holds no graded outcome in column {quality_column!r}.",
                remedy="Grade some outcomes first: herdwise profile, or feedback.",
            )
        if not ran.all():
            table = table.restrict([n for n, r in zip(table.herd.names, ran, strict=True) if r])
        report = progress or _silent
        coder = ENCODERS.create(encoder) if isinstance(encoder, str) else encoder
        learner = PREDICTORS.create(predictor) if isinstance(predictor, str) else predictor
        coder.fit(table.texts)
        X = coder.encode(table.texts, progress=lambda done, total: report("encode", done, total))
        report("encode", len(X), len(X))
        report("learn quality", 0, 1)
        learner.fit(X, table.matrix(quality_column), seed=seed)
        report("learn quality", 1, 1)
        report("learn cost and length", 0, 1)
        tokens = np.array([q.input_tokens for q in table.queries()])
        resources = ResourcePredictor().fit(X, tokens, table)
        report("learn cost and length", 1, 1)
        near = Neighbours.fit(X, table, quality_column) if keep_texts else None
        m = table.n_candidates
        return cls(
            herd=table.herd,
            encoder=coder,
            predictor=learner,
            resources=resources,
            facts=TrainingFacts.of(table, quality_column),
            trained=table.herd,
            source=np.arange(m),
            constant=np.full(m, np.nan),
            seed=seed,
            _neighbours=lambda: near,
        )

    # -- predicting ---------------------------------------------------------------------------------

    @cached_property
    def _facts(self) -> HerdFacts:
        return HerdFacts(self.herd)

    @cached_property
    def _identity(self) -> bool:
        return self.herd is self.trained

    @cached_property
    def _trained_prices(self) -> tuple[np.ndarray, np.ndarray]:
        facts = HerdFacts(self.trained)
        return facts.input_usd_per_mtok, facts.output_usd_per_mtok

    @cached_property
    def _repriced(self) -> np.ndarray:
        """Whose price differs from the one in the training data: cost follows the price from here on."""
        trained = [self.trained[int(s)].price if s >= 0 else None for s in self.source]
        return np.array(
            [c.price.known and (t is None or t != c.price) for c, t in zip(self.herd, trained, strict=True)],
            dtype=bool,
        )

    def encode(self, queries: Sequence[Query]) -> np.ndarray:
        """Vectors of queries, ``(n, d)``."""
        return self.encoder.encode([q.text for q in queries])

    def estimate(self, queries: Sequence[Query], vectors: np.ndarray | None = None) -> BatchEstimates:
        """Predictions for many queries, whose vectors may be given."""
        X = self.encode(queries) if vectors is None else vectors
        tokens = np.array([q.input_tokens for q in queries])
        quality, std = self.predictor.predict(X), self.predictor.std(X)
        got = self.resources.predict(X, tokens, *self._trained_prices)
        if self._identity:
            return BatchEstimates(quality, std, got.cost_usd, got.latency_s, got.output_tokens)
        return BatchEstimates(
            quality=np.where(self.source < 0, self.constant, quality[:, self.source]),
            quality_std=None if std is None else self._moved(std),
            cost_usd=self._priced(self._moved(got.cost_usd), tokens[:, None], self._moved(got.output_tokens)),
            latency_s=self._moved(got.latency_s),
            output_tokens=self._moved(got.output_tokens),
        )

    def _moved(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.source < 0, np.nan, values[:, self.source])

    def _priced(self, cost: np.ndarray, tokens: np.ndarray, output: np.ndarray) -> np.ndarray:
        if not self._repriced.any():
            return cost
        facts = self._facts
        price = (tokens * facts.input_usd_per_mtok + output * facts.output_usd_per_mtok) / 1e6
        # A free candidate costs nothing however long it writes, so its length need not be known.
        free = (facts.input_usd_per_mtok == 0) & (facts.output_usd_per_mtok == 0)
        return np.where(self._repriced, np.where(free, 0.0, price), cost)

    def estimate_one(self, query: Query) -> Estimates:
        """Predictions for one query; the serving path."""
        x = self.encoder.encode_one(query.text)
        quality = self.predictor.predict_one(x)
        tokens = query.input_tokens
        got = self.resources.predict_one(x, tokens, *self._trained_prices)
        if self._identity:
            return Estimates(quality, None, got.cost_usd, got.latency_s, got.output_tokens)
        none = self.source < 0
        output = np.where(none, np.nan, got.output_tokens[self.source])
        return Estimates(
            quality=np.where(none, self.constant, quality[self.source]),
            quality_std=None,
            cost_usd=self._priced(
                np.where(none, np.nan, got.cost_usd[self.source]), np.asarray(tokens), output
            ),
            latency_s=np.where(none, self._facts.latency_s, got.latency_s[self.source]),
            output_tokens=output,
        )

    def situation(self, query: Query, goals: Goals, estimates: Estimates | None = None) -> Situation:
        """See ``Ranker.situation``."""
        return scene(self._facts, query, goals, estimates or self.estimate_one(query))

    def explain(self, query: Query, k: int = 5) -> tuple[Neighbour, ...]:
        """The nearest recorded queries, with the outcomes of this herd."""
        near = self._kept_neighbours
        if near is None:
            return ()
        names = [self.trained[int(s)].name for s in self.source if s >= 0]
        return near.nearest(self.encoder.encode_one(query.text), k, names)

    @cached_property
    def _kept_neighbours(self) -> Neighbours | None:
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
        source: list[int] = []
        unknown: list[str] = []
        for candidate in herd:
            by_name = candidate.name in self.trained
            known = candidate.name if by_name else candidate.like
            if known is not None and known in self.trained:
                source.append(self.trained.index(known))
            elif candidate.quality is not None:
                source.append(-1)
            else:
                unknown.append(repr(candidate.name))
        if unknown:
            raise HerdMismatchError(
                f"the router does not know candidate{'s' if len(unknown) > 1 else ''} {', '.join(unknown)};"
                f" it was trained for {', '.join(self.trained.names)}.",
                remedy="Name candidates as in the training data, give them `like: <one of these>` or a"
                " `quality`, or train again with their outcomes.",
            )
        columns = np.array(source, dtype=np.int64)
        declared = herd.column(lambda c: c.quality)
        return Router(
            herd=herd,
            encoder=self.encoder,
            predictor=self.predictor,
            resources=self.resources,
            facts=self.facts,
            trained=self.trained,
            source=columns,
            constant=np.where(columns < 0, declared, np.nan),
            seed=self.seed,
            _neighbours=self._neighbours,
        )

    # -- saving -------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, figures: dict[str, Any] | None = None) -> None:
        """Write a router folder (see storage.router_folder).

        Args:
            figures: what was measured of it, kept in the manifest for people.

        Raises:
            ArtefactError: when ``path`` holds something else.
        """
        options: dict[str, Any] = {}
        arrays: dict[str, dict[str, np.ndarray]] = {}
        for part, thing in (
            ("encoder", self.encoder),
            ("predictor", self.predictor),
            ("resources", self.resources),
        ):
            options[part], arrays[part] = thing.state()
        texts: dict[str, Any] = {}
        near = self._kept_neighbours
        if near is not None:
            arrays["neighbours"], texts["neighbours"] = near.state()
        manifest = {
            "herdwise": __version__,
            "seed": self.seed,
            "encoder": {"name": self.encoder.name, "options": options["encoder"]},
            "predictor": {"name": self.predictor.name, "options": options["predictor"]},
            "resources": {"options": options["resources"]},
            "herd": [candidate_to_json(c) for c in self.trained],
            "facts": asdict(self.facts),
            "figures": figures or {},
        }
        write_router_folder(path, manifest, arrays, texts)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a router folder; its parts are rebuilt through the registries.

        Raises:
            ArtefactError: when it is missing, truncated, changed or newer than this herdwise.
            UnknownNameError: when it needs an encoder or predictor that is not installed.
        """
        manifest = read_manifest(path)
        try:
            herd = Herd(candidate_from_json(c) for c in manifest["herd"])
            facts = TrainingFacts(**manifest["facts"])
            coder = ENCODERS.get(manifest["encoder"]["name"]).from_state(
                manifest["encoder"]["options"], read_arrays(path, manifest, "encoder")
            )
            learner = PREDICTORS.get(manifest["predictor"]["name"]).from_state(
                manifest["predictor"]["options"], read_arrays(path, manifest, "predictor")
            )
            resources = ResourcePredictor.from_state(
                manifest["resources"]["options"], read_arrays(path, manifest, "resources")
            )
        except HerdwiseError:
            raise
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ArtefactError(
                f"{path} is not a whole router: {type(error).__name__} {error}.",
                remedy="Train it again: herdwise train --outcomes DIR --out ROUTER.",
            ) from error

        def neighbours() -> Neighbours | None:
            arrays = read_arrays(path, manifest, "neighbours")
            texts = read_text(path, manifest, "neighbours")
            return Neighbours.from_state(arrays, texts, herd.names) if arrays else None

        return cls(
            herd=herd,
            encoder=coder,
            predictor=learner,
            resources=resources,
            facts=facts,
            trained=herd,
            source=np.arange(len(herd)),
            constant=np.full(len(herd), np.nan),
            seed=int(manifest.get("seed", 0)),
            _neighbours=neighbours,
        )
