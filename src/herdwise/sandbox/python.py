"""Runs Python code that a model wrote, in a limited subprocess.

What it holds back: endless loops, memory and output without end, runaway forks, core dumps, large files,
and whatever stands in our environment (keys), modules or working directory. All processes of the group
end with the call.

What it does NOT protect from: the code runs as the same user on the same machine. It can read, change and
delete every file that this user may, and open network connections; a process that leaves the group
(``os.setsid``) can outlive the call; root is not held by the limit on processes. For code from people
whom you do not trust, run herdwise itself in a container or virtual machine without network. POSIX only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from herdwise.core.errors import ConfigError

# Limits are set by the child itself: a parent with threads may not run Python between fork and exec. None
# of its names are left for the code to lean on; exit and quit are, though site, which brings them, is off.
_LAUNCHER = """
def _start():
    import builtins, resource, sys
    path, *limits = sys.argv[1:]
    cpu_s, memory, file_size, processes = map(int, limits)
    limits = {"CPU": cpu_s, "AS": memory, "FSIZE": file_size, "CORE": 0, "NOFILE": 64, "NPROC": processes}
    for name, most in limits.items():
        kind = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(kind)[1]
        if most >= 0:
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))
    builtins.exit = builtins.quit = sys.exit
    sys.argv[:] = [path]
    globals().update(__file__=path)
    del globals()["_start"]
    with open(path, encoding="utf-8") as file:
        return compile(file.read(), path, "exec")
exec(_start())
"""


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What became of the code.

    Args:
        exit_code: of the process; negative = the signal that ended it.
        stdout, stderr: what it printed, bounded; bytes that are not UTF-8 are replaced.
        timed_out: whether it was killed at ``timeout_s``.
        truncated: whether it printed more than was kept.
        duration_s: seconds that it ran.
    """

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool
    truncated: bool
    duration_s: float

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, without an error, and all that it printed is here."""
        return self.exit_code == 0 and not self.timed_out and not self.truncated


def run_python(
    code: str,
    *,
    stdin: str = "",
    timeout_s: float = 10.0,
    memory_mb: int = 512,
    max_output_bytes: int = 1_000_000,
    max_file_mb: int = 16,
    max_processes: int = 16,
) -> SandboxResult:
    """Run ``code`` as a program of its own, with the standard library only. Blocks; call it off the loop.

    Its working directory is empty, its own, and deleted afterwards; its environment holds only PATH, HOME
    (that directory) and LANG. See the module for what this does not protect from.

    Args:
        code: Python source.
        stdin: what it can read.
        timeout_s: wall-clock seconds, and (rounded up) CPU seconds of each of its processes.
        memory_mb: address space of each of its processes.
        max_output_bytes: kept of stdout and of stderr, each.
        max_file_mb: size of any file that it writes, stdout and stderr among them.
        max_processes: processes and threads that it may have (on Linux, and not as root). The system
            counts by user, so others that this user starts meanwhile count too.

    Raises:
        ConfigError: when a limit is not positive.
    """
    if min(timeout_s, memory_mb, max_output_bytes, max_file_mb, max_processes) <= 0:
        raise ConfigError("every limit of the sandbox must be positive.")
    running = _tasks_of_user()
    limits = (
        int(timeout_s) + 1,
        memory_mb << 20,
        max_file_mb << 20,
        -1 if running is None else running + max_processes,
    )
    with (
        tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) as home,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        script = Path(home, "main.py")
        script.write_text(code, encoding="utf-8", errors="replace")
        given.write(stdin.encode(errors="replace"))
        given.seek(0)
        started = time.perf_counter()
        # Files instead of pipes: nothing can block on them, and the limit on file size bounds them.
        process = subprocess.Popen(  # noqa: S603 - running the code is the point
            [
                *(sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _LAUNCHER, str(script)),
                *map(str, limits),
            ],
            stdin=given,
            stdout=out,
            stderr=err,
            cwd=home,
            env={"PATH": "/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8"},
            start_new_session=True,  # a process group of its own, which can be killed as one
        )
        timed_out = False
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            _kill_group(process.pid)
            exit_code = process.wait()
        duration_s = time.perf_counter() - started
        stdout, cut_out = _read(out, max_output_bytes)
        stderr, cut_err = _read(err, max_output_bytes)
        return SandboxResult(exit_code, stdout, stderr, timed_out, cut_out or cut_err, duration_s)


def _read(file: IO[bytes], most: int) -> tuple[str, bool]:
    file.seek(0)
    data = file.read(most + 1)
    return data[:most].decode(errors="replace"), len(data) > most


def _kill_group(group: int) -> None:
    """End the process and all that it started, also when the process itself has ended already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _tasks_of_user() -> int | None:
    """Processes and threads of this user, as RLIMIT_NPROC counts them; None where that cannot be seen."""
    if not sys.platform.startswith("linux"):
        return None
    user, count = os.getuid(), 0
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if entry.stat().st_uid == user:
                    count += len(os.listdir(f"/proc/{entry.name}/task"))
    return count
