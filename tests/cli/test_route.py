"""`herdwise route` shows ranking, removals, neighbours and the pick, and refuses what cannot be decided."""

from __future__ import annotations

import pytest

SPELL, ADD = "spell the word apple after stone", "add the number seven to ninety"


@pytest.fixture
def config(tmp_path):
    def write(*candidates: str, more: str = ""):
        file = tmp_path / "herdwise.yaml"
        listed = "".join(f"  - {{{c}, base_url: 'http://127.0.0.1:9/v1'}}\n" for c in candidates)
        file.write_text(f"candidates:\n{listed}{more}")
        return file

    return write


def test_the_pick_follows_the_query(herdwise, saved_router):
    spelling = herdwise("route", SPELL, "--router", saved_router, "--json").json
    adding = herdwise("route", ADD, "--router", saved_router, "--json").json
    assert (spelling["pick"], adding["pick"]) == (["alpha"], ["beta"])
    assert spelling["origin"] == "router"
    assert spelling["ranking"][0]["candidate"] == "alpha"
    assert spelling["ranking"][0]["quality"] > spelling["ranking"][1]["quality"]
    assert spelling["ranking"][0]["cost_usd"] > 0
    assert spelling["ranking"][1]["cost_usd"] is None


def test_the_pick_is_explained_by_parts_that_add_up_and_by_quantiles(herdwise, saved_router):
    told = herdwise("route", SPELL, "--router", saved_router, "--max-output-tokens", 500, "--json").json
    first = told["ranking"][0]
    assert sum(first["parts"].values()) == pytest.approx(first["quality"], abs=1e-5)
    assert first["quality_interval"] is None  # its predictor states no error
    assert first["at_most"]["output_tokens"]["0.1"] <= first["at_most"]["output_tokens"]["0.9"]
    assert told["limit_probability"] == 0.8
    shown = herdwise("route", SPELL, "--router", saved_router).out
    assert "alpha: " in shown
    assert "% = mean" in shown
    assert "output_tokens at most" in shown


def test_a_probability_reaches_the_goals(herdwise, saved_router):
    wish = ["--min-quality", "0.5", "--generalist", "gamma", "--min-quality-probability", "0.9"]
    wish += ["--limit-probability", "0.95", "--json"]
    told = herdwise("route", ADD, "--router", saved_router, *wish).json
    assert told["goals"]["limit_probability"] == 0.95
    assert "with probability 0.9" in told["reason"]


def test_the_nearest_recorded_queries_explain_the_pick(herdwise, saved_router):
    run = herdwise("route", SPELL, "--router", saved_router, "-k", 3, "--json").json
    assert len(run["neighbours"]) == 3
    assert run["neighbours"][0]["benchmark"] == "spelling"
    assert run["neighbours"][0]["outcomes"]["alpha"] == 1.0
    assert herdwise("route", SPELL, "--router", saved_router, "-k", 0, "--json").json["neighbours"] == []


def test_the_table_names_the_pick_and_its_reason(herdwise, saved_router):
    run = herdwise("route", SPELL, "--router", saved_router, "--max-params-b", 50)
    assert run.code == 0
    assert "single asks alpha: best predicted quality." in run.out
    assert "params_b 70 > 50" in run.out
    assert "params_b unknown" in run.out
    assert "Nearest recorded queries" in run.out


@pytest.mark.parametrize(
    ("flags", "removed"),
    [
        (["--max-params-b", "50"], {"beta": "params_b 70 > 50", "gamma": "params_b unknown"}),
        (["--max-active-params-b", "70"], {"gamma": "active_params_b unknown"}),
        (["--open-weights-only"], {"gamma": "open_weights unknown"}),
        (["--candidates", "alpha, beta"], {"gamma": "not among the allowed candidates"}),
        (
            ["--max-cost-usd", "1"],
            {"beta": "predicted cost_usd unknown", "gamma": "predicted cost_usd unknown"},
        ),
        (["--max-output-tokens", "1000"], {}),
    ],
)
def test_a_limit_removes_who_does_not_meet_it_and_says_why(herdwise, saved_router, flags, removed):
    assert herdwise("route", SPELL, "--router", saved_router, *flags, "--json").json["removed"] == removed


