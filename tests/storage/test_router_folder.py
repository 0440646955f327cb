"""Router folders: written whole, read suspiciously."""

import json

import numpy as np
import pytest

from herdwise.core.errors import ArtefactError
from herdwise.storage.router_folder import read_arrays, read_file, read_manifest, write_router_folder


def write(path):
    return write_router_folder(
        path, {"note": 1}, {"part": {"x": np.arange(6.0).reshape(2, 3)}, "empty": {}}, {"words": ["a", "é"]}
    )


def test_what_is_written_is_read_back(tmp_path):
    folder = write(tmp_path / "r")
    manifest = read_manifest(folder)
    assert manifest["note"] == 1
    assert read_arrays(folder, manifest, "part")["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read_arrays(folder, manifest, "empty") == {}
    assert json.loads(read_file(folder, manifest, "words.json")) == ["a", "é"]


def test_a_router_replaces_a_router_but_nothing_else(tmp_path):
    write(tmp_path / "r")
    write(tmp_path / "r")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(ArtefactError, match="is not a router"):
        write(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "r"]


@pytest.mark.parametrize("name", ["part.safetensors", "words.json"])
def test_a_truncated_part_is_refused_before_it_is_needed(tmp_path, name):
    folder = write(tmp_path / "r")
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=f"{name} is truncated or was changed"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["part.safetensors", "words.json"])
def test_a_missing_part_is_refused_before_it_is_needed(tmp_path, name):
    folder = write(tmp_path / "r")
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=f"truncated: {name}"):
        read_manifest(folder)


def test_a_part_that_changes_after_the_manifest_was_read_is_refused(tmp_path):
    folder = write(tmp_path / "r")
    manifest = read_manifest(folder)
    (folder / "words.json").write_bytes(b"[]")
    with pytest.raises(ArtefactError, match=r"words\.json is truncated or was changed"):
        read_file(folder, manifest, "words.json")


def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path):
    (tmp_path / "secret").write_text("mine")
    folder = write(tmp_path / "r")
    manifest = (folder / "manifest.json").read_bytes().replace(b'"words.json"', b'"../secret"')
    (folder / "manifest.json").write_bytes(manifest)
    with pytest.raises(ArtefactError, match="which is not beside it"):
        read_manifest(folder)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtefactError, match="cannot be written"):
        write(tmp_path / "file" / "r")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not a manifest"),
        (b"[]", "is not a manifest"),
        (b'{"format": "other"}', "is not of a herdwise router"),
        (b'{"format": "herdwise-router", "format_version": 99}', "format_version 99"),
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=message):
        read_manifest(tmp_path)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match=r"no manifest\.json"):
        read_manifest(tmp_path)


class Interrupting:
    """An array whose reading is interrupted, as by Ctrl-C."""

    def __array__(self, dtype=None, copy=None):
        raise KeyboardInterrupt


def test_an_interrupted_write_leaves_the_old_router_and_nothing_else(tmp_path):
    write_router_folder(tmp_path / "r", {"a": 1}, {"part": {"x": np.ones(3)}}, {})
    with pytest.raises(KeyboardInterrupt):
        write_router_folder(
            tmp_path / "r", {"a": 2}, {"one": {"x": np.ones(3)}, "two": {"x": Interrupting()}}, {}
        )
    assert read_manifest(tmp_path / "r")["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_an_interrupted_first_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_router_folder(tmp_path / "r", {}, {"one": {"x": np.ones(3)}, "two": {"x": Interrupting()}}, {})
    assert not list(tmp_path.iterdir())
