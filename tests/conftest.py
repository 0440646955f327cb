"""Fixtures that several floors' tests share."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
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
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TextIO

import pytest

# Tests run side by side, one to a core. With more threads than cores, those of a matrix product wait for each
# other by spinning: a training of 6 s took 53 s of both cores. Before numpy is loaded, and for all it starts.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

_STDERR = pytest.StashKey[TextIO]()
#: What a test gets beside its own limit to give back what it holds.
_GIVE_BACK_S = 90.0


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STDERR] = os.fdopen(os.dup(2), "w")  # before it is captured


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process where pytest-timeout cannot end a test.

    It raises an error where the test stands, once: a callback of the event loop may swallow that, and what
    cleans up after it may hang too. All other tests go on in another worker.
    """
    marker = item.get_closest_marker("timeout")
    limit_s = float(marker.args[0] if marker is not None else item.config.getini("timeout") or "inf")
    told = item.config.stash[_STDERR]

    def give_up() -> None:
        print(f"\n{item.nodeid} does not end", file=told, flush=True)
        faulthandler.dump_traceback(file=told)
        os._exit(70)

    watchdog = threading.Timer(min(limit_s + _GIVE_BACK_S, threading.TIMEOUT_MAX), give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        return (yield)
    finally:
        watchdog.cancel()


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
def closed_port() -> Iterator[int]:
    """A local port where nobody listens, unless the test does."""
    with _reserved_port() as port:
        yield port


@pytest.fixture
def threaded_upstream() -> Iterator[Callable[..., Any]]:
    """As ``faulty_upstream``, for tests that are no coroutines: the servers run in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    started: list[Any] = []

    def on_loop(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=60)

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
        thread.join(60)
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


@contextlib.contextmanager
def _reserved_port() -> Iterator[int]:
    """A port that the system gives to nobody else meanwhile, but that a server may be told to listen on."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _dying_with_us() -> list[str]:
    """What stands before a command that is to end when this process does, however it ends."""
    setpriv = shutil.which("setpriv")  # of Linux alone
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL"]


@contextlib.contextmanager
def _running(
    command: list[str], log: Path, sign: Callable[[], bool], stop: signal.Signals
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once ``sign`` says that it serves; told to stop at the end, and killed if it does not."""
    with log.open("wb") as told:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
    try:
        deadline = time.monotonic() + 120
        while not sign():
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} does not serve: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield server
    finally:
        server.send_signal(stop)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis or Valkey of this test run's own."""
    program = _program("redis-server") or _program("valkey-server")
    if program is None:
        pytest.skip("no Redis server is installed (Debian: apt install redis-server)")
    folder = tmp_path_factory.mktemp("redis")
    log = folder / "log"
    with _reserved_port() as port:
        command = [*_dying_with_us(), program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(folder)]
        with _running(command, log, lambda: b"eady to accept" in log.read_bytes(), signal.SIGTERM):
            yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL of this test run's own, as an SQLAlchemy URL without a database's name."""
    initdb = _program("initdb", folders="usr/lib/postgresql/*/bin")
    if initdb is None:
        pytest.skip("no PostgreSQL is installed (Debian: apt install postgresql)")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="herdwise-pg-"))
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    made = [*as_user, initdb, "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8"]
    state = folder / "data" / "postmaster.pid"
    try:
        subprocess.run([*made, "-N"], check=True, capture_output=True, cwd=folder, timeout=200)
        program = str(Path(initdb).with_name("postgres"))
        with _reserved_port() as port:
            # The user first: who becomes another is no longer told of its parent's end.
            command = [*as_user, *_dying_with_us(), program, "-D", str(folder / "data"), "-p", str(port)]
            command += ["-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
            log = tmp_path_factory.mktemp("postgres") / "log"
            with _running(
                command, log, lambda: state.exists() and "ready" in state.read_text(), signal.SIGINT
            ):
                yield f"postgresql+psycopg://postgres@127.0.0.1:{port}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
