from __future__ import annotations

import numpy as np

from herdwise.prediction.projection import Projection
from herdwise.prediction.stack import StackPredictor


def test_a_feature_that_no_training_query_had_moves_nothing() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 8)).astype(np.float32)
    X[:, 5:] = 0.0
    Y = (rng.random((200, 3)) < 0.3 + 0.5 * (X[:, :3] > 0)).astype(np.float32)
    strange = X[:20].copy()
    strange[:, 5:] = 2.0
    stack = StackPredictor().fit(X, Y)
    np.testing.assert_allclose(stack.predict(strange), stack.predict(X[:20]), atol=1e-5)


def test_directions_in_which_queries_differ_more_count_for_more() -> None:
    X = (np.random.default_rng(1).normal(size=(500, 4)) * [4.0, 2.0, 1.0, 0.5]).astype(np.float32)
    length = np.linalg.norm(Projection(power=0.5).fit(X).directions_, axis=0)
    assert (np.diff(length) < 0).all()
    np.testing.assert_allclose(
        np.linalg.norm(Projection(power=0.0).fit(X).directions_, axis=0), 1.0, atol=1e-5
    )


def test_one_vector_is_projected_as_in_a_batch() -> None:
    X = np.random.default_rng(2).normal(size=(100, 6)).astype(np.float32)
    projection = Projection(n_directions=3).fit(X)
    Z = projection(X)
    assert Z.shape == (100, 3)
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.stack([projection.one(x) for x in X]), Z, atol=1e-6)
    again = Projection.from_state(projection.state())
    np.testing.assert_array_equal(again(X), Z)