@pytest.mark.parametrize(
    "flags",
    [
        ["--max-latency-s", "10"],
        ["--licences", "MIT"],
        ["--released-after", "2024-01-01"],
        ["--tags", "on-premises"],
        ["--max-params-b", "1"],
    ],
)
def test_a_limit_that_nobody_meets_is_refused_with_everybodys_reason(herdwise, saved_router, flags):
    run = herdwise("route", SPELL, "--router", saved_router, *flags)
    assert run.code == 2
    assert "no candidate meets the constraints" in run.err
    assert "alpha:" in run.err


def test_weighing_a_cost_removes_those_whose_cost_is_unknown(herdwise, saved_router):
    run = herdwise("route", ADD, "--router", saved_router, "--cost-weight", "1", "--json").json
    assert run["pick"] == ["alpha"]
    assert set(run["removed"]) == {"beta", "gamma"}


def test_weighing_a_cost_that_nobodys_is_known_of_is_refused_with_the_remedy(herdwise, saved_router):
    run = herdwise("route", ADD, "--router", saved_router, "--candidates", "beta", "--cost-weight", "1")
    assert run.code == 2
    assert "no candidate's cost (usd) is known" in run.err
    assert "price" in run.err
    known = ["--cost-weight", "0.001", "--cost", "active_params"]
    assert herdwise("route", ADD, "--router", saved_router, "--candidates", "beta", *known).code == 0


def test_a_preference_moves_the_pick(herdwise, saved_router):
    both = ["--router", saved_router, "--candidates", "alpha,beta", "--json"]
    assert herdwise("route", ADD, *both).json["pick"] == ["beta"]
    assert herdwise("route", ADD, *both, "--prefer", "size=2").json["pick"] == ["alpha"]


def test_below_the_wanted_quality_the_generalist_answers(herdwise, saved_router):
    wish = ["--min-quality", "0.99", "--generalist", "gamma", "--json"]
    run = herdwise("route", ADD, "--router", saved_router, *wish).json
    assert run["pick"] == ["gamma"]
    assert "handed to the generalist" in run["reason"]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--candidates", "alpha,delta"], "'delta' is not in the herd"),
        (["--min-quality", "0.9"], "no generalist is named"),
        (["--min-quality", "0.9", "--generalist", "delta"], "'delta' is not in the herd"),
        (["--min-quality", "1.5"], "out of range"),
        (["--cost", "dollars"], "there is no cost 'dollars'"),
        (["--prefer", "size"], "is not NAME=WEIGHT"),
        (["--prefer", "speed=1"], "there is no preference 'speed'"),
        (["--prefer", "size=-1"], "out of range"),
        (["--cost-weight", "-1"], "out of range"),
        (["--cost-weight", "nan"], "out of range"),
        (["--leave-margin", "-1"], "--leave-margin: -1 is out of range"),
        (["--limit-probability", "0.999"], "out of range"),
        (["--released-after", "yesterday"], "is no day"),
        (["--config", "herdwise.yaml"], "both --router and --config"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(herdwise, saved_router, flags, problem):
    run = herdwise("route", SPELL, "--router", saved_router, *flags)
    assert run.code == 2
    assert problem in run.err
    assert "Traceback" not in run.err


def test_a_config_routes_by_its_goals_and_flags_go_before_them(herdwise, config, saved_router):
    file = config(
        "name: alpha",
        "name: beta",
        more=f"router: {saved_router}\ngoals: {{constraints: {{max_params_b: 50}}}}\n",
    )
    assert herdwise("route", ADD, "--config", file, "--json").json["pick"] == ["alpha"]
    loose = herdwise("route", ADD, "--config", file, "--max-params-b", "100", "--json").json
    assert loose["pick"] == ["beta"]


def test_without_a_router_declared_qualities_rank_and_the_table_says_so(herdwise, config):
    file = config("name: a, quality: 0.3", "name: b, quality: 0.8")
    run = herdwise("route", SPELL, "--config", file)
    assert "no trained router" in run.out
    assert "single asks b" in run.out
    assert herdwise("route", SPELL, "--config", file, "--json").json["origin"] == "declared"


def test_a_missing_config_or_router_is_refused(herdwise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "there is no config file 'herdwise.yaml'" in herdwise("route", SPELL).err
    run = herdwise("route", SPELL, "--router", tmp_path / "none")
    assert run.code == 2
    assert "none" in run.err
