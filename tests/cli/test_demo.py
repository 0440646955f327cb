"""``herdwise demo``; what it serves is shown by test_demo_live.py and tests/test_runs.py."""

from __future__ import annotations

from herdwise.config.load import load
from herdwise.storage.outcomes import read_outcomes


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_trained(herdwise, tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = herdwise("demo", "--dir", tmp_path / "file" / "run", "--no-serve")
    assert run.code == 2
    assert str(tmp_path / "file") in run.err
    assert run.out == ""


def test_outcomes_that_tell_no_story_are_refused(herdwise, tmp_path):
    run = herdwise("demo", "--dir", tmp_path / "run", "--outcomes", "routerbench")
    assert run.code == 2
    assert "nano or mmlu_pro" in run.err
    assert not (tmp_path / "run").exists()


def test_it_writes_a_config_of_the_whole_herd_and_keeps_one_that_was_edited(herdwise, tmp_path):
    folder = tmp_path / "run"
    config, router = folder / "herdwise.yaml", folder / "router" / "manifest.json"
    shown = herdwise("demo", "--dir", folder, "--no-serve")
    assert shown.code == 0, shown.err
    names = read_outcomes("nano").herd.names
    for told in ("best single", "herd, routed (single)", "herd, cascade", "oracle", *names):
        assert told in shown.out
    read = load(config, {})
    assert [c.name for c in read.candidates] == list(names)
    assert {c.backend for c in read.candidates} == {"embedded"}
    assert (read.goals.generalist, read.ledger.enabled) == ("generalist", True)
    assert len(read.server.console_examples) > len(names)

    config.write_text(config.read_text().replace("  name: single", "  name: cascade"))
    before = (config.read_bytes(), router.stat().st_mtime_ns)
    again = herdwise("demo", "--dir", folder, "--no-serve")
    assert "was edited" in again.out
    assert (config.read_bytes(), router.stat().st_mtime_ns) == before
