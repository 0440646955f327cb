"""Fixtures that several floors' tests share."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest


def _faulty_upstream_module() -> Any:
    """Tests may not import each other, so tests/faulty_upstream.py is loaded by its path, once."""
    name = "herdwise_tests_faulty_upstream"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("faulty_upstream.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def _provider_upstreams_module() -> Any:
    """As above; tests/provider_upstreams.py builds on tests/faulty_upstream.py."""
    name = "herdwise_tests_provider_upstreams"
    if name not in sys.modules:
        _faulty_upstream_module()
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("provider_upstreams.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
async def provider_upstream() -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """``await provider_upstream("anthropic", **options)`` starts a server of that API, or "ollama"."""
    async with AsyncExitStack() as stack:

        async def start(api: str, **options: Any) -> Any:
            kind = _provider_upstreams_module().UPSTREAMS[api]
            return await stack.enter_async_context(kind(**options))

        yield start


@pytest.fixture
async def faulty_upstream() -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """``await faulty_upstream(**options)`` starts a server of ours; any number, closed after the test."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Any:
            return await stack.enter_async_context(_faulty_upstream_module().FaultyUpstream(**options))

        yield start


@pytest.fixture
def closed_port() -> int:
    """A local port where nobody listens."""
    port: int = _faulty_upstream_module().closed_port()
    return port


@pytest.fixture
def threaded_upstream() -> Iterator[Callable[..., Any]]:
    """As ``faulty_upstream``, for tests that are no coroutines: the servers run in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started: list[Any] = []

    def on_loop(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=10)

    def start(**options: Any) -> Any:
        server = _faulty_upstream_module().FaultyUpstream(**options)
        started.append(on_loop(server.__aenter__()))
        return started[-1]

    try:
        yield start
        for server in started:
            on_loop(server.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def saved_router(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real router: ``alpha`` (7B, priced) is good at spelling, ``beta`` at numbers; and ``gamma``."""
    import numpy as np

    from herdwise.core.candidate import Candidate, Herd
    from herdwise.core.money import Price
    from herdwise.core.outcomes import OutcomeTable
    from herdwise.routing.router import Router

    words, numbers = ("apple", "river", "stone", "cloud", "music"), ("seven", "twelve", "ninety", "forty")
    texts = [f"spell the word {a} after {b}" for a in words for b in words if a != b]
    texts += [f"add the number {a} to {b}" for a in numbers for b in numbers if a != b]
    spelling = np.array([text.startswith("spell") for text in texts])
    quality = np.stack([np.where(spelling, 1.0, 0.2), np.where(spelling, 0.1, 0.9), np.full(len(texts), 0.4)])
    n, m = len(texts), 3
    table = OutcomeTable(
        herd=Herd(
            [
                Candidate(
                    "alpha", params_b=7.0, active_params_b=7.0, open_weights=True, price=Price(1.0, 2.0)
                ),
                Candidate("beta", params_b=70.0, active_params_b=70.0, open_weights=True),
                Candidate("gamma"),
            ]
        ),
        query_ids=[f"q{i}" for i in range(n)],
        texts=texts,
        benchmarks=["spelling" if s else "adding" for s in spelling],
        splits=[None] * n,
        query_index=np.tile(np.arange(n), m),
        candidate_index=np.repeat(np.arange(m), n),
        sample=np.zeros(n * m, dtype=np.int64),
        values={"quality": quality.ravel(), "output_tokens": np.full(n * m, 50.0)},
        name="letters and numbers",
    )
    folder = tmp_path_factory.mktemp("routers") / "letters"
    Router.fit(table, encoder="static", predictor="ridge").save(folder)
    return folder


