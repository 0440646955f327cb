"""Enlist: predict a new candidate from a few of its outcomes, without training again.

Recorded -> Likeness -> Mix -> Admitted: columns that a router computes from the learned ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import CHARS_PER_TOKEN
from herdwise.prediction.anchors import choose_anchors
from herdwise.prediction.fusion_voice import Voice
from herdwise.prediction.likeness import Likeness, Mix
from herdwise.prediction.resources import KINDS, ResourcePredictor, Resources
from herdwise.prediction.resources_quantiles import LEVELS, probe_quantiles
from herdwise.routing.admitted import Admitted

if TYPE_CHECKING:
    from herdwise.routing.router import Router

#: Half a 95% interval in standard errors.
_Z = 1.96
#: Fewer outcomes than this are worth a warning.
FEW_PROBES = 5
#: Of the recorded queries: who ran so many had better be trained with. Below, enlisting predicts better.
MANY_PROBES = 0.5


@dataclass(frozen=True, eq=False)
class Recorded:
    """What the learned candidates did on the recorded queries.

    Args:
        query_ids, texts, benchmarks: ``n`` entries; texts may be beginnings.
        outcomes: ``(n, k)`` qualities of the learned candidates; where one was not run, the prediction.
        predicted: ``(n, k)`` predictions.
    """

    query_ids: Sequence[str]
    texts: Sequence[str]
    benchmarks: Sequence[str]
    outcomes: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(
        cls, ids: Sequence[str], texts: Sequence[str], benchmarks: Sequence[str], Y: np.ndarray, P: np.ndarray
    ) -> Self:
        """From ``(n, k)`` outcomes with gaps."""
        return cls(ids, texts, benchmarks, np.where(np.isfinite(Y), Y, P), P)


@dataclass(frozen=True, eq=False)
class Admission:
    """What a few outcomes say of a new candidate; nothing is changed yet.

    Args:
        candidate: who is to be admitted.
        n_probes: graded outcomes it rests on.
        level: expected mean quality over the recorded queries, ``low`` to ``high`` its 95% interval.
        level_macro: the same as a mean over benchmarks.
        alike: learned candidates by the posterior probability that it answers as they do, the likest first.
        measured: the resources that the probes recorded, of ``KINDS``.
        rows: ``(N,)`` recorded rows of the probes, -1 where a probe is not among them.
        quality: ``(N,)`` its outcomes.
        column: what a router predicts it with.
        voice: what fusion makes of its answers.
        warnings: what a reader should know.
    """

    candidate: Candidate
    n_probes: int
    level: float
    low: float
    high: float
    level_macro: float
    alike: tuple[tuple[str, float], ...]
    measured: tuple[str, ...]
    rows: np.ndarray
    quality: np.ndarray
    column: Admitted
    voice: Voice
    warnings: tuple[str, ...]


def recorded_by(router: Router, table: OutcomeTable | None = None) -> Recorded:
    """What the learned candidates did: on a table's queries, else on those that the router keeps.

    Raises:
        InputError: when it keeps none, or the table holds no outcome of a learned candidate.
    """
    learned = router.columns.names
    if table is not None:
        Y = np.full((table.n_queries, len(learned)), np.nan, dtype=np.float32)
        outcomes = table.matrix(router.facts.quality_column)
        for place, name in enumerate(learned):
            if name in table.herd:
                Y[:, place] = outcomes[:, table.herd.index(name)]
        if not np.isfinite(Y).any():
            raise InputError(
                f"{table.name or 'the table'} holds no outcome of the candidates that the router learned.",
                remedy="Give the outcomes that it was trained on.",
            )
        P = router.predictor.predict_anew(router.encode(table.queries()))
        return Recorded.of(table.query_ids, table.texts, table.benchmarks, Y, P)
    near = router.kept_neighbours
    if near is None:
        raise InputError(
            "the router was trained without keeping its queries, so there is nothing to compare with.",
            remedy="Give the outcomes that it was trained on too.",
        )
    X, quality = near.vectors_and_quality()
    ids, benchmarks, texts = (list(column) for column in zip(*near.texts, strict=True))
    return Recorded.of(ids, texts, benchmarks, quality[:, : len(learned)], router.predictor.predict_anew(X))


def choose_probes(recorded: Recorded, n: int, *, allowed: np.ndarray | None = None) -> np.ndarray:
    """Rows of the recorded queries that tell most about a new candidate, the most telling first.

    Args:
        n: how many; all that are allowed where they are fewer.
        allowed: ``(n_queries,)`` bool, such as those with a reference to grade by; all by default.
    """
    likeness = Likeness.fit(recorded.outcomes, recorded.predicted)
    return choose_anchors(likeness, recorded.outcomes, recorded.predicted, n, allowed=allowed)


def consider(
    router: Router, candidate: Candidate, probes: OutcomeTable, training: OutcomeTable | None = None
) -> Admission:
    """What a few outcomes say of a new candidate; changes nothing.

    Args:
        router: trained on other candidates.
        candidate: the new one, by the name that ``probes`` has.
        probes: its graded outcomes, best on the queries of ``choose_probes``; other candidates' rows are not
            looked at.
        training: the training outcomes, needed only where the router keeps no queries.

    Raises:
        InputError: when it is in the herd already, or has no graded outcome.
    """
    if candidate.name in router.trained:
        raise InputError(
            f"candidate {candidate.name!r} is already in the herd.",
            remedy="Remove it first to exchange it, or name the new one differently.",
        )
    if candidate.name not in probes.herd:
        raise InputError(
            f"{probes.name or 'the table'} holds no outcome of {candidate.name!r}.",
            remedy=f"It holds: {', '.join(probes.herd.names[:10])}.",
        )
    quality_column = router.facts.quality_column
    own = probes.restrict([candidate.name])
    graded = np.isfinite(own.matrix(quality_column)[:, 0])
    if not graded.any():
        raise InputError(
            f"{probes.name or 'the table'} holds no graded outcome of {candidate.name!r}"
            f" in column {quality_column!r}.",
            remedy="Score some queries first: herdwise enlist --probe N, then herdwise profile.",
        )
    own = own.take(np.flatnonzero(graded))
    quality = own.matrix(quality_column)[:, 0].astype(np.float64)
    X, tokens = router.encode(own.queries()), np.array([q.input_tokens for q in own.queries()])
    P = router.predictor.predict_anew(X)
    resources = router.resources.predict(X, tokens, *router.learned_prices)
    recorded = recorded_by(router, training)
    rows = _matched(own, recorded)
    F = np.where(rows[:, None] >= 0, recorded.outcomes[rows], P)
    likeness = Likeness.fit(recorded.outcomes, recorded.predicted)
    mix = likeness.mix(F, P, quality)
    expected = recorded.outcomes @ mix.weights + mix.offset
    level = float(np.clip(expected.mean(), 0.0, 1.0))
    std = likeness.level_std(mix, recorded.outcomes)
    benchmarks = np.asarray(recorded.benchmarks)
    macro = float(np.mean([expected[benchmarks == name].mean() for name in np.unique(benchmarks)]))
    factors, constants, measured = _resources(own, resources, mix)
    likest = np.argsort(-mix.shares, kind="stable")
    return Admission(
        candidate=candidate,
        n_probes=len(quality),
        level=level,
        low=max(0.0, level - _Z * std),
        high=min(1.0, level + _Z * std),
        level_macro=min(1.0, max(0.0, macro)),
        alike=tuple((router.columns[int(j)].name, float(mix.shares[j])) for j in likest),
        measured=measured,
        rows=rows,
        quality=quality,
        column=Admitted(
            herd=Herd([candidate]),
            weights=mix.weights[None].astype(np.float32),
            offset=np.array([mix.offset], dtype=np.float32),
            level_std=np.array([std], dtype=np.float32),
            factors=factors,
            constants=constants,
            spread=_spread(own, resources, factors, constants, router.resources),
        ),
        voice=Voice.of(mix, F, P, quality),
        warnings=_warnings(candidate.name, rows, level, std, len(recorded.outcomes)),
    )


def _matched(own: OutcomeTable, recorded: Recorded) -> np.ndarray:
    """``(N,)`` recorded row of each probe, by id and beginning of the text, -1 = none."""
    place = {id_: i for i, id_ in enumerate(recorded.query_ids)}
    rows = [place.get(id_, -1) for id_ in own.query_ids]
    return np.array(
        [
            row if row >= 0 and text.startswith(recorded.texts[row]) else -1
            for row, text in zip(rows, own.texts, strict=True)
        ],
        dtype=np.int64,
    )


def _warnings(name: str, rows: np.ndarray, level: float, std: float, n_recorded: int) -> tuple[str, ...]:
    found = []
    low, high = max(0.0, level - _Z * std), min(1.0, level + _Z * std)
    if len(rows) < FEW_PROBES:
        found.append(
            f"{name}: {len(rows)} graded outcomes say little: its mean quality is somewhere"
            f" from {low:.0%} to {high:.0%}."
        )
    if len(rows) > MANY_PROBES * n_recorded:
        found.append(
            f"{name}: with {len(rows):,} outcomes, as many as half of the recorded queries, training again"
            " (herdwise train) may predict it better."
        )
    strange = int((rows < 0).sum())
    if strange:
        found.append(
            f"{name}: {strange} of {len(rows)} probes are not among the recorded queries; there the herd's"
            " outcomes are predicted, which tells less."
        )
    return tuple(found)


def _resources(
    own: OutcomeTable, predicted: Resources, mix: Mix
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Factors ``(1, 3, k)`` and constants ``(1, 3)``, and which kinds were measured.

    What was measured on the probes scales the likest candidates' predictions, so that probes that are longer
    or dearer than most don't mislead. A length that was not measured is taken from the likest.
    """
    k = len(mix.shares)
    factors, constants = np.zeros((1, 3, k)), np.full((1, 3), np.nan)
    known = (predicted.cost_usd, predicted.latency_s, predicted.output_tokens)
    measured = []
    for place, (kind, values) in enumerate(zip(KINDS, known, strict=True)):
        recorded = _recorded(own, kind)
        there = np.isfinite(recorded)
        has = np.isfinite(values).all(axis=0)
        shares = np.where(has, mix.shares + 1e-6, 0.0)
        shares = shares / max(float(shares.sum()), 1e-12)
        if there.any():
            measured.append(kind)
            typical = float((np.nan_to_num(values[there]) @ shares).mean())
            if typical > 0:
                factors[0, place] = shares * (float(recorded[there].mean()) / typical)
                constants[0, place] = 0.0
            else:
                constants[0, place] = float(recorded[there].mean())
        elif kind == "output_tokens" and has.any():
            factors[0, place], constants[0, place] = shares, 0.0
    return factors, constants, tuple(measured)


