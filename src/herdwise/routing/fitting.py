"""What a router learns from a table of outcomes: encoder, predictors, facts, fusion, kept queries.

Memory is linear in the table: vectors ``(n, d)`` float32 and the dense views that predictors work on. Texts
are encoded batch by batch and never held all at once, where the table does not hold them itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import CHARS_PER_TOKEN
from herdwise.encoding.base import ENCODERS, Encoder
from herdwise.prediction.base import PREDICTORS, Predictor
from herdwise.prediction.candidate_features import candidate_features
from herdwise.prediction.fusion import Fusion
from herdwise.prediction.resources import ResourcePredictor
from herdwise.prediction.signal_worth import SignalWorth
from herdwise.routing.facts import TrainingFacts
from herdwise.routing.fusing import has_answers, learn_fusion
from herdwise.routing.neighbours import Neighbours
from herdwise.routing.weighing import KnownCompletions, learn_worth

#: Called with (stage, done, total) while a router learns.
Progress = Callable[[str, int, int], None]

#: Texts that are encoded at once.
_BATCH = 2**13


@dataclass(frozen=True, eq=False)
class Learned:
    """The parts of a router.

    Args:
        table: what was learned from: without the candidates that have no graded outcome.
        neighbours: the kept queries, None where none are to be kept.
    """

    table: OutcomeTable
    encoder: Encoder
    predictor: Predictor
    resources: ResourcePredictor
    facts: TrainingFacts
    fusion: Fusion | None
    worth: SignalWorth
    neighbours: Neighbours | None


def learn(
    table: OutcomeTable,
    *,
    encoder: str | Encoder,
    predictor: str | Predictor,
    quality_column: str,
    seed: int,
    keep_texts: bool,
    fusion: bool,
    completions: KnownCompletions | None,
    progress: Progress | None,
) -> Learned:
    """See ``Router.fit``.

    Raises:
        InputError: when nothing was graded.
    """
    ran = np.isfinite(table.matrix(quality_column)).any(axis=0)
    if not ran.any():
        raise InputError(
            f"{table.name or 'the table'} holds no graded outcome in column {quality_column!r}.",
            remedy="Grade some outcomes first: herdwise profile, or feedback.",
        )
    table = table.restrict([n for n, r in zip(table.herd.names, ran, strict=True) if r])
    coder = ENCODERS.create(encoder) if isinstance(encoder, str) else encoder
    learner = PREDICTORS.create(predictor) if isinstance(predictor, str) else predictor
    with threadpool_limits(1, user_api="blas"):
        # The matrices of a block are small: a second thread gains little, and costs a lot on a busy core.
        return _learn(
            table,
            coder,
            learner,
            quality_column,
            seed,
            keep_texts,
            fusion,
            completions,
            progress or _silent,
        )


def _learn(
    table: OutcomeTable,
    encoder: Encoder,
    predictor: Predictor,
    quality_column: str,
    seed: int,
    keep_texts: bool,
    with_fusion: bool,
    completions: KnownCompletions | None,
    report: Progress,
) -> Learned:
    quality = table.matrix(quality_column)
    if encoder.supervised:
        X, tokens = _tuned(table, encoder, quality, seed, report)
    else:
        encoder.fit(table.texts)
        X, tokens = _encoded(table, encoder, report)
    predictor.progress = lambda done, total: report("learn quality", done, total)
    report("learn quality", 0, 1)
    predictor.fit(X, quality, seed=seed, candidate_features=candidate_features(table.herd))
    predictor.progress = None
    report("learn quality", 1, 1)
    fusion = None
    if with_fusion and has_answers(table, quality_column):
        report("learn fusion", 0, 1)
        fusion = learn_fusion(predictor, X, table, quality_column, seed)
        report("learn fusion", 1, 1)
    report("learn what signals are worth", 0, 1)
    worth = learn_worth(predictor, X, table, quality_column, seed, completions)
    report("learn what signals are worth", 1, 1)
    predictor.left_out_ = None  # as large as the outcomes, and not needed again
    neighbours = Neighbours.fit(X, table, quality_column, seed=seed) if keep_texts else None
    facts = TrainingFacts.of(table, quality_column)
    report("learn cost and length", 0, 1)
    resources = ResourcePredictor().fit(X, tokens, table)
    report("learn cost and length", 1, 1)
    return Learned(table, encoder, predictor, resources, facts, fusion, worth, neighbours)


def _tuned(
    table: OutcomeTable, encoder: Encoder, quality: np.ndarray, seed: int, report: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """As ``_encoded``, by an encoder that learns from the outcomes: all queries at once."""
    asked = table.asked_texts(0, table.n_queries) if encoder.reads_tools else table.texts
    X = encoder.fit_to_outcomes(
        asked, quality, seed=seed, progress=lambda done, total: report("tune and encode", done, total)
    )
    report("tune and encode", len(X), len(X))
    return X, np.array([len(text) / CHARS_PER_TOKEN for text in table.texts])


def _encoded(table: OutcomeTable, encoder: Encoder, report: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Vectors ``(n, d)`` float32 and lengths ``(n,)`` in tokens of a table's queries."""
    n = table.n_queries
    X = np.empty((n, encoder.n_features), dtype=np.float32)
    tokens = np.empty(n)
    for start in range(0, n, _BATCH):
        texts = table.texts[start : start + _BATCH]
        asked = table.asked_texts(start, start + _BATCH) if encoder.reads_tools else texts

        def told(done: int, total: int, start: int = start) -> None:
            del total
            report("encode", start + done, n)

        X[start : start + len(texts)] = encoder.encode(asked, progress=told)
        tokens[start : start + len(texts)] = [len(text) / CHARS_PER_TOKEN for text in texts]
        report("encode", start + len(texts), n)
    return X, tokens


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total
