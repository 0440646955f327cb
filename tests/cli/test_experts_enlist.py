"""`herdwise experts enlist` over a real running endpoint: taken up without restart, or all as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from herdwise import Candidate, Herd, OutcomeTable, Router

KEY = "admin-secret"
TEXTS = [f"spell the word {a} after {b}" for a in "abcdefgh" for b in "stuvwxyz"]


def table_of(names: list[str]) -> OutcomeTable:
    n, m = len(TEXTS), len(names)
    return OutcomeTable(
        herd=Herd(Candidate(name) for name in names),
        query_ids=[str(i) for i in range(n)],
        texts=TEXTS,
        benchmarks=["spelling"] * n,
        splits=[None] * n,
        query_index=np.tile(np.arange(n, dtype=np.int32), m),
        candidate_index=np.repeat(np.arange(m, dtype=np.int32), n),
        sample=np.zeros(n * m, dtype=np.int32),
        values={"quality": np.repeat(np.linspace(0.2, 0.9, m), n)},
        name="spelling",
    )


class Place:
    """A folder with a config, its router, a router of the herd with delta, and delta's entry."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.config, self.entry = folder / "herdwise.yaml", folder / "delta.json"
        self.wider = folder / "wider"
        Router.fit(table_of(["alpha", "beta"]), predictor="mean").save(folder / "router")
        Router.fit(table_of(["alpha", "beta", "delta"]), predictor="mean").save(self.wider)
        self.config.write_text(
            f"router: router  # as trained\ncandidates:\n  - {{name: alpha, base_url: '{base_url}'}}\n"
            f"  # cheap\n  - name: beta\n    base_url: {base_url}\n\n"
            f"server: {{admin_key: {KEY}, api_keys: [client]}}\n"
        )
        self.entry.write_text(json.dumps({"name": "delta", "base_url": base_url}))
        self.before = self.files()

    def files(self) -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in sorted(self.config.parent.rglob("*"))
            if path.is_file() and not path.name.startswith("herdwise.db")
        }


@pytest.fixture
def place(tmp_path: Path, threaded_upstream: Callable[..., Any]) -> Place:
    return Place(tmp_path, threaded_upstream(models=("alpha", "beta", "delta")).base_url)


