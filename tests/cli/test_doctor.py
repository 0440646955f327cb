"""`herdwise doctor` tells with its table, its JSON and its exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def config(tmp_path: Path):
    def write(*candidates: str, more: str = "") -> Path:
        file = tmp_path / "herdwise.yaml"
        file.write_text("candidates:\n" + "".join(f"  - {{{c}}}\n" for c in candidates) + more)
        return file

    return write


def test_nothing_failed_is_exit_code_0(herdwise, config, threaded_upstream):
    up = threaded_upstream(models=("small",))
    run = herdwise("doctor", "--config", config(f"name: small, base_url: '{up.base_url}'"))
    assert run.code == 0
    assert "0 failed" in run.out
    assert "context_tokens" in run.out, "the remedy of a warning is shown"


def test_an_unreachable_candidate_is_exit_code_1_with_the_finding_in_json(herdwise, config, closed_port):
    file = config(f"name: gone, base_url: 'http://127.0.0.1:{closed_port}/v1'")
    run = herdwise("doctor", "--config", file, "--json")
    assert run.code == 1
    assert (run.json["exit_code"], run.json["fail"]) == (1, 1)
    (failed,) = [f for f in run.json["findings"] if f["level"] == "fail"]
    assert (failed["subject"], failed["check"], failed["upstream"]) == ("gone", "reachable", True)
    assert failed["remedy"]


def test_a_part_of_the_config_at_fault_is_exit_code_2(herdwise, config, threaded_upstream):
    up = threaded_upstream(models=("small",))
    file = config(f"name: small, base_url: '{up.base_url}'", more="server: {host: 0.0.0.0}\n")
    run = herdwise("doctor", "--config", file)
    assert run.code == 2
    assert "server.api_keys" in run.out


def test_a_config_that_does_not_read_is_exit_code_2_with_place_and_remedy(herdwise, config):
    run = herdwise("doctor", "--config", config("name: a, base_url: 'http://127.0.0.1:9/v1', pirce: 3"))
    assert run.code == 2
    assert "herdwise.yaml, line 2: candidates[0].pirce: unknown key." in run.err
    assert "Did you mean price?" in run.err
    assert run.out == ""


def test_the_installed_command_ends_with_2_on_a_missing_config(tmp_path):
    script = Path(sys.executable).with_name("herdwise")
    done = subprocess.run(
        [script, "doctor", "--config", tmp_path / "none.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no config file" in done.stderr
    assert "herdwise init" in done.stderr
    assert "Traceback" not in done.stderr
