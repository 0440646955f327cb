"""The short form of ``make chaos``: see benchmarks/run_chaos.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "run_chaos.py"


@pytest.mark.timeout(700)
def test_at_load_under_chaos_every_request_ends_well_and_nothing_is_lost_or_left(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--seconds", "8", "--clients", "12", "--json"]
    command += ["--kill-s", "6", "--written-s", "4"]  # seconds of a machine that others use, too
    done = subprocess.run(
        [*command, "--keep", str(tmp_path)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stdout, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    broken = [check for check in report["checks"] if not check["holds"]]
    assert not broken, (broken, report["figures"])
    assert done.returncode == 0
    figures = report["figures"]
    assert figures["answered"] > 50
    assert figures["streams read strictly"] > 20
    assert figures["decisions with a fallback"] > 5
