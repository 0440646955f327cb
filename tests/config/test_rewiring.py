"""A config that is wired again takes over the backends of candidates that are reached as before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from herdwise.config.identity import identity
from herdwise.config.load import load
from herdwise.config.rewiring import Rewiring
from herdwise.config.tree import CandidateNode
from herdwise.core.errors import ConfigError
from herdwise.serving.service import Service

TWO = """
candidates:
  - {name: a, base_url: 'http://127.0.0.1:9/v1', api_key: '${KEY}', quality: 0.5}
  - {name: b, base_url: 'http://127.0.0.1:10/v1', quality: 0.6, options: {include_usage: true}}
"""


class File:
    def __init__(self, path: Path) -> None:
        self.path, self.key = path, "one-key-of-eight"
        self.write(TWO)
        self.rewiring = Rewiring(lambda: load(self.path, {"KEY": self.key}))

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def build(self, running: Service | None = None) -> Service:
        return self.rewiring.build(running)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "herdwise.yaml")


def kept(before: Service, after: Service) -> list[str]:
    return [name for name, backend in after.backends.items() if before.backends.get(name) is backend]


def test_the_same_file_keeps_all_backends_and_what_is_only_known_changes_none(file: File) -> None:
    first = file.build()
    second = file.build(first)
    assert second is not first
    assert kept(first, second) == ["a", "b"]
    file.write(TWO.replace("quality: 0.5", "quality: 0.9, tools: true, context_tokens: 9000"))
    third = file.build(second)
    assert kept(first, third) == ["a", "b"]
    assert third.ranker.herd["a"].context_tokens == 9000


@pytest.mark.parametrize(
    ("was", "becomes", "left"),
    [
        ("127.0.0.1:9/v1", "127.0.0.1:11/v1", ["b"]),
        ("include_usage: true", "include_usage: false", ["a"]),
        ("quality: 0.6", "quality: 0.6, max_concurrency: 2", ["a"]),
        ("quality: 0.6", "quality: 0.6, timeouts: {total_s: 7}", ["a"]),
        ("quality: 0.6", "quality: 0.6, headers: {x-a: b}", ["a"]),
        ("name: b", "name: c", ["a"]),
    ],
)
def test_who_is_reached_in_another_way_gets_a_new_backend(
    file: File, was: str, becomes: str, left: list[str]
) -> None:
    first = file.build()
    assert was in TWO
    file.write(TWO.replace(was, becomes))
    assert kept(first, file.build(first)) == left


def test_another_key_in_the_environment_makes_a_new_backend(file: File) -> None:
    first = file.build()
    file.key = "two-key-of-eight"
    assert kept(first, file.build(first)) == ["b"]


@pytest.mark.parametrize("change", ["weights", "one more file", "gone"])
def test_a_model_whose_folder_has_changed_is_read_anew_and_nobody_else_is(
    file: File, nano_folder: Path, tmp_path: Path, change: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(nano_folder, folder)
    file.write(TWO + f"  - {{name: c, backend: embedded, options: {{folder: '{folder}'}}, quality: 0.1}}\n")
    first = file.build()
    second = file.build(first)
    assert kept(first, second) == ["a", "b", "c"]
    if change == "weights":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes())
        os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 10**9))
    elif change == "one more file":
        (folder / "card.json.new").write_text("{}")
    else:
        shutil.rmtree(folder)
    third = file.build(second)
    assert kept(second, third) == ["a", "b"]
    assert kept(third, file.build(third)) == ["a", "b", "c"]


def test_another_model_in_the_same_folder_is_another_identity(nano_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(nano_folder, folder)
    node = CandidateNode(name="c", backend="embedded", options={"folder": str(folder)})
    before = identity(node)
    os.utime(folder / "model.safetensors", ns=(0, 0))
    assert identity(node) == before
    with (folder / "model.safetensors").open("ab") as weights:
        weights.write(b"x")
    assert identity(node) != before
    upstream = CandidateNode(name="d", base_url="http://127.0.0.1:9/v1", model="m")
    assert identity(upstream) == "openai_compatible m"


def test_an_identity_tells_options_apart_and_shows_none_of_their_values() -> None:
    nodes = [CandidateNode(name="a", backend="own", options={"token": f"sk-{i}"}) for i in range(2)]
    told = [identity(node) for node in nodes]
    assert told[0] != told[1]
    assert "sk-" not in "".join(told)


def test_a_config_that_is_refused_leaves_no_trace(file: File) -> None:
    first = file.build()
    file.write(TWO + "nonsense: 1\n")
    with pytest.raises(ConfigError, match="nonsense"):
        file.build(first)
    file.write(TWO.replace(":9/", ":11/"))
    never_served = file.build(first)
    file.write(TWO)
    again = file.build(first)
    assert kept(first, again) == ["a", "b"]
    assert again.backends["a"] is not never_served.backends["a"]
