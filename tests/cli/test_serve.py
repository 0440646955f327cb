"""`herdwise serve` answers over a real upstream, says how it routes, and refuses what cannot be served."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    def write(*candidates: str, more: str = "") -> Path:
        file = tmp_path / "herdwise.yaml"
        file.write_text("candidates:\n" + "".join(f"  - {{{c}}}\n" for c in candidates) + more)
        return file

    return write


@pytest.fixture
def served() -> Iterator[Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]]:
    """Start the installed command on a free port; gives the process and its JSON once it is ready."""
    processes: list[subprocess.Popen[str]] = []

    def start(*args: object) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        script = Path(sys.executable).with_name("herdwise")
        process = subprocess.Popen(
            [script, "serve", "--port", "0", "--json", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        told = ""
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            told += line
            if line.startswith("}"):
                return process, json.loads(told)
        raise AssertionError(process.stderr.read())

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=20)


def ask(url: str, model: str) -> tuple[dict[str, Any], dict[str, str]]:
    body = {"model": model, "messages": [{"role": "user", "content": "spell the word apple after stone"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response), dict(response.headers)


def test_a_config_is_served_by_its_router_until_sigterm(
    config, served, threaded_upstream, saved_router, tmp_path
):
    up = threaded_upstream(models=("alpha", "beta"))
    file = config(
        f"name: alpha, base_url: '{up.base_url}'",
        f"name: beta, base_url: '{up.base_url}'",
        more=f"router: {saved_router}\n",
    )
    process, told = served("--config", file)
    assert told["candidates"] == ["alpha", "beta"]
    assert (told["trained"], told["policies"], told["key_needed"]) == (
        True,
        ["cascade", "hedge", "route_then_check", "self_consistency", "single", "vote"],
        False,
    )
    answer, headers = ask(told["url"], "auto")
    assert answer["choices"][0]["message"]["content"] == "echo: spell the word apple after stone"
    assert (answer["model"], headers["x-herdwise-candidate"]) == ("alpha", "alpha")
    assert ask(told["url"], "beta")[0]["model"] == "beta"
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert (tmp_path / "herdwise.db").is_file(), "the ledger lies beside the config"


def test_sighup_reads_config_and_router_anew_and_a_bad_one_changes_nothing(
    config, served, threaded_upstream, saved_router
):
    up = threaded_upstream(models=("alpha", "beta"))
    alpha, beta = (f"name: {name}, base_url: '{up.base_url}', quality: 0.5" for name in ("alpha", "beta"))
    process, told = served("--config", config(alpha, more="server: {log_level: INFO}\n"))
    models = f"{told['url']}/v1/models"

    def reloads(outcome: str) -> bool:
        with urllib.request.urlopen(f"{told['url']}/metrics", timeout=60) as response:
            return f'herdwise_reloads_total{{outcome="{outcome}"}} 1\n' in response.read().decode()

    def listed() -> list[str]:
        with urllib.request.urlopen(models, timeout=60) as response:
            return [model["id"] for model in json.load(response)["data"]]

    def hang_up(outcome: str) -> None:
        os.kill(process.pid, signal.SIGHUP)
        until = time.monotonic() + 60
        while not reloads(outcome):
            assert time.monotonic() < until
            time.sleep(0.02)

    assert "herdwise-encoder" not in listed()
    config(alpha + ", pirce: 1")
    hang_up("refused")
    assert ask(told["url"], "alpha")[0]["model"] == "alpha"
    config(alpha, beta, more=f"router: {saved_router}\nserver: {{port: 1}}\n")
    hang_up("done")
    assert {"alpha", "beta", "herdwise-encoder"} <= set(listed())
    assert ask(told["url"], "beta")[0]["model"] == "beta"
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert "candidates[0].pirce" in errors
    assert "after a restart" not in errors, "--port goes before the config's, then as now"


def test_a_router_given_by_flag_goes_before_the_config(config, served, threaded_upstream, saved_router):
    up = threaded_upstream(models=("alpha",))
    file = config(f"name: alpha, base_url: '{up.base_url}'", more="ledger: {enabled: false}\n")
    assert served("--config", file, "--router", saved_router)[1]["trained"] is True
    assert served("--config", file)[1]["trained"] is False


A = "name: a, base_url: 'http://127.0.0.1:9/v1'"


@pytest.mark.parametrize(
    ("candidate", "more", "flags", "problem"),
    [
        (A + ", pirce: 3", "", [], "candidates[0].pirce"),
        (A + ", api_key: '${HERDWISE_NOT_SET}'", "", [], "HERDWISE_NOT_SET is not set"),
        (A, "", ["--host", "192.0.2.1"], "no API key"),
        (A, "goals: {cost_weight: 1}\n", [], "no candidate's cost"),
        (A, "goals: {constraints: {open_weights_only: true}}\n", [], "no candidate meets the constraints"),
        (A, "router: nowhere\n", [], "nowhere"),
        (A, "router: {saved}\n", [], "the router does not know candidate 'a'"),
        (A, "ledger: {url: 'sqlite:///herdwise.yaml'}\n", [], "ledger"),
        ("name: a, backend: nope", "", [], "candidate 'a': there is no backend 'nope'"),
        ("name: a, backend: recorded, options: {outcomes: nowhere}", "", [], "nowhere"),
    ],
)
def test_what_cannot_be_served_ends_with_2_and_a_remedy(
    herdwise, config, saved_router, candidate, more, flags, problem
):
    file = config(candidate, more=more.replace("{saved}", str(saved_router)))
    run = herdwise("serve", "--config", file, "--port", 0, *flags)
    assert run.code == 2
    assert problem in run.err
    assert len(run.err.strip().splitlines()) == 2, "an error and its remedy"


def test_what_is_announced_says_how_to_ask_and_how_to_train(capsys, config):
    from herdwise.cli.serve import _announce
    from herdwise.config.load import load
    from herdwise.config.served import facts
    from herdwise.config.wiring import build_service

    read = load(config(f"{A}, quality: 0.4"), {})
    _announce(facts("http://127.0.0.1:8484", build_service(read)), read, Path("herdwise.yaml"))
    told = capsys.readouterr().out
    assert "http://127.0.0.1:8484/v1, over 1 candidate: a" in told
    assert "no trained router" in told
    assert "herdwise profile --config herdwise.yaml" in told
    assert "auto/single" in told
