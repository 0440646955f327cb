"""Enlist: a candidate is added from a few outcomes, exchanged and removed, without training again."""

import dataclasses

import msgspec
import numpy as np
import pytest

from herdwise import Candidate, Goals, Herd, OutcomeTable, Query, Router, evaluate
from herdwise.core.errors import InputError, UnknownNameError
from herdwise.core.money import UNKNOWN_PRICE, Price
from herdwise.prediction.resources_quantiles import LEVELS
from herdwise.routing.admitted import Admitted
from herdwise.routing.enlist import choose_probes, recorded_by
from herdwise.routing.single import ranking

#: Chances of being right on maths and on poems.
SKILLS = {
    "maths-a": (0.95, 0.15),
    "maths-b": (0.85, 0.2),
    "maths-c": (0.8, 0.1),
    "poet-a": (0.2, 0.95),
    "poet-b": (0.1, 0.85),
    "poet-c": (0.15, 0.8),
    "weak": (0.1, 0.1),
    "newcomer": (0.98, 0.05),
    "scribe": (0.05, 0.98),
}
LATE = ("newcomer", "scribe")
WORDS = [["integral", "matrix", "sum", "prime"], ["sonnet", "novel", "poem", "rhyme"]]


def make_table(n=400, seed=0, **columns):
    """Two kinds of queries. The newcomers are in the table too, so that the truth is known."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    texts = [" ".join(rng.choice(WORDS[k], 4)) + f" number {i}" for i, k in enumerate(kind)]
    chance = np.array(list(SKILLS.values()))[:, kind].T
    quality = (rng.random(chance.shape) < chance).astype(np.float64)
    m = len(SKILLS)
    query, candidate = np.divmod(np.arange(n * m), m)
    values = {"quality": quality.ravel()}
    for name, per_candidate in columns.items():
        values[name] = np.asarray(per_candidate, dtype=np.float64)[candidate]
    return OutcomeTable(
        herd=Herd(
            Candidate(name, price=Price(1.0, 2.0) if name in LATE else UNKNOWN_PRICE) for name in SKILLS
        ),
        query_ids=[f"q{i}" for i in range(n)],
        texts=texts,
        benchmarks=[("maths", "poems")[k] for k in kind],
        splits=["train"] * n,
        query_index=query.astype(np.int32),
        candidate_index=candidate.astype(np.int32),
        sample=np.zeros(n * m, dtype=np.int32),
        values=values,
        name="made",
    )


KNOWN = [name for name in SKILLS if name not in LATE]


@pytest.fixture(scope="module")
def table():
    tokens = [100.0, 100, 100, 300, 300, 300, 50, 200, 600]
    return make_table(output_tokens=tokens, latency_s=[1.0, 1, 1, 3, 3, 3, 0.5, 2, 6])


@pytest.fixture(scope="module")
def router(table):
    return Router.fit(table.restrict(KNOWN), predictor="ridge")


@pytest.fixture(scope="module")
def probes(table, router):
    rows = choose_probes(recorded_by(router), 30)
    return table.take(rows)


@pytest.fixture(scope="module")
def enlisted(table, router, probes):
    return router.enlist(table.herd["newcomer"], probes)


def favourite(router, text):
    order, _ = ranking(router.situation(Query(text), Goals()))
    return router.herd.names[order[0]]


def test_thirty_outcomes_tell_what_a_newcomer_is_good_at(table, enlisted):
    quality = enlisted.estimate(
        [Query("the sum of a matrix integral"), Query("a poem that will rhyme")]
    ).quality
    column = enlisted.herd.index("newcomer")
    assert quality[0, column] > 0.75
    assert quality[1, column] < 0.3


def test_its_level_comes_with_an_interval_that_holds_the_truth_and_names_the_likest(table, router, probes):
    admission = router.consider(table.herd["newcomer"], probes)
    truth = float(table.matrix()[:, table.herd.index("newcomer")].mean())
    assert admission.low < truth < admission.high
    assert 0.02 < admission.high - admission.low < 0.4
    assert admission.alike[0][0].startswith("maths")
    assert admission.n_probes == 30
    assert sum(share for _, share in admission.alike) == pytest.approx(1.0)


def test_the_interval_is_wider_with_fewer_outcomes(table, router, probes):
    few, many = (
        router.consider(table.herd["newcomer"], part) for part in (probes.take(np.arange(6)), probes)
    )
    assert few.high - few.low > 1.2 * (many.high - many.low)


def test_considering_changes_nothing_and_enlisting_leaves_the_others_alone(table, router, probes, enlisted):
    queries = table.queries()[:20]
    before = router.estimate(queries)
    router.consider(table.herd["scribe"], probes)
    assert router.herd.names == KNOWN
    after = enlisted.estimate(queries)
    np.testing.assert_array_equal(after.quality[:, :-1], before.quality)
    np.testing.assert_array_equal(after.output_tokens[:, :-1], before.output_tokens)


def test_one_query_is_predicted_as_in_a_batch(enlisted):
    queries = [Query("prime sum"), Query("a novel sonnet", chars=900)]
    batch = enlisted.estimate(queries)
    for i, query in enumerate(queries):
        one = enlisted.estimate_one(query)
        for field in ("quality", "cost_usd", "latency_s", "output_tokens"):
            np.testing.assert_allclose(
                getattr(one, field), getattr(batch.row(i), field), rtol=1e-4, atol=1e-6
            )


def test_length_latency_and_cost_follow_what_the_probes_recorded(table, enlisted):
    got = enlisted.estimate([Query("the sum of a matrix integral")])
    assert got.output_tokens[0, -1] == pytest.approx(200, rel=0.15)
    assert got.latency_s[0, -1] == pytest.approx(2.0, rel=0.15)
    tokens = Query("the sum of a matrix integral").input_tokens
    assert got.cost_usd[0, -1] == pytest.approx((tokens + 2 * got.output_tokens[0, -1]) / 1e6)


def test_without_recorded_length_it_is_that_of_the_likest_and_latency_stays_unknown(table, router, probes):
    bare = dataclasses.replace(probes, values={"quality": probes.values["quality"]}, _cache={})
    got = router.enlist(table.herd["scribe"], bare).estimate([Query("a poem that will rhyme")])
    assert 200 < got.output_tokens[0, -1] < 320
    assert np.isnan(got.latency_s[0, -1])
    assert got.cost_usd[0, -1] > 0


def test_a_saved_router_keeps_who_was_enlisted_and_explains_by_the_probes(enlisted, probes, tmp_path):
    enlisted.save(tmp_path / "r")
    again = Router.load(tmp_path / "r")
    assert again.herd.names == [*KNOWN, "newcomer"]
    assert again.facts == enlisted.facts
    queries = probes.queries()
    for field in ("quality", "cost_usd", "latency_s", "output_tokens"):
        np.testing.assert_allclose(
            getattr(again.estimate(queries), field), getattr(enlisted.estimate(queries), field), rtol=1e-6
        )
    nearest = again.explain(queries[0], 1)[0]
    assert nearest.query_id == queries[0].id
    assert nearest.outcomes["newcomer"] == probes.matrix()[0, probes.herd.index("newcomer")]


def test_a_router_folder_of_the_first_format_still_loads(router, tmp_path):
    router.save(tmp_path / "r")
    file = tmp_path / "r" / "manifest.json"
    manifest = msgspec.json.decode(file.read_bytes())
    manifest["format_version"] = 1
    del manifest["removed"], manifest["facts"]["enlisted"]
    file.write_bytes(msgspec.json.encode(manifest))
    again = Router.load(tmp_path / "r")
    assert again.herd.names == KNOWN
    assert again.facts == router.facts


def test_what_a_router_keeps_predicts_as_its_training_texts_do(table, router, tmp_path):
    router.save(tmp_path / "r")
    kept, told = recorded_by(Router.load(tmp_path / "r")), recorded_by(router, table.restrict(KNOWN))
    assert list(kept.query_ids) == list(told.query_ids)
    np.testing.assert_allclose(kept.outcomes, told.outcomes, atol=0.005)
    np.testing.assert_allclose(kept.predicted, told.predicted, atol=0.05)


def test_the_facts_call_an_enlisted_mean_an_estimate(enlisted, table):
    facts = enlisted.facts
    assert facts.coverage["newcomer"] == pytest.approx(30 / table.n_queries)
    told = facts.enlisted["newcomer"]
    assert told["n_probes"] == 30
    assert told["low"] < facts.mean_micro["newcomer"] < told["high"]


def test_two_are_enlisted_one_after_the_other_and_the_first_is_removed(table, enlisted, probes, tmp_path):
    both = enlisted.enlist(table.herd["scribe"], probes)
    queries = table.queries()[:10]
    of_scribe = both.estimate(queries).quality[:, -1]
    left = both.remove("newcomer")
    left.save(tmp_path / "r")
    for one in (left, Router.load(tmp_path / "r")):
        assert one.herd.names == [*KNOWN, "scribe"]
        np.testing.assert_allclose(one.estimate(queries).quality[:, -1], of_scribe, atol=1e-6)
        assert "newcomer" not in one.facts.mean_micro
        assert "newcomer" not in one.explain(probes.queries()[0], 1)[0].outcomes


def test_a_learned_candidate_is_exchanged_for_a_new_version_of_the_same_name(table, router, probes, tmp_path):
    renamed = dataclasses.replace(
        probes,
        herd=Herd(c.replace(name={"weak": "old", "scribe": "weak"}.get(c.name, c.name)) for c in probes.herd),
    )
    exchanged = router.remove("weak").enlist(Candidate("weak"), renamed)
    exchanged.save(tmp_path / "r")
    for one in (exchanged, Router.load(tmp_path / "r")):
        assert sorted(one.herd.names) == sorted(KNOWN)
        poem = one.estimate_one(Query("a poem that will rhyme")).quality
        assert poem[one.herd.index("weak")] > 0.75
        nearest = one.explain(probes.queries()[0], 1)[0]
        assert nearest.outcomes["weak"] == probes.matrix()[0, probes.herd.index("scribe")]


def test_a_removed_candidate_stays_away_after_saving(router, tmp_path):
    router.remove("maths-a").save(tmp_path / "r")
    again = Router.load(tmp_path / "r")
    assert "maths-a" not in again.herd
    assert favourite(again, "the sum of a matrix integral") in {"maths-b", "maths-c"}
    assert "maths-a" not in again.facts.coverage
    with pytest.raises(InputError, match="does not know candidate 'maths-a'"):
        again.adapt(Herd([Candidate("maths-a")]))


def test_a_candidate_may_be_declared_like_an_enlisted_one(enlisted):
    adapted = enlisted.adapt(Herd([Candidate("twin", like="newcomer"), Candidate("weak")]))
    query = Query("the sum of a matrix integral")
    known = enlisted.restrict(["weak", "newcomer"])
    assert adapted.estimate_one(query).quality[0] == known.estimate_one(query).quality[1]


def test_mistakes_are_named(table, router, probes):
    with pytest.raises(InputError, match="already in the herd"):
        router.consider(table.herd["weak"], probes)
    with pytest.raises(InputError, match="holds no outcome of 'stranger'"):
        router.consider(Candidate("stranger"), probes)
    ungraded = dataclasses.replace(probes, values={"quality": np.full(probes.n_outcomes, np.nan)}, _cache={})
    with pytest.raises(InputError, match="no graded outcome of 'scribe'"):
        router.consider(table.herd["scribe"], ungraded)
    with pytest.raises(UnknownNameError, match="stranger"):
        router.remove("stranger")
    last = router.restrict(["weak"])
    last = dataclasses.replace(last, trained=last.herd)
    with pytest.raises(InputError, match="last candidate"):
        last.remove("weak")


def test_three_outcomes_are_enough_but_a_warning_gives_the_interval(table, router, probes):
    admission = router.consider(table.herd["scribe"], probes.take(np.arange(3)))
    assert any("3 graded outcomes" in warning and "%" in warning for warning in admission.warnings)


def test_who_ran_most_of_the_queries_had_better_be_trained_with(table, router, probes):
    told = router.consider(table.herd["scribe"], table).warnings
    assert any("training again" in warning for warning in told)
    assert router.consider(table.herd["scribe"], probes).warnings == ()


def test_probes_of_queries_that_nobody_met_are_used_and_said(table, router):
    fresh = make_table(n=40, seed=9)
    fresh = dataclasses.replace(fresh, query_ids=[f"new{i}" for i in range(40)])
    admission = router.consider(fresh.herd["newcomer"], fresh)
    assert (admission.rows == -1).all()
    assert any("40 of 40 probes are not among the recorded" in warning for warning in admission.warnings)
    quality = router.admit(admission).estimate([Query("the sum of a matrix integral"), Query("a rhyme poem")])
    assert quality.quality[0, -1] > quality.quality[1, -1] + 0.3


def test_a_router_that_keeps_no_queries_needs_the_training_outcomes(table, probes):
    forgetful = Router.fit(table.restrict(KNOWN), predictor="ridge", keep_texts=False)
    with pytest.raises(InputError, match="without keeping its queries"):
        forgetful.consider(table.herd["newcomer"], probes)
    told = forgetful.consider(table.herd["newcomer"], probes, table.restrict(KNOWN))
    assert (told.rows >= 0).all()


def test_an_enlisted_candidate_takes_part_in_an_evaluation(table, enlisted):
    test = dataclasses.replace(make_table(n=120, seed=5), splits=["test"] * 120)
    found = evaluate(test.restrict(["poet-c", "weak", "newcomer"]), router=enlisted)
    assert found.n_candidates == 3
    assert found.router.picked["newcomer"] > 0.1


def test_a_shorter_list_of_probes_is_the_beginning_of_a_longer_one(router):
    recorded = recorded_by(router)
    longer = choose_probes(recorded, 20)
    np.testing.assert_array_equal(choose_probes(recorded, 7), longer[:7])
    assert len(set(longer.tolist())) == 20
    assert len(choose_probes(recorded, 10_000)) == 400


def one_admitted(level_std):
    """One newcomer, said to be 0.05 better than the best of two learned candidates."""
    return Admitted(
        herd=Herd([Candidate("new")]),
        weights=np.array([[0.0, 1.0]], dtype=np.float32),
        offset=np.array([0.05], dtype=np.float32),
        level_std=np.array([level_std], dtype=np.float32),
        factors=np.zeros((1, 3, 2)),
        constants=np.full((1, 3), np.nan),
        spread=np.full((1, 3, len(LEVELS)), np.nan),
    )


def test_an_advantage_within_the_error_of_a_few_probes_does_not_overtake() -> None:
    learned = np.array([[0.3, 0.6], [0.5, 0.2]], dtype=np.float32)
    unsure = one_admitted(level_std=0.2).quality(learned, best=1)
    assert unsure[0].argmax() == 1
    assert 0.599 < unsure[0, 2] < 0.6  # a hair below, so that the order of the rest survives
    surer = one_admitted(level_std=0.02).quality(learned, best=1)
    assert surer[0].argmax() == 2
    np.testing.assert_allclose(surer[0, 2], 0.64, atol=1e-6)


def test_a_newcomer_that_is_surely_better_is_not_held_back() -> None:
    learned = np.array([0.3, 0.6], dtype=np.float32)
    trusted = one_admitted(level_std=0.2).quality(learned, best=1, trusted=np.array([True]))
    np.testing.assert_allclose(trusted[2], 0.65, atol=1e-6)


def test_a_router_holds_an_enlisted_candidate_to_the_best_learned_one_that_is_served(
    router, enlisted
) -> None:
    level = {name: router.facts.mean_micro[name] for name in KNOWN}
    for herd in ([*KNOWN, "newcomer"], ["weak", "maths-b", "newcomer"]):
        served = enlisted.restrict(herd)
        best = max((name for name in herd if name in level), key=lambda name: level[name])
        column = enlisted.columns.names.index(best)
        learned = served.predictor.predict_one(served.encoder.encode_one("the sum of a matrix integral"))
        own = served.with_enlisted(learned)[-1]
        free = served.admitted.quality(learned)[-1]
        assert own < free if free > learned[column] else own == free
