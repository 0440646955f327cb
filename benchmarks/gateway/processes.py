"""Processes that a benchmark starts, measures and ends. Linux only (/proc)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

#: The gateway's core, and everybody else's.
GATEWAY_CORE, OTHER_CORE = 0, 1
_TICKS = os.sysconf("SC_CLK_TCK")
_ROLLUP = ("Rss", "Pss", "Anonymous")


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB.

    Args:
        resident_mb: all that is in memory.
        proportional_mb: the same, of what others have too only the share.
        anonymous_mb: what no file holds: heaps, stacks.
    """

    resident_mb: float
    proportional_mb: float
    anonymous_mb: float


class NotStartedError(Exception):
    """A process did not come up; its last words are in the message."""


class Running:
    """A process, and all that it starts, in a group of its own on one core. Ended by leaving the ``with``.

    Args:
        name: for people.
        command: what to run.
        core: where.
        log: takes what it prints.
        env: added to the environment.
        cwd: working folder.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name, self._log = name, log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        """Of the first process; also the id of its group."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End the whole group."""
        for number, patience_s in ((signal.SIGTERM, 8.0), (signal.SIGKILL, 8.0)):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                break
            until = time.monotonic() + patience_s
            while time.monotonic() < until and self._members():
                self._process.poll()
                time.sleep(0.05)
        self._process.wait(timeout=10)

    def wait_for(self, url: str, within_s: float, *, key: str = "none") -> None:
        """Until it answers below 500.

        Args:
            url: of what.
            within_s: seconds.
            key: shown as a bearer token.

        Raises:
            NotStartedError: when it ends first, or does not within ``within_s``.
        """
        until = time.monotonic() + within_s
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise NotStartedError(f"{self.name} ended: {self.last_words()}")
            try:
                with urllib.request.urlopen(request, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise NotStartedError(f"{self.name} did not answer within {within_s:g} s: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-800:].strip()

    def memory_mb(self) -> float:
        """Resident memory of all its processes, MiB."""
        return sum(_resident_mb(pid) for pid in self._members())

    def memory(self) -> Memory:
        """Of all its processes."""
        found = [_rollup(pid) for pid in self._members()]
        return Memory(*(sum(one.get(name, 0) for one in found) / 1024 for name in _ROLLUP))

    def cpu_s(self) -> float:
        """User and system seconds that its living processes have used."""
        return sum(_cpu_s(pid) for pid in self._members())

    def _members(self) -> list[int]:
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                fields = _stat(int(path.name))
                if fields and int(fields[2]) == self.pid and fields[0] != "Z":
                    found.append(int(path.name))
        return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def _resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _rollup(pid: int) -> dict[str, int]:
    """Name -> KiB; empty when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
