"""The gateways that stand side by side, each on the gateway's core in front of the same upstream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.load import Target
from gateway.processes import GATEWAY_CORE, NotStartedError, Running, free_port
from gateway.upstream import nginx_proxy

#: What is installed from PyPI, each into an environment of its own: it must not change ours.
PEERS = {"litellm": "litellm[proxy]==1.106.0", "sglang-router": "sglang-router==0.3.2"}
#: Ours, the one in question.
OURS = "herdwise"
_KEY = "hw-bench-0123456789abcdef"
_BIN = Path(sys.executable).parent


def install(cache: Path) -> dict[str, str]:
    """Install the peers where they are not yet; name -> why it could not be, for those."""
    missing: dict[str, str] = {}
    for name, requirement in PEERS.items():
        folder = cache / requirement.replace("[", "-").replace("]", "").replace("==", "-")
        if (folder / "installed").exists():
            continue
        python = folder / "bin" / "python"
        uv = str(_BIN / "uv")
        steps = [[uv, "venv", "--clear", "-p", sys.executable, str(folder)]]
        steps += [[uv, "pip", "install", "-p", str(python), requirement]]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                missing[name] = f"{requirement} cannot be installed: {done.stderr.strip()[-200:]}"
                break
        else:
            (folder / "installed").touch()
    return missing


def _venv(cache: Path, name: str) -> Path:
    return cache / PEERS[name].replace("[", "-").replace("]", "").replace("==", "-") / "bin"


def train(folder: Path) -> Path:
    """A router of all candidates of the outcomes that ship."""
    router = folder / "router"
    command = [str(_BIN / "herdwise"), "train", "--outcomes", "mmlu_pro", "--out", str(router)]
    subprocess.run(command, check=True, capture_output=True)
    return router


def ours(folder: Path, router: Path, upstream: int, extra: str = "") -> tuple[Running, Target]:
    """herdwise: learned routing over the router's whole herd, ledger, metrics and a key; caches off.

    Args:
        folder: takes config and ledger.
        router: a saved router.
        upstream: port of the upstream behind every candidate.
        extra: further lines of the config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    herd = json.loads((router / "manifest.json").read_text(encoding="utf-8"))["herd"]
    port = free_port()
    lines = [f"router: {json.dumps(str(router.resolve()))}", "candidates:"]
    for place, candidate in enumerate(herd):
        price = f"{{input_usd_per_mtok: {0.1 + place / 10:.1f}, output_usd_per_mtok: {0.4 + place / 5:.1f}}}"
        where = f"base_url: 'http://127.0.0.1:{upstream}/v1', model: bench, price: {price}"
        lines.append(f"  - {{name: {json.dumps(candidate['name'])}, {where}}}")
    lines += [f"ledger: {{url: 'sqlite:///{folder}/ledger.db'}}"]
    lines += [f"server: {{port: {port}, api_keys: ['{_KEY}'], log_level: WARNING}}", extra]
    config = folder / "herdwise.yaml"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [str(_BIN / "herdwise"), "serve", "--config", str(config)]
    running = Running(OURS, command, core=GATEWAY_CORE, log=folder / "herdwise.log")
    return running, Target(OURS, port, model="auto", key=_KEY, process=running)


def _litellm(folder: Path, cache: Path, upstream: int) -> tuple[Running, Target]:
    port = free_port()
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n- model_name: bench\n  litellm_params:\n    model: openai/bench\n"
        f"    api_base: http://127.0.0.1:{upstream}/v1\n    api_key: none\n",
        encoding="utf-8",
    )
    command = [str(_venv(cache, "litellm") / "litellm"), "--config", str(config), "--port", str(port)]
    env = {"LITELLM_MASTER_KEY": f"sk-{_KEY}", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    command += ["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"]
    running = Running("litellm", command, core=GATEWAY_CORE, log=folder / "litellm.log", env=env, cwd=folder)
    return running, Target("litellm", port, key=f"sk-{_KEY}", process=running)


def _sglang(folder: Path, cache: Path, upstream: int) -> tuple[Running, Target]:
    port = free_port()
    command = [str(_venv(cache, "sglang-router") / "python"), "-m", "sglang_router.launch_router"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin"]
    command += ["--worker-urls", f"http://127.0.0.1:{upstream}", "--log-level", "error"]
    command += ["--prometheus-port", str(free_port())]
    running = Running("sglang-router", command, core=GATEWAY_CORE, log=folder / "sglang.log", cwd=folder)
    return running, Target("sglang-router", port, process=running)


def _bare(folder: Path, upstream: int) -> tuple[Running, Target]:
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("bare.py")), str(port), str(upstream)]
    running = Running("bare Python", command, core=GATEWAY_CORE, log=folder / "bare.log")
    return running, Target("bare Python", port, process=running)


def _nginx(folder: Path, upstream: int) -> tuple[Running, Target]:
    running, port = nginx_proxy(folder / "nginx-proxy", upstream, GATEWAY_CORE)
    return running, Target("nginx", port, process=running)


@contextmanager
def standing(
    folder: Path, cache: Path, router: Path, upstream: int, leave_out: dict[str, str]
) -> Iterator[list[Target]]:
    """All gateways in front of one upstream; ``leave_out`` is told who cannot be started, and why."""
    plan: dict[str, Callable[[], tuple[Running, Target]]] = {
        OURS: lambda: ours(folder, router, upstream),
        "litellm": lambda: _litellm(folder, cache, upstream),
        "sglang-router": lambda: _sglang(folder, cache, upstream),
        "bare Python": lambda: _bare(folder, upstream),
        "nginx": lambda: _nginx(folder, upstream),
    }
    folder.mkdir(parents=True, exist_ok=True)
    started: list[Running] = []
    targets: list[Target] = []
    try:
        for name, start in plan.items():
            if name in leave_out:
                continue
            running, target = start()
            started.append(running)
            try:
                running.wait_for(f"http://127.0.0.1:{target.port}/v1/models", 90, key=target.key)
            except NotStartedError as error:
                if name == OURS:
                    raise
                leave_out[name] = str(error)
                running.end()
            else:
                targets.append(target)
        yield targets
    finally:
        for running in started:
            running.end()


def cores() -> int:
    """Cores that may be used."""
    return len(os.sched_getaffinity(0))
