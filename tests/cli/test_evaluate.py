"""``herdwise evaluate`` and ``herdwise report`` as a user types them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from herdwise.cli import main
from herdwise.routing.router import Router
from herdwise.storage.outcomes import write_outcomes

Run = Callable[..., int]


@pytest.fixture
def herdwise(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in this process; gives its exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["herdwise", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return code if isinstance(code, int) else 0

    return run


@pytest.fixture
def table(make_outcomes: Callable[..., Any]) -> Any:
    return make_outcomes(
        {"a": [1.0, 1.0, 0.0, 1.0], "b": [1.0, 0.0, 1.0, 1.0], "c": [0.0, 0.0, 1.0, 0.0]},
        split=["train", "train", "test", "test"],
        candidates={
            "a": {"params_b": 7.0, "active_params_b": 7.0, "open_weights": True},
            "b": {"params_b": 70.0, "active_params_b": 20.0, "open_weights": True},
            "c": {"open_weights": False},
        },
        cost_usd={"a": [1.0] * 4, "b": [2.0] * 4, "c": [3.0] * 4},
    )


@pytest.fixture
def folder(table: Any, tmp_path: Path) -> Path:
    write_outcomes(table, tmp_path / "outcomes")
    return tmp_path / "outcomes"


def test_json_is_one_object_with_the_promised_keys(
    herdwise: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert herdwise("evaluate", "--outcomes", folder, "--predictor", "mean", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert {
        *("n_train", "n_test", "n_candidates", "best_single", "oracle", "random", "router", "zero_router"),
        *("benchmarks", "micro", "macro", "excluded", "average", "cost_kind"),
    } <= value.keys()
    assert (value["best_single"]["candidate"], value["best_single"]["quality"]) == ("a", 0.5)
    assert value["router"]["picked"] == {"a": 1.0}
    assert (value["cost_kind"], value["router"]["cost_usd"]) == ("usd", 1.0)


def test_every_option_of_the_contract_is_taken(
    herdwise: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = herdwise(
        *("evaluate", "--outcomes", folder, "--policy", "single", "--max-params-b", 100),
        *(
            "--max-active-params-b",
            50,
            "--open-weights-only",
            "--candidates",
            "a,b",
            "--cost",
            "active_params",
        ),
        *("--average", "macro", "--quality-column", "quality", "--seed", 3, "--train-split", "train"),
        *("--test-split", "test", "--reference", "b", "--cost-weight", 0.01, "--min-quality", 0.4),
        *("--generalist", "b", "--encoder", "static", "--predictor", "mean", "--json"),
    )
    value = json.loads(capsys.readouterr().out)
    assert code == 0
    assert value["excluded"].keys() == {"c"}
    assert (value["average"], value["cost_kind"], value["n_candidates"]) == ("macro", "active_params", 2)
    assert value["reference"]["candidate"] == "b"
    assert value["pair"]["strong"] == "a"


def test_the_table_is_for_people(herdwise: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = herdwise("evaluate", "--outcomes", folder, "--predictor", "mean", "--max-params-b", 10)
    shown = capsys.readouterr().out
    assert code == 0
    assert "50.0%" in shown
    assert "params_b unknown" in shown


def test_a_router_is_measured_on_a_folder_with_the_test_split_alone(
    herdwise: Run, table: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Router.fit(table.split("train"), predictor="mean").save(tmp_path / "router")
    write_outcomes(table.split("test"), tmp_path / "test_only")
    code = herdwise(
        "evaluate", "--outcomes", tmp_path / "test_only", "--router", tmp_path / "router", "--json"
    )
    value = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (value["n_train"], value["best_single"]["candidate"]) == (2, "a")


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (["--candidates", "a,nobody"], "'nobody' is not in the herd", "Known: a, b, c"),
        (["--cost", "latency"], "cost 'latency' is unknown for a, b, c", "Record latency_s"),
        (["--cost", "gold"], "there is no cost 'gold'", "usd, active_params, latency, calls"),
        (["--average", "median"], "there is no average 'median'", "micro, macro"),
        (["--max-params-b", "1"], "no candidate is left", "Relax a limit"),
        (["--test-split", "dev"], "no query in split 'dev'", "--test-split"),
        (["--quality-column", "correct"], "no column 'correct'", "quality"),
        (["--policy", "oracle"], "there is no policy 'oracle'", "single"),
        (["--reference", "nobody"], "'nobody' is not in the herd", "Known"),
        (["--min-quality", "0.9"], "no generalist is named", "generalist"),
    ],
)
def test_bad_input_ends_with_exit_code_2_and_the_remedy(
    herdwise: Run,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
    remedy: str,
) -> None:
    assert herdwise("evaluate", "--outcomes", folder, "--predictor", "mean", "--json", *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert remedy in said.err


def test_a_candidate_that_the_router_does_not_know_ends_with_exit_code_2_and_the_remedy(
    herdwise: Run, table: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Router.fit(table.split("train").restrict(["a", "b"]), predictor="mean").save(tmp_path / "router")
    command = ("evaluate", "--outcomes", folder, "--router", tmp_path / "router")
    assert herdwise(*command) == 2
    assert "--candidates" in capsys.readouterr().err
    assert herdwise(*command, "--candidates", "a,b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_candidates"] == 2
    assert herdwise(*command, "--candidates", "a,b", "--predictor", "mean") == 2


def test_the_report_is_written_where_it_was_asked_for(
    herdwise: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("report", "--outcomes", folder, "--predictor", "mean", "--out")
    assert herdwise(*command, tmp_path / "report.html", "--json") == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "report.html")
    assert "</html>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert herdwise(*command, tmp_path / "missing" / "report.html") == 2


@pytest.fixture
def answered(make_outcomes: Callable[..., Any], tmp_path: Path) -> Path:
    """Three candidates with recorded answers; those who agree are right."""
    right = {
        name: [float(i % step != 0) for i in range(160)] for name, step in (("a", 3), ("b", 4), ("c", 5))
    }
    table = make_outcomes(
        right,
        split=["train"] * 120 + ["test"] * 40,
        candidates={n: {"active_params_b": 7.0 + i} for i, n in enumerate(right)},
        answers={name: ["A" if q else name.upper() + "!" for q in values] for name, values in right.items()},
    )
    write_outcomes(table, tmp_path / "answered")
    return tmp_path / "answered"


def test_a_policy_that_consults_is_measured_with_everybody_asked(
    herdwise: Run, answered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("evaluate", "--outcomes", answered, "--predictor", "mean", "--reference", "a", "--json")
    found = {}
    for policy, options in (("single", ()), ("vote", ("k=3", "enough=1.0")), ("consult", ("until=1.0",))):
        given = [part for option in options for part in ("--policy-option", option)]
        assert herdwise(*command, "--policy", policy, *given) == 0
        found[policy] = json.loads(capsys.readouterr().out)["router"]
    assert found["single"]["calls_per_query"] == 1.0
    assert found["consult"]["calls_per_query"] > 1.0
    assert found["vote"]["quality"] >= found["single"]["quality"]
    assert 7.0 < found["vote"]["effective_params_b"] <= 24.0
    for figures in found.values():
        assert 0.0 <= figures["accuracy_at_half_coverage"] <= 1.0
        assert figures["auroc"] is None or 0.0 <= figures["auroc"] <= 1.0
        assert 0.0 <= figures["reference_misses_rescued"] <= 1.0


def test_consult_without_recorded_answers_is_refused_with_the_remedy(
    herdwise: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert herdwise("evaluate", "--outcomes", folder, "--predictor", "mean", "--policy", "consult") == 2
    assert "outcomes that have answers" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("option", ["threshold", "threshold=high", "limit=3", "threshold=2"])
def test_a_senseless_policy_option_ends_with_exit_code_2(herdwise: Run, folder: Path, option: str) -> None:
    line = ("evaluate", "--outcomes", folder, "--policy", "cascade", "--policy-option", option)
    assert herdwise(*line) == 2


def test_training_says_whether_fusion_was_learned(
    herdwise: Run, answered: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for outcomes, learned in ((answered, True), (folder, False)):
        line = (
            "train",
            "--outcomes",
            outcomes,
            "--out",
            tmp_path / f"router{learned}",
            "--predictor",
            "mean",
        )
        assert herdwise(*line, "--json") == 0
        assert json.loads(capsys.readouterr().out)["fusion"] is learned


def test_the_encoder_that_is_trained_takes_options(
    herdwise: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("evaluate", "--outcomes", folder, "--encoder", "tfidf", "--predictor", "mean", "--json")
    assert herdwise(*given, "--encoder-option", "n_features=4") == 0
    assert herdwise(*given, "--encoder-option", "n_features=0") == 2
    assert "n_features" in capsys.readouterr().err


def test_a_router_whose_encoder_needs_a_key_is_measured_with_it(
    herdwise: Run,
    folder: Path,
    threaded_upstream: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upstream = threaded_upstream(models=("embed",), api_key="sk-one")
    monkeypatch.setenv("EMBED_KEY", "sk-one")
    key = ("--encoder-option", "api_key=${EMBED_KEY}")
    remote = ("--encoder", "remote", "--encoder-option", f"base_url={upstream.base_url}")
    remote += ("--encoder-option", "model=embed")
    learned = ("train", "--outcomes", folder, "--predictor", "mean", "--out", tmp_path / "r")
    assert herdwise(*learned, *remote, *key) == 0
    measured = ("evaluate", "--outcomes", folder, "--router", tmp_path / "r")
    assert herdwise(*measured) == 1
    assert "401" in capsys.readouterr().err
    assert herdwise(*measured, *key) == 0
    page = ("--out", tmp_path / "page.html")
    assert herdwise("report", *measured[1:], *page, *key) == 0
    assert herdwise(*measured, "--encoder-option", "model=other") == 2
    assert "takes no local option 'model'" in capsys.readouterr().err


def test_a_limit_is_kept_and_how_often_it_was_exceeded_is_said(
    herdwise: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("evaluate", "--outcomes", folder, "--predictor", "mean", "--max-cost-usd", 1.5, "--json")
    assert herdwise(*given) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["router"]["picked"] == {"a": 1.0}
    assert "max_cost_usd 1.5: exceeded by 0.0% of 2 answers (it was to hold with 0.8)." in value["warnings"]
    assert herdwise(*given, "--limit-probability", 0.95) == 0
    assert "hold with 0.95" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--limit-probability", "1"], "--limit-probability 1.0 is out of range"),
        (["--min-quality-probability", "0"], "--min-quality-probability 0.0 is out of range"),
        (["--max-latency-s", "inf"], "--max-latency-s inf is no limit"),
        (["--max-params-b", "nan"], "--max-params-b nan is no limit"),
        (["--cost-weight", "inf"], "--cost-weight inf is no limit"),
        (["--leave-margin", "inf"], "--leave-margin inf is no limit"),
        (["--min-quality", "0.5"], "--generalist NAME"),
    ],
)
def test_a_goal_that_cannot_be_met_is_refused_before_anything_is_read(given, message):
    command = [sys.executable, "-c", "from herdwise.cli import main; main()", "evaluate"]
    done = subprocess.run(
        [*command, "--outcomes", "nowhere", *given], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
