"""What a router learns from recorded answers: fusion, beside the predictor whose quality it leans on."""

from __future__ import annotations

import numpy as np

from herdwise.core.outcomes import OutcomeTable
from herdwise.prediction.base import Predictor
from herdwise.prediction.fusion import Fusion
from herdwise.routing.served_belief import ServedBelief

#: Fewer graded answers than this teach nothing about who agrees with whom.
MIN_ANSWERS = 200
#: Queries that fusion is learned from at most.
MOST_QUERIES = 20_000
_FOLDS = 5
_NOTHING = np.array(None, dtype=object)


def has_answers(table: OutcomeTable, quality_column: str) -> bool:
    """Whether enough graded answers of several candidates were recorded to learn fusion from."""
    if table.answers is None:
        return False
    given = np.isfinite(table.values[quality_column]) & np.not_equal(table.answers, _NOTHING).astype(bool)
    return int(given.sum()) >= MIN_ANSWERS and len(np.unique(table.candidate_index[given])) > 1


def learn_fusion(
    predictor: Predictor, X: np.ndarray, table: OutcomeTable, quality_column: str, seed: int
) -> Fusion:
    """Learn fusion from the training table; predictions of its rows come from fits without them.

    Of more than ``MOST_QUERIES`` a sample is learned from: the network takes at most 4,000 steps of 128
    queries (``fusion_training``), so that more would be seen a few times at best.

    Args:
        predictor: fitted on ``X`` and the table.
        X: ``(n, d)`` vectors of the table's queries.

    Raises:
        InputError: when no graded answer is recorded (see ``has_answers``).
    """
    quality = table.matrix(quality_column)
    predicted = predictor.left_out_
    if predicted is None:
        predicted = left_out_predictions(predictor, X, quality, seed)
    if table.n_queries > MOST_QUERIES:
        rows = np.sort(np.random.default_rng(seed).choice(table.n_queries, MOST_QUERIES, replace=False))
        quality, predicted, table = quality[rows], predicted[rows], table.take(rows)
    return Fusion().fit(quality, table.answer_matrix(), predicted, list(table.texts), seed=seed)


def served_belief(fusion: Fusion, source: np.ndarray, text: str, quality: np.ndarray) -> ServedBelief:
    """What is believed of one query before anybody was asked.

    Args:
        source: ``(m,)`` column of each candidate served; those that fusion did not learn are strangers to it.
        text: the query, for the options that it offers.
        quality: ``(m,)`` their predicted quality.
    """
    columns = np.where(source < fusion.n_candidates, source, -1)
    predicted = np.full(fusion.n_candidates, np.nan, dtype=np.float32)
    known = columns >= 0
    predicted[columns[known]] = quality[known]
    return ServedBelief(fusion.belief(predicted, text), columns, np.asarray(quality, dtype=np.float64))


def left_out_predictions(predictor: Predictor, X: np.ndarray, quality: np.ndarray, seed: int) -> np.ndarray:
    """Predictions ``(n, m)`` of each row by a fit without it, in folds."""
    fold = np.random.default_rng(seed).permutation(len(X)) % min(_FOLDS, len(X))
    left_out = np.tile(predictor.means_, (len(X), 1))
    options, _ = predictor.state()
    for number in range(int(fold.max()) + 1):
        rest = fold != number
        if np.isfinite(quality[rest]).any():
            part = type(predictor)(**options).fit(
                X[rest], quality[rest], seed=seed, candidate_features=predictor.candidate_features_
            )
            left_out[~rest] = part.predict(X[~rest])
    return left_out
