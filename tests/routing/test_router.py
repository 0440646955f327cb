"""Router: learned from outcomes, saved as text and tensors, adapted to another herd."""

import numpy as np
import pytest

from herdwise import Candidate, Goals, Herd, OutcomeTable, Query, Router
from herdwise.core.errors import ArtefactError, HerdMismatchError, InputError
from herdwise.core.money import Price
from herdwise.routing.single import ranking


def make_table(seed=0, n=240, **values):
    """Two kinds of queries, two experts: each is right on its own kind, mostly wrong on the other."""
    rng = np.random.default_rng(seed)
    words = [["integral", "matrix", "sum", "prime"], ["sonnet", "novel", "poem", "rhyme"]]
    kind = rng.integers(0, 2, n)
    texts = [" ".join(rng.choice(words[k], 4)) + f" number {i}" for i, k in enumerate(kind)]
    right = rng.random((n, 2)) < np.where(np.arange(2)[None] == kind[:, None], 0.9, 0.2)
    query, candidate = np.divmod(np.arange(2 * n), 2)
    return OutcomeTable(
        herd=Herd([Candidate("maths", params_b=7, active_params_b=7), Candidate("poet", params_b=3)]),
        query_ids=[f"q{i}" for i in range(n)],
        texts=texts,
        benchmarks=[("maths", "poems")[k] for k in kind],
        splits=["train"] * n,
        query_index=query.astype(np.int32),
        candidate_index=candidate.astype(np.int32),
        sample=np.zeros(2 * n, dtype=np.int32),
        values={"quality": right.reshape(-1).astype(np.float64), **values},
        name="made",
    )


@pytest.fixture(scope="module")
def router():
    tokens = np.full(480, 50.0)
    return Router.fit(make_table(output_tokens=tokens), seed=1)


def test_it_learns_who_is_right_on_what(router):
    for text, expert in (("the sum of a matrix integral", "maths"), ("a poem that will rhyme", "poet")):
        order, _ = ranking(router.situation(Query(text), Goals()))
        assert router.herd.names[order[0]] == expert


def test_one_query_is_predicted_as_in_a_batch(router):
    queries = [Query("prime sum"), Query("a novel sonnet", chars=900)]
    batch = router.estimate(queries)
    for i, query in enumerate(queries):
        one = router.estimate_one(query)
        np.testing.assert_allclose(one.quality, batch.row(i).quality, atol=1e-5)
        np.testing.assert_allclose(one.output_tokens, batch.row(i).output_tokens, rtol=1e-4)


def test_a_saved_router_predicts_the_same_and_explains(router, tmp_path):
    router.save(tmp_path / "r")
    again = Router.load(tmp_path / "r")
    queries = [Query("prime sum"), Query("a novel sonnet")]
    np.testing.assert_allclose(again.estimate(queries).quality, router.estimate(queries).quality, atol=1e-6)
    assert again.facts == router.facts
    assert again.herd == router.herd
    near = again.explain(Query("prime matrix sum integral"), k=3)
    assert len(near) == 3
    assert {n.benchmark for n in near} == {"maths"}
    assert set(near[0].outcomes) == {"maths", "poet"}
    assert not list((tmp_path / "r").glob("*.pkl"))


def test_the_same_seed_gives_the_same_router():
    one, two = (Router.fit(make_table(), seed=5) for _ in range(2))
    query = [Query("prime sum")]
    assert one.estimate(query).quality.tolist() == two.estimate(query).quality.tolist()


def test_a_router_can_be_saved_without_any_text_of_the_queries(tmp_path):
    Router.fit(make_table(), keep_texts=False).save(tmp_path / "r")
    assert Router.load(tmp_path / "r").explain(Query("prime")) == ()
    assert b"integral" not in b"".join(p.read_bytes() for p in (tmp_path / "r").iterdir())


def test_training_facts_are_means_over_common_queries(router):
    table = make_table()
    assert router.facts.mean_micro["maths"] == pytest.approx(float(table.matrix()[:, 0].mean()))
    benchmarks = np.array(table.benchmarks)
    macro = np.mean([table.matrix()[benchmarks == b, 1].mean() for b in ("maths", "poems")])
    assert router.facts.mean_macro["poet"] == pytest.approx(float(macro), abs=1e-6)
    assert router.facts.n_common == 240


def test_a_subset_of_the_herd_is_predicted_alike(router):
    one = router.restrict(["poet"])
    query = Query("a poem")
    assert one.herd.names == ["poet"]
    assert one.estimate_one(query).quality[0] == pytest.approx(router.estimate_one(query).quality[1])
    assert one.estimate([query]).quality.shape == (1, 1)


def test_another_herd_borrows_by_name_by_likeness_or_declares(router):
    herd = Herd(
        [
            Candidate("poet", price=Price(1, 1)),
            Candidate("new", like="maths", price=Price(0, 0)),
            Candidate("declared", quality=0.55),
        ]
    )
    adapted = router.adapt(herd)
    query = Query("a poem", chars=400)
    got, known = adapted.estimate_one(query), router.estimate_one(query)
    assert got.quality.tolist() == pytest.approx([known.quality[1], known.quality[0], 0.55])
    assert got.cost_usd[0] == pytest.approx((100 + known.output_tokens[1]) / 1e6, rel=1e-3)
    assert got.cost_usd[1] == 0.0
    assert np.isnan(got.cost_usd[2])
    batch = adapted.estimate([query]).row(0)
    np.testing.assert_allclose(batch.cost_usd, got.cost_usd, rtol=1e-4)


def test_a_herd_that_the_router_does_not_know_is_refused_with_the_remedy(router):
    with pytest.raises(HerdMismatchError, match=r"'stranger'.*maths, poet.*like"):
        router.adapt(Herd([Candidate("stranger")]))


def test_a_sparse_table_is_learned_and_a_candidate_without_outcomes_left_out():
    table = make_table()
    keep = (table.candidate_index == 0) | (table.query_index % 7 == 0)
    keep[: table.n_queries] &= table.query_index[: table.n_queries] % 3 > 0
    import dataclasses

    sparse = dataclasses.replace(
        table,
        herd=Herd([*table.herd, Candidate("idle")]),
        query_index=table.query_index[keep],
        candidate_index=table.candidate_index[keep],
        sample=table.sample[keep],
        values={"quality": table.values["quality"][keep]},
        _cache={},
    )
    router = Router.fit(sparse)
    assert router.herd.names == ["maths", "poet"]
    assert np.isfinite(router.estimate([Query("x")]).quality).all()


def test_a_table_without_grades_is_refused():
    table = make_table()
    table.values["quality"][:] = np.nan
    with pytest.raises(InputError, match="no graded outcome"):
        Router.fit(table)


def test_a_truncated_router_is_refused(router, tmp_path):
    router.save(tmp_path / "r")
    file = tmp_path / "r" / "predictor.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="truncated"):
        Router.load(tmp_path / "r")


def test_a_loaded_router_explains_even_when_its_folder_is_replaced(router, tmp_path):
    router.save(tmp_path / "r")
    serving = Router.load(tmp_path / "r")
    Router.fit(make_table(seed=3)).save(tmp_path / "r")
    near = serving.explain(Query("prime matrix sum integral"), k=2)
    assert [n.query_id for n in near] == [
        n.query_id for n in router.explain(Query("prime matrix sum integral"), k=2)
    ]
