"""Router: encoder + predictors, for one herd. Learns from outcomes, predicts, saves and loads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import ArtefactError, HerdMismatchError, HerdwiseError, InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.core.version import __version__
from herdwise.encoding.base import ENCODERS, Encoder
from herdwise.prediction.base import PREDICTORS, Predictor
from herdwise.prediction.fusion import Fusion
from herdwise.prediction.resources import ResourcePredictor
from herdwise.routing.admitted import Admitted
from herdwise.routing.base import Belief, Situation
from herdwise.routing.constraints import HerdFacts
from herdwise.routing.enlist import Admission, consider
from herdwise.routing.exchange import admitting, removing
from herdwise.routing.explain import Neighbour
from herdwise.routing.facts import TrainingFacts
from herdwise.routing.fusing import has_answers, learn_fusion, served_belief
from herdwise.routing.manifest import candidate_from_json, candidate_to_json
from herdwise.routing.neighbours import Neighbours
from herdwise.routing.ranker import scene
from herdwise.storage.router_folder import read_arrays, read_file, read_manifest, write_router_folder

Progress = Callable[[str, int, int], None]


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total


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
        with threadpool_limits(1, user_api="blas"):
            # The matrices are small: a second thread gains nothing, and costs a lot where its core is busy.
            return cls._fit(
                table, encoder, predictor, quality_column, seed, keep_texts, fusion, progress or _silent
            )

    @classmethod
    def _fit(
        cls,
        table: OutcomeTable,
        encoder: str | Encoder,
        predictor: str | Predictor,
        quality_column: str,
        seed: int,
        keep_texts: bool,
        with_fusion: bool,
        report: Progress,
    ) -> Self:
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
        fusion = None
        if with_fusion and has_answers(table, quality_column):
            report("learn fusion", 0, 1)
            fusion = learn_fusion(learner, X, table, quality_column, seed)
            report("learn fusion", 1, 1)
        near = Neighbours.fit(X, table, quality_column) if keep_texts else None
        m = table.n_candidates
        return cls(
            herd=table.herd,
            encoder=coder,
            predictor=learner,
            resources=resources,
            facts=TrainingFacts.of(table, quality_column),
            trained=table.herd,
            columns=table.herd,
            source=np.arange(m),
            constant=np.full(m, np.nan),
            fusion=fusion,
            seed=seed,
            _neighbours=lambda: near,
        )

    # -- predicting ---------------------------------------------------------------------------------

    @cached_property
    def _facts(self) -> HerdFacts:
        return HerdFacts(self.herd)

    @cached_property
    def _as_learned(self) -> bool:
        """Whether the herd is what the columns predict, in their order and at their prices."""
        return np.array_equal(self.source, np.arange(len(self.by_column))) and not self._repriced.any()

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
    def _repriced(self) -> np.ndarray:
        """Whose price differs from the one in the training data: cost follows the price from here on."""
        trained = [self.by_column[int(s)].price if s >= 0 else None for s in self.source]
        return np.array(
            [c.price.known and (t is None or t != c.price) for c, t in zip(self.herd, trained, strict=True)],
            dtype=bool,
        )

    def encode(self, queries: Sequence[Query]) -> np.ndarray:
        """Vectors of queries, ``(n, d)``."""
        return self.encoder.encode([q.text for q in queries])

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
            quality, got = self.admitted.quality(quality), self.admitted.resources(got, tokens[:, None])
            std = None if std is None else self.admitted.std(std)
        if self._as_learned:
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
        got = self.resources.predict_one(x, tokens, *self.learned_prices)
        if self.admitted is not None:
            quality, got = self.admitted.quality(quality), self.admitted.resources(got, tokens)
        if self._as_learned:
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

    def belief(self, query: Query, estimates: Estimates) -> Belief | None:
        """See ``Ranker.belief``."""
        if self.fusion is None:
            return None
        return served_belief(self.fusion, self.source, query.text, estimates.quality)

    def explain(self, query: Query, k: int = 5) -> tuple[Neighbour, ...]:
        """The nearest recorded queries, with the outcomes of this herd."""
        near = self.kept_neighbours
        if near is None:
            return ()
        names = [self.by_column[int(s)].name for s in self.source if s >= 0]
        return near.nearest(self.encoder.encode_one(query.text), k, names)

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
        source: list[int] = []
        unknown: list[str] = []
        for candidate in herd:
            by_name = candidate.name in self.column_of
            known = candidate.name if by_name else candidate.like
            if known is not None and known in self.column_of:
                source.append(self.column_of[known])
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
        learned = np.unique(columns[(columns >= 0) & (columns < len(self.columns))])
        return replace(
            self,
            herd=herd,
            predictor=self.predictor.among(learned),
            source=columns,
            constant=np.where(columns < 0, declared, np.nan),
        )

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
        options: dict[str, Any] = {}
        arrays: dict[str, dict[str, np.ndarray]] = {}
        for part, thing in (
            ("encoder", self.encoder),
            ("predictor", self.predictor),
            ("resources", self.resources),
        ):
            options[part], arrays[part] = thing.state()
        texts: dict[str, Any] = {}
        near = self.kept_neighbours
        if near is not None:
            arrays["neighbours"], texts["neighbours"] = near.state()
        manifest = {
            "herdwise": __version__,
            "seed": self.seed,
            "encoder": {"name": self.encoder.name, "options": options["encoder"]},
            "predictor": {"name": self.predictor.name, "options": options["predictor"]},
            "resources": {"options": options["resources"]},
            "herd": [candidate_to_json(c) for c in self.columns],
            "removed": [n for i, n in enumerate(self.columns.names) if self.column_of.get(n) != i],
            "facts": asdict(self.facts),
            "figures": figures or {},
        }
        if self.fusion is not None:
            taken, arrays["fusion"] = self.fusion.state()
            manifest["fusion"] = {"options": taken}
        if self.admitted is not None:
            manifest["enlisted"], arrays["admitted"] = self.admitted.state()
        write_router_folder(path, manifest, arrays, texts)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Router:
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
            fusion = None
            if manifest.get("fusion"):
                fusion = Fusion.from_state(
                    manifest["fusion"]["options"], read_arrays(path, manifest, "fusion")
                )
            admitted, removed = None, frozenset(manifest.get("removed", ()))
            if manifest.get("enlisted"):
                admitted = Admitted.from_state(manifest["enlisted"], read_arrays(path, manifest, "admitted"))
        except HerdwiseError:
            raise
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ArtefactError(
                f"{path} is not a whole router: {type(error).__name__} {error}.",
                remedy="Train it again: herdwise train --outcomes DIR --out ROUTER.",
            ) from error

        # Read now, for the folder may be replaced while this router serves; decoded when first asked for.
        near_arrays = read_arrays(path, manifest, "neighbours")
        near_texts = read_file(path, manifest, "neighbours.json")

        def neighbours() -> Neighbours | None:
            if near_texts is None:
                return None
            return Neighbours.from_state(
                near_arrays, msgspec.json.decode(near_texts), [*kept, *enlisted.names]
            )

        # A removed candidate's column stays, for the others lean on it; its name is free again.
        kept = ["" if name in removed else name for name in herd.names]
        enlisted = admitted.herd if admitted else Herd([])
        known = Herd([*(c for c in herd if c.name not in removed), *enlisted])
        whole = not removed and admitted is None
        router = cls(
            herd=herd,
            encoder=coder,
            predictor=learner,
            resources=resources,
            facts=facts,
            trained=herd if whole else known,
            columns=herd,
            admitted=admitted,
            source=np.arange(len(herd)),
            constant=np.full(len(herd), np.nan),
            fusion=fusion,
            seed=int(manifest.get("seed", 0)),
            _neighbours=neighbours,
        )
        return router if whole else router.adapt(known)
