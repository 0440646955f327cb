"""``herdwise serve`` as a process of its own: its config, its signals, what it holds open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import Signals
from typing import Any

import aiohttp

from .herd import KINDS

ADMIN, STATIC = "admin-key-of-chaos", "static-key-of-chaos"


class Endpoint:
    """One serving process.

    Args:
        folder: where its config, ledger and log lie.
        reach: candidate -> base URL.
        workers: processes that share its port.
    """

    def __init__(self, folder: Path, reach: Mapping[str, str], workers: int = 1) -> None:
        self.folder, self._reach, self._workers = folder, dict(reach), workers
        self.config, self.ledger = folder / "herdwise.yaml", folder / "ledger.db"
        self.process: asyncio.subprocess.Process | None = None
        self.url = ""

    def write(self, *, first: str = "alpha", bad: bool = False) -> None:
        """The config; ``first`` is said to be the best, a ``bad`` one cannot be served."""
        timeouts = {"connect_s": 1.5, "first_token_s": 1.5, "idle_s": 1.5, "total_s": 4}
        candidates = [
            {
                "name": name,
                "backend": backend,
                "base_url": self._reach[name],
                "model": f"up-{name}",
                "timeouts": timeouts,
                "max_concurrency": 64,
                "price": {"input_usd_per_mtok": 1 + place, "output_usd_per_mtok": 2 + place},
                "quality": 0.9 if name == first else 0.8 - 0.1 * place,
                "context_tokens": 100_000,
                "tools": True,
            }
            for place, (name, (_, backend)) in enumerate(KINDS.items())
        ]
        server = {
            "port": 0,
            "workers": self._workers,
            "api_keys": [STATIC],
            "admin_key": ADMIN,
            "request_timeout_s": 40,
            "hold_tool_calls": True,
            "breaker": {"failures": 3, "open_s": 0.5, "max_open_s": 2, "probe_s": 1},
            "log_format": "json",
        }
        content: dict[str, Any] = {
            "candidates": [] if bad else candidates,
            "server": server,
            "ledger": {"url": f"sqlite:///{self.ledger}"},
        }
        self.config.write_text(json.dumps(content))  # YAML holds JSON

    async def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            RuntimeError: when it does not start.
        """
        program = Path(sys.executable).with_name("herdwise")
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(str(program), "serve", "--config", str(self.config), "--json"),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        stdout = self.process.stdout
        told = b"" if stdout is None else await asyncio.wait_for(_object(stdout), 60)
        if not told:
            raise RuntimeError(f"it did not start: {self.log()[-2000:]}")
        self.url = json.loads(told)["url"]

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def send(self, sig: Signals) -> None:
        """Send it a signal."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(sig)

    async def end(self, sig: Signals = Signals.SIGTERM) -> int:
        """Send it a signal and wait for its end; its exit status."""
        self.send(sig)
        assert self.process is not None  # noqa: S101 - it was started
        async with asyncio.timeout(60):
            return await self.process.wait()

    async def make_key(self, name: str, terms: Mapping[str, Any]) -> tuple[str, str]:
        """A virtual key: its id and its secret."""
        made = await self.admin("POST", "/admin/v1/keys", {"name": name, "terms": dict(terms)})
        return made["key_id"], made["key"]

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the admin API."""
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=headers) as reply,
        ):
            text = await reply.text()
            return json.loads(text) if text.startswith(("{", "[")) else text

    async def metric(self, name: str) -> float:
        """A metric without labels."""
        text = await self.admin("GET", "/metrics")
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"/metrics has no {name}")
        return float(found[1])

    def sockets(self) -> int:
        """Open sockets of its processes."""
        count = 0
        for pid in self._pids():
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # closed in between
                    count += os.readlink(link).startswith("socket:")
        return count

    def resident_mb(self) -> float:
        """Resident memory of its processes."""
        total_kb = 0.0
        for pid in self._pids():
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            total_kb += float(found[1]) if found else 0.0
        return total_kb / 1024

    def _pids(self) -> list[int]:
        """Itself, and its workers where it has any."""
        assert self.process is not None  # noqa: S101 - it was started
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(int(child) for child in children)]

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Ask its ledger's file."""
        connection = sqlite3.connect(self.ledger, timeout=30)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()


async def _object(stdout: asyncio.StreamReader) -> bytes:
    """One JSON object, over as many lines as it takes."""
    told = b""
    while line := await stdout.readline():
        told += line
        try:
            json.loads(told)
        except ValueError:
            continue
        return told
    return b""
