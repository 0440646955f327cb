from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_model_is_written_as_gguf(herdwise: Callable[..., Any], nano_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra `train` (gguf) is not installed")
    out = tmp_path / "model.gguf"
    run = herdwise("experts", "gguf", nano_folder, "--out", out, "--json")
    assert run.code == 0
    assert run.json == {"file": str(out), "bytes": out.stat().st_size}


def test_a_type_that_is_not_known_is_refused(
    herdwise: Callable[..., Any], nano_folder: Path, tmp_path: Path
) -> None:
    run = herdwise("experts", "gguf", nano_folder, "--out", tmp_path / "model.gguf", "--dtype", "int4")
    assert run.code == 2
    assert not list(tmp_path.iterdir())
