"""What stands behind a router's estimates: uncertainty, quantiles and parts."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise import Candidate, Constraints, Goals, Herd, OutcomeTable, Query, Router
from herdwise.core.errors import NoCandidateError
from herdwise.core.money import Price
from herdwise.routing.explain import explain

ASKED = Query("a poem that will rhyme", chars=400)


def make_table(names: tuple[str, ...] = ("maths", "poet"), n: int = 300) -> OutcomeTable:
    """Two kinds of queries, who is right follows the kind; everybody's answers vary in length and time."""
    rng = np.random.default_rng(0)
    words = [["integral", "matrix", "sum", "prime"], ["sonnet", "novel", "poem", "rhyme"]]
    kind, m = rng.integers(0, 2, n), len(names)
    right = rng.random((n, m)) < np.where(np.arange(m)[None] % 2 == kind[:, None], 0.9, 0.2)
    query, candidate = np.divmod(np.arange(m * n), m)
    return OutcomeTable(
        herd=Herd([Candidate(name, params_b=7, active_params_b=7) for name in names]),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[" ".join(rng.choice(words[k], 4)) + f" number {i}" for i, k in enumerate(kind)],
        benchmarks=[("maths", "poems")[k] for k in kind],
        splits=["train"] * n,
        query_index=query.astype(np.int32),
        candidate_index=candidate.astype(np.int32),
        sample=np.zeros(m * n, dtype=np.int32),
        values={
            "quality": right.reshape(-1).astype(np.float64),
            "output_tokens": np.round(rng.lognormal(4.0, 0.5, m * n)),
            "latency_s": rng.lognormal(0.0, 0.5, m * n),
        },
        name="made",
    )


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.fit(make_table(), seed=1)


@pytest.fixture(scope="module")
def grown() -> Router:
    """With a candidate enlisted from forty probes."""
    three = make_table(("maths", "poet", "late"))
    probes = three.take(np.arange(40)).restrict(["late"])
    return Router.fit(three.restrict(["maths", "poet"])).enlist(Candidate("late", price=Price(1, 2)), probes)


def test_the_serving_path_states_the_same_error_as_a_batch(router: Router) -> None:
    one, batch = router.estimate_one(ASKED), router.estimate([ASKED]).row(0)
    assert one.quality_std is None
    std = one.std()
    assert std is not None
    np.testing.assert_allclose(std, batch.quality_std, rtol=1e-4)
    assert (std > 0).all()
    np.testing.assert_allclose(one.at_most("latency_s", 0.9), batch.at_most("latency_s", 0.9), rtol=1e-4)


def test_parts_add_up_to_the_quality_of_everybody(router: Router, grown: Router) -> None:
    mixed = Herd([Candidate("poet"), Candidate("stranger", quality=0.4), Candidate("twin", like="late")])
    for served in (router, router.restrict(["poet"]), grown, grown.adapt(mixed)):
        estimates = served.estimate_one(ASKED)
        assert estimates.detail is not None
        parts = estimates.detail.parts()
        np.testing.assert_allclose(np.sum(list(parts.values()), axis=0), estimates.quality, atol=1e-5)
    assert parts["declared"].tolist() == pytest.approx([0.0, 0.4, 0.0])
    assert parts["mean"][0] != 0.0
    assert parts["mean"][2] != 0.0


def test_a_cost_at_a_price_follows_the_length(router: Router) -> None:
    priced = router.adapt(
        Herd([Candidate("poet", price=Price(1, 10)), Candidate("maths", price=Price(0, 0))])
    )
    estimates = priced.estimate_one(ASKED)
    length = estimates.at_most("output_tokens", 0.9)
    cost = estimates.at_most("cost_usd", 0.9)
    assert cost[0] == pytest.approx((100 * 1 + length[0] * 10) / 1e6)
    assert cost[1] == 0.0
    assert length[0] > estimates.output_tokens[0]


def test_an_answer_is_no_longer_than_the_request_allows(router: Router) -> None:
    short = router.estimate_one(Query("a poem", max_output_tokens=5))
    assert short.at_most("output_tokens", 0.9).tolist() == [5.0, 5.0]


def test_a_declared_latency_varies_as_the_herd_does_and_a_declared_quality_has_no_error(
    router: Router,
) -> None:
    herd = Herd(
        [Candidate("poet"), Candidate("stranger", quality=0.5, latency_s=4.0), Candidate("n", quality=0.5)]
    )
    estimates = router.adapt(herd).estimate_one(ASKED)
    low, high = (estimates.at_most("latency_s", p)[1] for p in (0.1, 0.9))
    assert low < 4.0 < high < 16.0
    assert np.isnan(estimates.at_most("latency_s", 0.9)[2])
    assert np.isnan(estimates.at_most("output_tokens", 0.9)[1])
    std = estimates.std()
    assert std is not None
    assert np.isnan(std[1])


def test_an_enlisted_candidate_has_quantiles_about_its_own_mean(grown: Router) -> None:
    estimates = grown.estimate_one(ASKED)
    for kind in ("latency_s", "output_tokens", "cost_usd"):
        low, high = estimates.at_most(kind, 0.1)[2], estimates.at_most(kind, 0.9)[2]
        assert low < getattr(estimates, kind)[2] < high
    assert estimates.at_most("cost_usd", 0.9)[2] == pytest.approx(
        (100 * 1 + estimates.at_most("output_tokens", 0.9)[2] * 2) / 1e6
    )


def test_a_limit_is_held_against_the_quantile_and_the_removal_says_so(router: Router) -> None:
    estimates = router.estimate_one(ASKED)
    between = (float(estimates.latency_s.max()) + float(estimates.at_most("latency_s", 0.99).min())) / 2
    goals = Goals(constraints=Constraints(max_latency_s=between))
    assert router.situation(ASKED, goals.replace(limit_probability=None)).admitted.all()
    with pytest.raises(NoCandidateError, match=r"predicted latency_s \(0\.99 quantile\) .* >"):
        router.situation(ASKED, goals.replace(limit_probability=0.99))


def test_a_declared_value_without_any_distribution_is_compared_as_it_is(router: Router) -> None:
    bare = Router.fit(make_table().take(np.arange(3)))
    served = bare.adapt(Herd([Candidate("x", quality=0.5, latency_s=2.0)]))
    limits = Constraints(max_latency_s=2.0)
    assert served.situation(ASKED, Goals(constraints=limits, limit_probability=0.95)).admitted.all()
    with pytest.raises(NoCandidateError, match=r"predicted latency_s 2 > 1\.9"):
        served.situation(ASKED, Goals(constraints=Constraints(max_latency_s=1.9)))


def test_an_explanation_adds_up_and_tells_interval_and_quantiles(router: Router) -> None:
    limits = Constraints(max_output_tokens=100000)
    told = explain(router.situation(ASKED, Goals(constraints=limits)))
    assert told.limit_probability == 0.8
    for score in told.scores:
        assert score.quality is not None
        assert score.quality_std is not None
        assert sum(score.parts.values()) == pytest.approx(score.quality, abs=1e-5)
        assert score.quality_interval is not None
        low, high = score.quality_interval
        assert low < score.quality < high
        levels = score.at_most["output_tokens"]
        assert levels["0.1"] < levels["0.5"] < levels["0.9"]
        assert "cost_usd" not in score.at_most
    assert explain(router.situation(ASKED, Goals())).limit_probability is None