@pytest.fixture
def make_outcomes() -> Callable[..., Any]:
    """``make_outcomes(qualities, **options)`` builds a small table by hand.

    ``qualities`` maps a candidate's name to its qualities, one per query, None = not run. Options:
    ``split``, ``benchmark`` and ``text`` (one per query), ``candidates`` (name -> Candidate fields), and
    numeric columns in the same shape as ``qualities``; ``answers`` likewise.
    """
    import numpy as np

    from herdwise.core.candidate import Candidate, Herd
    from herdwise.core.outcomes import OutcomeTable

    def make(
        qualities: dict[str, list[float | None]],
        *,
        split: list[str] | None = None,
        benchmark: list[str] | None = None,
        text: list[str] | None = None,
        candidates: dict[str, dict[str, Any]] | None = None,
        answers: dict[str, list[str | None]] | None = None,
        **columns: dict[str, list[float | None]],
    ) -> OutcomeTable:
        names = list(qualities)
        n = len(qualities[names[0]])
        pairs = [(i, j) for i in range(n) for j, name in enumerate(names) if qualities[name][i] is not None]

        def column(given: dict[str, list[float | None]]) -> Any:
            cells = [given[names[j]][i] if names[j] in given else None for i, j in pairs]
            return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)

        told = candidates or {}
        return OutcomeTable(
            herd=Herd(Candidate(name, **told.get(name, {})) for name in names),
            query_ids=[f"q{i}" for i in range(n)],
            texts=text or [f"question number {i}" for i in range(n)],
            benchmarks=benchmark or ["b"] * n,
            splits=split or ["test"] * n,
            query_index=np.array([i for i, _ in pairs], dtype=np.int32),
            candidate_index=np.array([j for _, j in pairs], dtype=np.int32),
            sample=np.zeros(len(pairs), dtype=np.int32),
            values={"quality": column(qualities), **{name: column(given) for name, given in columns.items()}},
            answers=None
            if answers is None
            else np.array([answers.get(names[j], [None] * n)[i] for i, j in pairs], dtype=object),
            name="by hand",
        )

    return make


def _program(name: str, *, folders: str = "") -> str | None:
    """Where a server's program is: on the path, or where Debian puts it."""
    found = shutil.which(name)
    return found or next((str(path) for path in sorted(Path("/").glob(f"{folders}/{name}"))), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis or Valkey of this test run's own."""
    program = _program("redis-server") or _program("valkey-server")
    if program is None:
        pytest.skip("no Redis server is installed (Debian: apt install redis-server)")
    port, folder = _free_port(), tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        _until(lambda: _listens(port), f"Redis at {port}")
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL of this test run's own, as an SQLAlchemy URL without a database's name."""
    initdb = _program("initdb", folders="usr/lib/postgresql/*/bin")
    if initdb is None:
        pytest.skip("no PostgreSQL is installed (Debian: apt install postgresql)")
    as_user: list[str] = []
    port, folder = _free_port(), Path(tempfile.mkdtemp(prefix="herdwise-pg-"))
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    made = [*as_user, initdb, "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8"]
    subprocess.run(made, check=True, capture_output=True, cwd=folder)
    program = str(Path(initdb).with_name("postgres"))
    command = [*as_user, program, "-D", str(folder / "data"), "-p", str(port), "-k", str(folder)]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    try:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            _until(lambda: _listens(port), f"PostgreSQL at {port}")
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}"
            server.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _until(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not start"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def nano_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny nano model's folder. Its weights are drawn, not learned: it babbles, but the same every time."""
    import numpy as np

    from herdwise.backends.nano.folder import NanoConfig, write_model

    config = NanoConfig(width=32, layers=2, heads=4, kv_heads=2, hidden=48, max_context=96, words=("hello",))
    rng = np.random.default_rng(3)
    tensors = {
        name: (rng.normal(size=shape) * 0.3 if len(shape) > 1 else rng.normal(1, 0.1, shape)).astype("f4")
        for name, shape in config.shapes().items()
    }
    return write_model(tmp_path_factory.mktemp("nano"), config, tensors, {"what": "drawn weights, for tests"})
