from __future__ import annotations

from pathlib import Path

import pytest

from herdwise.core.errors import ArtefactError
from herdwise.encoding.minilm import SHA256, minilm_folder


def test_other_weights_are_refused(tmp_path: Path) -> None:
    for name in SHA256:
        (tmp_path / name).write_text("not the weights")
    with pytest.raises(ArtefactError, match=r"model\.safetensors: sha256 is .* other weights"):
        minilm_folder(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=rf"{tmp_path}.*no such file"):
        minilm_folder(tmp_path)
