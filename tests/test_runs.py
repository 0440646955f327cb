"""The scripts and commands that the README tells a stranger to run, run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ENVIRON = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_the_life_of_a_herd_runs_top_to_bottom(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "runs" / "life_cycle.sh", tmp_path / "life"],
        env=ENVIRON, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Done: everything is in" in done.stdout
    figures = json.loads((tmp_path / "life" / "figures.json").read_text())
    assert figures["router"]["quality"] > figures["best_single"]["quality"]
    manifest = json.loads((tmp_path / "life" / "router2" / "manifest.json").read_text())
    assert manifest["facts"]["n_queries"] > figures["n_train"]  # what was served was learned from


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_herd_grows_by_an_expert_while_it_serves_and_refuses_a_sabotaged_one(tmp_path):
    pytest.importorskip("torch", reason="needs the extra train")
    done = subprocess.run(
        ["bash", ROOT / "runs" / "grow_the_herd.sh", "--short", tmp_path / "herd"],
        env=ENVIRON, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Done: everything is in" in done.stdout
    made = json.loads((tmp_path / "herd" / "made.json").read_text())
    assert made["verdict"]["low"] > 0
    assert made["enlisted"]["expert"] in made["enlisted"]["reloaded"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_of_recorded_outcomes_measures_and_serves_what_its_pasted_lines_ask(tmp_path):
    log = tmp_path / "demo.log"
    with log.open("w") as output:
        demo = subprocess.Popen(
            [BIN / "herdwise", "demo", "--outcomes", "mmlu_pro", "--dir", tmp_path / "run", "--port", "0"],
            stdout=output, stderr=subprocess.STDOUT, env=ENVIRON,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 300
        while "The config: " not in log.read_text():
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        shown = log.read_text()
        assert "best single: gpt-4o" in shown
        assert "oracle (hindsight)" in shown
        curl = next(line for line in shown.splitlines() if line.startswith("curl "))
        pasted = subprocess.run(curl, shell=True, capture_output=True, check=True, timeout=60)  # noqa: S602
        answer = json.loads(pasted.stdout)
        assert answer["choices"][0]["message"]["content"]
        python = shown[shown.index("from openai") : shown.index("The config: ")]
        again = subprocess.run(
            [sys.executable, "-c", python], capture_output=True, text=True, check=True, timeout=120
        )
        assert again.stdout.startswith(answer["model"])
        url = next(word for word in shown.split() if word.endswith("/v1"))
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120) as client:
            assert answer["model"] in {model.id for model in client.models.list()}
            with pytest.raises(openai.NotFoundError, match="no record"):
                client.chat.completions.create(
                    model="auto", messages=[{"role": "user", "content": "Who are you?"}]
                )
    finally:
        demo.send_signal(signal.SIGTERM)
        try:
            demo.wait(60)
        finally:
            demo.kill()
