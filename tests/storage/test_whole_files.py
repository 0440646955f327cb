"""Files are written whole or not at all, also where the disk is full; errors name the path."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from herdwise.core.outcomes import OutcomeTable
from herdwise.storage.outcomes import read_outcomes, write_outcomes
from herdwise.storage.whole_files import append_line, write_whole

resource: Any = pytest.importorskip("resource", reason="limits on files are POSIX")


@contextmanager
def no_file_beyond(n_bytes: int) -> Iterator[None]:
    """A disk that is full after so many bytes of a file, as far as this process is concerned."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_keeps_its_old_content_where_the_new_one_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_whole(path, b"old")
    with no_file_beyond(1000), pytest.raises(OSError, match=r"page\.html") as failed:
        write_whole(path, b"x" * 5000)
    assert failed.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_link_stays_one_and_permissions_stay_as_they_were(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert (real.read_bytes(), real.stat().st_mode & 0o777) == (b"new", 0o600)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_new_files_have_the_permissions_that_new_files_have(
    make_outcomes: Callable[..., OutcomeTable], tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "page.html", b"x")
        write_outcomes(make_outcomes({"a": [1.0, 0.0]}), tmp_path / "outcomes", texts={("q0", "a"): "said"})
    finally:
        os.umask(before)
    files = [tmp_path / "page.html", *(tmp_path / "outcomes").iterdir()]
    assert len(files) >= 5
    assert {file.stat().st_mode & 0o777 for file in files} == {0o666 & ~umask}


def test_files_that_are_replaced_keep_their_permissions(
    make_outcomes: Callable[..., OutcomeTable], tmp_path: Path
) -> None:
    config, copy = tmp_path / "config", tmp_path / "copy"
    config.write_bytes(b"secret")
    config.chmod(0o600)
    write_whole(copy, b"secret", like=config)
    assert copy.stat().st_mode & 0o777 == 0o600
    table = make_outcomes({"a": [1.0, 0.0]})
    write_outcomes(table, tmp_path / "outcomes")
    (tmp_path / "outcomes" / "queries.parquet").chmod(0o640)
    write_outcomes(table, tmp_path / "outcomes")
    assert (tmp_path / "outcomes" / "queries.parquet").stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_and_never_replaced() -> None:
    write_whole(Path("/dev/null"), b"x")
    assert not Path("/dev/null").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_device_is_named() -> None:
    with pytest.raises(OSError, match="/dev/full") as failed:
        write_whole(Path("/dev/full"), b"x")
    assert failed.value.errno == errno.ENOSPC
    assert not Path("/dev/full").is_file()


def test_a_line_that_does_not_fit_leaves_nothing_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        append_line(file, b"one\n", path)
        with no_file_beyond(100), pytest.raises(OSError, match=r"journal\.jsonl") as failed:
            append_line(file, b"x" * 200 + b"\n", path)
        assert failed.value.errno == errno.EFBIG
        append_line(file, b"two\n", path)
    finally:
        os.close(file)
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_folder_in_a_files_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        write_whole(tmp_path, b"x")


def test_an_outcome_folder_stays_whole_where_the_new_one_does_not_fit(
    make_outcomes: Callable[..., OutcomeTable], tmp_path: Path
) -> None:
    folder = tmp_path / "outcomes"
    write_outcomes(make_outcomes({"a": [1.0, 0.0]}), folder, texts={("q0", "a"): "said"})
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    longer = make_outcomes({"a": [1.0, 0.0, 1.0]})
    with no_file_beyond(800), pytest.raises(OSError, match="outcomes"):
        write_outcomes(longer, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    write_outcomes(longer, folder)
    assert read_outcomes(folder).n_queries == 3
    assert not (folder / "texts.parquet").exists()
