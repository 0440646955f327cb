"""`herdwise candidates` lists the herd of a config, a router or an outcome folder."""

from __future__ import annotations

import pytest


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "herdwise.yaml"

    def write(*candidates: str, more: str = ""):
        listed = "".join(f"  - {{{c}, base_url: 'http://127.0.0.1:9/v1'}}\n" for c in candidates)
        file.write_text(f"candidates:\n{listed}{more}")
        return file

    return write


def test_a_config_lists_what_is_declared_and_leaves_the_unknown_unknown(herdwise, config):
    file = config(
        "name: a, params_b: 8, quality: 0.6, price: {input_usd_per_mtok: 1, output_usd_per_mtok: 2},"
        " tags: [y, x], released: 2024-05-06",
        "name: b, like: gemma-7b",
        "name: c",
    )
    run = herdwise("candidates", "--config", file, "--json")
    assert run.code == 0
    a, b, c = run.json["candidates"]
    assert (a["candidate"], a["params_b"], a["quality"], a["quality_from"]) == ("a", 8, 0.6, "declared")
    assert (a["input_usd_per_mtok"], a["output_usd_per_mtok"]) == (1, 2)
    assert (a["tags"], a["released"], a["active_params_b"]) == (["x", "y"], "2024-05-06", None)
    assert b["quality_from"] == "like gemma-7b"
    assert 0 < b["quality"] < 1
    assert (c["quality"], c["quality_from"], c["open_weights"]) == (None, "unknown", None)


def test_a_config_with_a_router_shows_the_mean_in_training(herdwise, config, saved_router):
    file = config("name: alpha", "name: mine, like: beta", more=f"router: {saved_router}\n")
    alpha, mine = herdwise("candidates", "--config", file, "--json").json["candidates"]
    assert alpha["quality_from"] == "mean in training"
    assert mine["quality_from"] == "mean in training of beta"
    assert alpha["params_b"] == 7


def test_a_router_lists_its_own_herd(herdwise, saved_router):
    run = herdwise("candidates", "--router", saved_router, "--json")
    assert [c["candidate"] for c in run.json["candidates"]] == ["alpha", "beta", "gamma"]
    assert all(0 < c["quality"] < 1 for c in run.json["candidates"])


def test_the_shipped_outcomes_are_listed_by_name(herdwise):
    run = herdwise("candidates", "--outcomes", "mmlu_pro")
    assert run.code == 0
    assert "mmlu_pro: 33 candidates" in run.out
    assert "Meta-Llama-3.1-70B-Instruct" in run.out
    assert "mean of 8,402 queries" in run.out


def test_two_sources_are_refused(herdwise, saved_router):
    run = herdwise("candidates", "--router", saved_router, "--outcomes", "mmlu_pro")
    assert run.code == 2
    assert "more than one source" in run.err


def test_without_a_source_the_config_in_this_folder_is_meant(herdwise, tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    assert "herdwise init" in herdwise("candidates").err
    config("name: a")
    assert herdwise("candidates", "--json").json["source"] == "herdwise.yaml"
