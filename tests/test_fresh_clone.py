"""What a stranger gets who clones the repository: the files under version control, and nothing besides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_is_under_version_control_is_enough_for_the_demo(tmp_path: Path) -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git, and a checkout of it")
    listed = subprocess.run(["git", "ls-files", "-z", "src"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    code = "import herdwise, sys; print(herdwise.__file__); from herdwise.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo", "--no-serve", "--dir", tmp_path / "run"],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "src"), "OPENBLAS_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "src"))
    assert "herd, routed (single)" in done.stdout
    assert (tmp_path / "run" / "herdwise.yaml").is_file()
