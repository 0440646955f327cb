"""Likeness and anchors: what a few outcomes say of a new candidate, and which queries to score."""

import numpy as np
import pytest

from herdwise.prediction.anchors import choose_anchors
from herdwise.prediction.likeness import Likeness


@pytest.fixture(scope="module")
def population():
    """Outcomes of 12 candidates of differing strength on 300 queries of differing difficulty, two kinds."""
    rng = np.random.default_rng(0)
    kind = rng.random(300) < 0.5
    strength, taste = rng.normal(0, 1, 12), rng.normal(0, 1.5, 12)
    logit = strength[None] - rng.normal(0, 1, 300)[:, None] + np.where(kind, 1, -1)[:, None] * taste[None]
    chance = 1 / (1 + np.exp(-logit))
    return (rng.random(chance.shape) < chance).astype(float), chance


def left_over(likeness, outcomes, predicted, rows):
    """Expected squared error of the predictions that remains after the rows are scored, by its definition."""
    Z, target = likeness.features(outcomes), likeness.features(predicted)
    noise = likeness.noise_of(outcomes)[rows]
    precision = np.diag(1 / likeness.prior_) + (Z[rows].T / noise) @ Z[rows]
    return float(np.trace(target @ np.linalg.inv(precision) @ target.T)) / len(target)


def test_each_anchor_is_the_query_that_leaves_the_least_error(population):
    outcomes, predicted = population
    likeness = Likeness.fit(outcomes, predicted)
    anchors = choose_anchors(likeness, outcomes, predicted, 4).tolist()
    for length in range(1, 5):
        before, chosen = anchors[: length - 1], anchors[length - 1]
        rest = [row for row in range(300) if row not in before]
        errors = {row: left_over(likeness, outcomes, predicted, [*before, row]) for row in rest}
        assert errors[chosen] == pytest.approx(min(errors.values()), rel=1e-9)


def test_anchors_leave_less_error_than_any_of_many_random_choices(population):
    outcomes, predicted = population
    likeness = Likeness.fit(outcomes, predicted)
    rng = np.random.default_rng(1)
    drawn = [left_over(likeness, outcomes, predicted, rng.choice(300, 15, replace=False)) for _ in range(200)]
    assert left_over(likeness, outcomes, predicted, choose_anchors(likeness, outcomes, predicted, 15)) < min(
        drawn
    )


def test_only_allowed_rows_are_chosen(population):
    outcomes, predicted = population
    allowed = np.arange(300) % 3 == 0
    got = choose_anchors(Likeness.fit(outcomes, predicted), outcomes, predicted, 500, allowed=allowed)
    assert sorted(got.tolist()) == np.flatnonzero(allowed).tolist()


def test_a_copy_of_a_known_candidate_is_recognised(population):
    outcomes, predicted = population
    rest = np.delete(np.arange(12), 4)
    likeness = Likeness.fit(outcomes[:, rest], predicted[:, rest])
    for rows in (np.arange(60), np.arange(200, 290)):
        for twin in (0, 7):
            column = rest[twin]
            mix = likeness.mix(
                outcomes[np.ix_(rows, rest)], predicted[np.ix_(rows, rest)], outcomes[rows, column]
            )
            assert mix.shares.argmax() == twin
            assert mix.shares.sum() == pytest.approx(1.0)


def test_one_outcome_moves_the_estimate_little_and_many_move_it_to_the_truth(population):
    outcomes, predicted = population
    rest = np.arange(11)
    likeness, truth = Likeness.fit(outcomes[:, rest], predicted[:, rest]), predicted[:, 11]
    herd = predicted[:, rest].mean(axis=1)
    errors = []
    for rows in (np.arange(1), np.arange(300)):
        mix = likeness.mix(outcomes[np.ix_(rows, rest)], predicted[np.ix_(rows, rest)], outcomes[rows, 11])
        errors.append(np.mean((mix(predicted[:, rest]) - truth) ** 2))
    assert errors[0] < 2 * np.mean((herd - truth) ** 2)
    assert errors[1] < 0.25 * np.mean((herd - truth) ** 2)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_smallest_herds_will_do(population, k):
    outcomes, predicted = population[0][:, :k], population[1][:, :k]
    likeness = Likeness.fit(outcomes, predicted)
    anchors = choose_anchors(likeness, outcomes, predicted, 20)
    mix = likeness.mix(outcomes[anchors], predicted[anchors], np.ones(20))
    got = mix(predicted)
    assert np.isfinite(got).all()
    assert got.mean() > predicted.mean()
    assert 0 < likeness.level_std(mix, outcomes) < 0.5
