"""The command line, run in this process as ``herdwise`` runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from herdwise import cli


@dataclass(frozen=True)
class Run:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return msgspec.json.decode(self.out)


@pytest.fixture
def herdwise(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """``herdwise("doctor", "--config", file)`` -> exit code, stdout, stderr."""

    def run(*args: object) -> Run:
        # Every run registers its commands anew, as a process would.
        monkeypatch.setattr(cli.app, "registered_commands", [])
        monkeypatch.setattr(cli.app, "registered_groups", [])
        monkeypatch.setattr("sys.argv", ["herdwise", *map(str, args)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        captured = capsys.readouterr()
        return Run(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)

    return run