@pytest.fixture
def served() -> Iterator[Callable[[Path], str]]:
    """Start the installed command on a free port; gives its address once it is ready."""
    processes: list[subprocess.Popen[str]] = []

    def start(config: Path) -> str:
        script = Path(sys.executable).with_name("herdwise")
        process = subprocess.Popen(
            [script, "serve", "--port", "0", "--json", "--config", config],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("}"):
                return str(json.loads(told)["url"])
        raise AssertionError("the endpoint did not start")

    yield start
    for process in processes:
        process.terminate()
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()


def ask(url: str, model: str = "auto") -> str:
    body = {"model": model, "messages": [{"role": "user", "content": TEXTS[0]}]}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer client"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(json.load(response)["model"])


def test_the_running_endpoint_routes_to_the_newcomer_at_once(
    herdwise: Callable[..., Any], served: Callable[[Path], str], place: Place
) -> None:
    url = served(place.config)
    assert ask(url) == "beta"
    done = herdwise(
        "experts", "enlist", "--config", place.config, "--entry", place.entry, "--router", place.wider,
        "--endpoint", url, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["reloaded"] == ["alpha", "beta", "delta"]
    assert ask(url) == "delta"
    text = place.config.read_text()
    assert yaml.safe_load(text)["candidates"][-1]["name"] == "delta"
    assert "  # cheap\n" in text
    assert "  # as trained\n" in text
    assert Path(done.json["backup"]).read_bytes() == place.before[str(place.config)]
    again = herdwise(
        "experts", "enlist", "--config", place.config, "--entry", place.entry, "--router", place.wider,
        "--endpoint", url,
    )  # fmt: skip
    assert again.code == 2
    assert "stands in the config already" in again.err


def test_an_endpoint_that_refuses_leaves_config_and_router_as_they_were(
    herdwise: Callable[..., Any], served: Callable[[Path], str], place: Place
) -> None:
    other = place.config.with_name("other.yaml")
    other.write_text(place.config.read_text().replace(KEY, "another-key"))
    url = served(other)
    place.before = place.files()
    done = herdwise(
        "experts", "enlist", "--config", place.config, "--entry", place.entry, "--router", place.wider,
        "--endpoint", url,
    )  # fmt: skip
    assert done.code == 1
    assert "did not reload" in done.err
    assert KEY not in done.err
    assert place.files() == place.before


def test_an_endpoint_of_another_config_is_noticed_and_all_is_put_back(
    herdwise: Callable[..., Any], served: Callable[[Path], str], place: Place
) -> None:
    other = place.config.with_name("other.yaml")
    other.write_text(place.config.read_text())
    url = served(other)
    place.before = place.files()
    done = herdwise(
        "experts", "enlist", "--config", place.config, "--entry", place.entry, "--router", place.wider,
        "--endpoint", url,
    )  # fmt: skip
    assert done.code == 1
    assert "does not serve 'delta'" in done.err
    assert place.files() == place.before


def test_without_an_endpoint_nobody_listens_and_nothing_changes(
    herdwise: Callable[..., Any], place: Place, closed_port: int
) -> None:
    done = herdwise(
        "experts", "enlist", "--config", place.config, "--entry", place.entry, "--router", place.wider,
        "--endpoint", f"http://127.0.0.1:{closed_port}",
    )  # fmt: skip
    assert done.code == 1
    assert "--no-reload" in done.err
    assert place.files() == place.before


def test_a_router_that_does_not_know_the_newcomer_is_refused_before_anything_is_written(
    herdwise: Callable[..., Any], place: Place
) -> None:
    done = herdwise(
        "experts", "enlist", "--config", place.config, "--entry", place.entry,
        "--router", place.config.with_name("router"), "--no-reload",
    )  # fmt: skip
    assert done.code == 2
    assert "delta" in done.err
    assert place.files() == place.before


def test_without_reload_the_next_start_goes_by_it(
    herdwise: Callable[..., Any], served: Callable[[Path], str], place: Place
) -> None:
    done = herdwise(
        "experts", "enlist", "--config", place.config, "--entry", place.entry, "--router", place.wider,
        "--no-reload", "--json",
    )  # fmt: skip
    assert done.code == 0
    assert done.json["reloaded"] is None
    assert ask(served(place.config)) == "delta"


def test_a_config_without_an_admin_key_says_what_to_do(herdwise: Callable[..., Any], place: Place) -> None:
    place.config.write_text(place.config.read_text().replace(f"admin_key: {KEY}", "port: 0"))
    done = herdwise(
        "experts", "enlist", "--config", place.config, "--entry", place.entry, "--router", place.wider
    )  # fmt: skip
    assert done.code == 2
    assert "server.admin_key" in done.err


def test_a_config_that_is_a_link_and_only_its_owners_stays_so_and_its_backup_is_as_private(
    herdwise: Callable[..., Any], place: Place, tmp_path: Path
) -> None:
    place.config.chmod(0o600)
    link = tmp_path / "elsewhere" / "herdwise.yaml"
    link.parent.mkdir()
    link.symlink_to(place.config)
    done = herdwise(
        "experts", "enlist", "--config", link, "--entry", place.entry, "--router", place.wider,
        "--no-reload", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert link.is_symlink()
    assert [c["name"] for c in yaml.safe_load(place.config.read_text())["candidates"]][-1] == "delta"
    backup = Path(done.json["backup"])
    assert backup.parent == place.config.parent
    assert {path.stat().st_mode & 0o777 for path in (backup, place.config)} == {0o600}
