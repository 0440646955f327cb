"""Matches regular expressions in a process of its own, which is ended where one takes too long.

Python's ``re`` backtracks, holds the interpreter's lock meanwhile, and knows no limit: ``(a+)+$`` on thirty
times "a" and a "b" takes minutes. The process lives on from match to match: starting one costs 20 ms.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import IO

#: Processor seconds that one match may take; where those are not counted (Windows), as many by the clock.
LIMIT_S = 2.0
# A process that gets no processor has used up none of its seconds.
_WAIT_S = 15 * LIMIT_S
# How a process ends that used them up.
_RUN_OUT = -signal.SIGVTALRM if sys.platform != "win32" else None

# SIGVTALRM ends it by default, also where its parent is gone and nobody else would. Ctrl-C is for the parent.
_MATCHER = """
import json, re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin:
    pattern, flags, text, whole = json.loads(line)
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_VIRTUAL, float(sys.argv[1]))
    try:
        compiled, last = re.compile(pattern, flags), None
        for last in ([compiled.fullmatch(text)] if whole else compiled.finditer(text)):
            pass
        group = "answer" if "answer" in compiled.groupindex else 1 if compiled.groups else 0
        found = None if last is None else [last.group(0), last.group(group)]
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    print(json.dumps(found), flush=True)
"""


class PatternError(Exception):
    """A pattern does not compile, or a match did not end within ``LIMIT_S``."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern stands last in a text.

    Args:
        text: all that it matched.
        captured: by the group called ``answer``, else by the first; None where that took no part in it. All
            that it matched where it has no group.
    """

    text: str
    captured: str | None


class Matcher:
    """Matches patterns, one at a time, in one process that starts with the first of them.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None

    def last(self, pattern: str, text: str, *, flags: int = 0, whole: bool = False) -> Match | None:
        """The last match in a text; None where there is none. Blocks; call it off the event loop.

        Args:
            pattern: an expression that ``re`` compiles.
            text: searched.
            flags: as ``re.compile`` takes them.
            whole: the whole text must match.

        Raises:
            PatternError: when it takes more than ``LIMIT_S`` processor seconds, or does not compile, or when
                its process was ended by others.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            process = self._process
            if process is None or process.stdin is None:
                raise RuntimeError("the process that matches patterns has no input.")
            line, late = "", False
            try:
                with contextlib.suppress(BrokenPipeError):  # the empty line below says so too
                    process.stdin.write(json.dumps([pattern, int(flags), text, whole]) + "\n")
                    process.stdin.flush()
                line = self._lines.get(timeout=_WAIT_S if sys.platform != "win32" else LIMIT_S)
            except queue.Empty:
                late = True
            finally:
                if not line:  # nor may an answer that nobody waited for be taken for the next one's
                    self._end()
            if not line:
                status = process.returncode
                if late or status == _RUN_OUT:
                    raise PatternError(f"a match took more than {LIMIT_S:g} seconds")
                raise PatternError(f"the process that matches ended with status {status}")
            found = json.loads(line)
            if isinstance(found, str):
                raise PatternError(found)
            return None if found is None else Match(*found)

    def close(self) -> None:
        """End the process; the next match starts another."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        self._end()
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _MATCHER, str(LIMIT_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
        )
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True)
        self._reader.start()
        atexit.register(self.close)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        process.kill()
        process.wait(_WAIT_S)
        if self._reader is not None:
            self._reader.join(_WAIT_S)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def _read(lines: IO[str] | None, into: queue.SimpleQueue[str]) -> None:
    """Lines as they come, and "" at the end."""
    if lines is not None:
        with lines:
            for line in lines:
                into.put(line)
    into.put("")


#: What the graders share.
MATCHER = Matcher()
