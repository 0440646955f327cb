"""`herdwise ledger` reads what was served, and writes over nothing else."""

import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.serving.ledger import Ledger
from herdwise.serving.records import AskRecord, DecisionRecord
from herdwise.storage.outcomes import read_outcomes, write_outcomes


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.db"
    made = Ledger(f"sqlite:///{path}")
    made.start(Herd([Candidate("a")]))
    made.record(
        DecisionRecord(
            "d",
            created_at=0.0,
            model="auto",
            policy="single",
            origin="declared",
            status="answered",
            text="Why?",
            asks=[AskRecord(0, "a", "answered", text="Because.")],
        )
    )
    made.close()
    return path


def test_an_export_may_be_written_again(herdwise, ledger, tmp_path):
    for _ in range(2):
        run = herdwise("ledger", "export", "--ledger", ledger, "--out", tmp_path / "served", "--json")
        assert run.code == 0
        assert run.json["outcomes"] == 1


def test_outcomes_of_another_origin_are_not_written_over(herdwise, ledger, make_outcomes, tmp_path):
    mine = write_outcomes(make_outcomes({"a": [1.0, 0.0]}), tmp_path / "mine")
    run = herdwise("ledger", "export", "--ledger", ledger, "--out", mine)
    assert run.code == 2
    assert "no ledger gave" in run.err
    assert read_outcomes(mine).n_outcomes == 2


def test_prune_says_what_would_go_and_then_takes_it(herdwise, ledger):
    keep = ("ledger", "prune", "--ledger", ledger, "--keep-texts-days", "30", "--json")
    told = {"texts": 1, "comments": 0, "decisions": 0, "stripped": 0}
    assert herdwise(*keep, "--dry-run").json == {"dry_run": True, **told}
    assert herdwise(*keep).json == {"dry_run": False, **told}
    run = herdwise("ledger", "prune", "--ledger", ledger, "--keep-texts-days", "30", "--keep-days", "30")
    assert "erased the texts of 0 decisions and 0 comments; deleted 1 decisions" in run.out
    run = herdwise("ledger", "prune", "--ledger", ledger)
    assert (run.code, "--keep-texts-days" in run.err) == (2, True)


def config_of(tmp_path, ledger):
    path = tmp_path / "herdwise.yaml"
    path.write_text(f"candidates:\n  - {{name: a, base_url: 'http://127.0.0.1:9/v1'}}\nledger: {ledger}\n")
    return path


def test_the_configs_ledger_is_taken_where_none_is_named(herdwise, ledger, tmp_path):
    config = config_of(tmp_path, "{url: 'sqlite:///ledger.db'}")  # relative to the config's folder
    told = ("ledger", "export", "--config", config, "--out", tmp_path / "served", "--json")
    assert herdwise(*told).json["outcomes"] == 1
    assert herdwise("ledger", "show", "--config", config, "--json").json["decisions"] == {"answered": 1}
    run = herdwise("ledger", "prune", "--config", config, "--keep-days", "30", "--dry-run", "--json")
    assert run.json["decisions"] == 1
    assert herdwise("keys", "create", "me", "--config", config, "--json").code == 0
    (key,) = herdwise("keys", "list", "--ledger", ledger, "--json").json["keys"]
    assert herdwise("keys", "revoke", key["key_id"], "--config", config).code == 0


def test_a_ledger_that_is_named_goes_over_the_configs(herdwise, ledger, tmp_path):
    config = config_of(tmp_path, "{url: 'sqlite:///other.db'}")
    run = herdwise("ledger", "show", "--config", config, "--ledger", ledger, "--json")
    assert run.json["decisions"] == {"answered": 1}
    assert not (tmp_path / "other.db").exists()


def test_without_a_ledger_the_remedy_is_told(herdwise, tmp_path):
    run = herdwise("ledger", "show", "--config", tmp_path / "none.yaml")
    assert (run.code, "none.yaml" in run.err, "--ledger" in run.err) == (2, True, True)
    run = herdwise("ledger", "show", "--config", config_of(tmp_path, "{enabled: false}"))
    assert (run.code, "ledger.enabled" in run.err, "--ledger" in run.err) == (2, True, True)
