from pathlib import Path

import numpy as np

from herdwise.backends.nano.folder import NanoConfig, write_model
from herdwise.backends.nano.model import NanoModel
from herdwise.core.outcomes import OutcomeTable
from herdwise.experts.families import Item, split_of
from herdwise.experts.nano_profile import ask_all, herd_items, joined, questions
from herdwise.experts.nano_torch import initial_tensors
from herdwise.routing.router import Router
from herdwise.storage.outcomes import read_outcomes
from herdwise.storage.write_outcomes import write_outcomes


def nano(folder: Path, seed: int) -> Path:
    config = NanoConfig(width=16, layers=1, heads=2, kv_heads=2, hidden=32, max_context=160)
    return write_model(folder, config, initial_tensors(config, seed), {})


def answerable(model: Path, items: list[tuple[str, Item]]) -> OutcomeTable:
    """The items, every other one with what the model says as its reference."""
    asked = questions(items)
    said = NanoModel.load(model).answer_all(asked.texts, 64)
    references = [text if i % 2 else "something else" for i, text in enumerate(said)]
    return OutcomeTable(**{**vars(asked), "references": references, "_cache": {}})


def test_herd_items_take_both_splits_from_contents_that_no_model_was_trained_on() -> None:
    items = herd_items(["dates", "sums", "mixed"], 90, 60, seed=0)
    assert items == herd_items(["dates", "sums", "mixed"], 90, 60, seed=0)
    assert len({item.query for _, item in items}) == len(items) == 150
    assert {(split, split_of(item)) for split, item in items} == {("train", "dev"), ("test", "test")}
    assert [item.family for split, item in items if split == "test"].count("mixed") == 20


def test_every_model_is_asked_every_query_and_graded_by_the_reference(tmp_path: Path) -> None:
    folders = {name: nano(tmp_path / name, seed) for seed, name in enumerate("ab")}
    asked = answerable(folders["a"], herd_items(["roman", "verbs"], 40, 20))
    table = ask_all(folders, asked)
    quality = table.matrix("quality")
    assert quality.shape == (60, 2)
    np.testing.assert_array_equal(quality[:, 0], np.arange(60) % 2)
    assert quality[:, 1].mean() < 0.5
    assert np.isfinite(table.matrix("latency_s")[:, 0]).sum() == 3
    assert (table.matrix("cost_usd") == 0).all()
    for column in ("mean_logprob", "min_logprob", "answer_logprob"):
        assert (table.matrix(column) <= 0).all()
    assert table.herd[0].params_b == NanoModel.load(folders["a"]).config.n_params / 1e9


def test_tables_of_several_runs_become_one_by_query_and_candidate(tmp_path: Path) -> None:
    folders = {name: nano(tmp_path / name, seed) for seed, name in enumerate("ab")}
    old, new = (answerable(folders["a"], herd_items([name], 20, 20)) for name in ("dates", "sums"))
    whole = joined([ask_all({"a": folders["a"]}, old), ask_all(folders, new)])
    assert whole.herd.names == ["a", "b"]
    quality = whole.matrix("quality")
    np.testing.assert_array_equal(np.isfinite(quality[:, 1]), np.array(whole.benchmarks) == "sums")
    assert np.isfinite(quality[:, 0]).all()
    assert whole.answer_matrix()[0, 0] == ask_all({"a": folders["a"]}, old).answer_matrix()[0, 0]


def test_the_table_can_be_kept_and_learned_from(tmp_path: Path) -> None:
    folders = {name: nano(tmp_path / name, seed) for seed, name in enumerate("ab")}
    table = ask_all(folders, answerable(folders["a"], herd_items(["units", "verbs"], 160, 40)))
    read = read_outcomes(write_outcomes(table, tmp_path / "outcomes"))
    np.testing.assert_array_equal(read.matrix("quality"), table.matrix("quality"))
    router = Router.fit(read.split("train"), predictor="mean")
    assert router.herd.names == ["a", "b"]