def _spread(
    own: OutcomeTable,
    predicted: Resources,
    factors: np.ndarray,
    constants: np.ndarray,
    learned: ResourcePredictor,
) -> np.ndarray:
    """How the probes' values lie about what is expected of them, ``(1, 3, len(LEVELS))``."""
    found = np.full((1, len(KINDS), len(LEVELS)), np.nan)
    known = (predicted.cost_usd, predicted.latency_s, predicted.output_tokens)
    for place, (kind, values) in enumerate(zip(KINDS, known, strict=True)):
        expected = np.nan_to_num(values) @ factors[0, place] + constants[0, place]
        recorded = _recorded(own, kind)
        there = np.isfinite(recorded) & (expected > 0)
        if there.any():
            # An empty answer counts as a thousandth of what was expected, as in training.
            off = np.log(np.maximum(recorded[there] / expected[there], 1e-3))
            found[0, place] = probe_quantiles(off, learned.relative(kind))
    return found


def _recorded(own: OutcomeTable, kind: str) -> np.ndarray:
    if own.has(kind):
        return own.matrix(kind)[:, 0].astype(np.float64)
    if kind == "output_tokens" and own.has("output_chars"):
        return own.matrix("output_chars")[:, 0].astype(np.float64) / CHARS_PER_TOKEN
    return np.full(own.n_queries, np.nan)
