"""A config that is wired again takes over the backends of candidates that are reached as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from herdwise.config.load import load
from herdwise.config.rewiring import Rewiring
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
