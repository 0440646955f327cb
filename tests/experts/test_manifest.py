"""The manifest: steps with the same inputs and untouched files are not done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from herdwise.core.errors import ArtefactError, ItemsError
from herdwise.experts.examples import Example, read_examples, write_examples
from herdwise.experts.manifest import Manifest


class Workshop:
    """A folder in which steps write what they are told, and count how often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.times = folder, 0

    def run(self, name: str, inputs: dict[str, object], text: str = "x") -> bool:
        path = self.folder / name / "file.txt"

        def work() -> tuple[dict[str, object], list[Path]]:
            self.times += 1
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            return {"length": len(text)}, [path.parent]

        step, anew = Manifest(self.folder, "bird").run(name, inputs, work)
        assert step.figures == {"length": len(path.read_text())}
        return anew


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_a_step_that_was_done_with_the_same_inputs_is_kept(shop: Workshop) -> None:
    assert shop.run("select", {"n": 1})
    assert not shop.run("select", {"n": 1})
    assert shop.run("select", {"n": 2})
    assert shop.times == 2


def test_a_step_whose_file_was_changed_or_lost_is_done_again(shop: Workshop) -> None:
    shop.run("select", {"n": 1})
    (shop.folder / "select" / "file.txt").write_text("meddled with")
    assert shop.run("select", {"n": 1})
    (shop.folder / "select" / "file.txt").unlink()
    assert shop.run("select", {"n": 1})


def test_what_was_made_of_a_step_is_forgotten_with_it(shop: Workshop) -> None:
    shop.run("select", {"n": 1})
    shop.run("train", {"n": 1})
    shop.run("select", {"n": 2})
    assert [step.name for step in Manifest(shop.folder, "bird").steps] == ["select"]
    assert shop.run("train", {"n": 1})


def test_a_step_that_fails_leaves_no_trace(shop: Workshop) -> None:
    def fail() -> tuple[dict[str, object], list[Path]]:
        raise ItemsError("no")

    with pytest.raises(ItemsError):
        Manifest(shop.folder, "bird").run("select", {}, fail)
    assert Manifest(shop.folder, "bird").steps == []


def test_another_experts_manifest_and_a_foreign_file_are_refused(shop: Workshop) -> None:
    shop.run("select", {})
    with pytest.raises(ArtefactError, match="belongs to the expert 'bird'"):
        Manifest(shop.folder, "fish")
    (shop.folder / "manifest.json").write_text("{}")
    with pytest.raises(ArtefactError, match="no expert's manifest"):
        Manifest(shop.folder, "bird")


def test_examples_come_back_as_they_were_written_and_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    given = [Example("a\u2028b?", "c"), Example("d", "e", reasoning="f", weight=0.5, source="g")]
    write_examples(path, given)
    assert read_examples(path) == given
    path.write_text('{"query": "a", "answer": "b"}\n{"query": "a", "anwser": "b"}\n')
    with pytest.raises(ItemsError, match=r"line 2: .*anwser"):
        read_examples(path)
    path.write_text('{"query": " ", "answer": "b"}\n')
    with pytest.raises(ItemsError, match="line 1, query: is empty"):
        read_examples(path)
    path.write_text("\n")
    with pytest.raises(ItemsError, match="holds no examples"):
        read_examples(path)
    with pytest.raises(ItemsError, match="cannot be read"):
        read_examples(tmp_path / "none.jsonl")
