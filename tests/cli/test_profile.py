"""``herdwise profile`` as a process of its own, against real HTTP upstreams, also killed in the midst."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from herdwise.profiling.journal import read_journal
from herdwise.profiling.profiler import JOURNAL
from herdwise.storage.outcomes import read_outcomes

Start = Callable[..., Awaitable[Any]]
N_ITEMS = 40


@pytest.fixture
def items(tmp_path: Path) -> Path:
    file = tmp_path / "sums.jsonl"
    rows = [{"id": str(i), "question": f"{i} + 1?", "answer": i + 1} for i in range(N_ITEMS)]
    file.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return file


def right(body: Any) -> str:
    return f"The answer is {int(body['messages'][-1]['content'].split()[0]) + 1}."


def write_config(folder: Path, **base_urls: str) -> Path:
    lines = ["candidates:"]
    for name, url in base_urls.items():
        lines += [f"  - name: {name}", f"    base_url: {url}"]
        lines += ["    price: {input_usd_per_mtok: 1.0, output_usd_per_mtok: 2.0}"]
    file = folder / "herdwise.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


async def start(*args: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from herdwise.cli import main; main()",
        *map(str, args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
        # A shell that runs the tests in its background hands SIGINT down as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


async def run(*args: object) -> tuple[int, str, str]:
    process = await start(*args)
    out, err = await asyncio.wait_for(process.communicate(), 200)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def asked(up: Any) -> Counter[str]:
    return Counter(b["messages"][-1]["content"].split("?")[0] for b in up.bodies)


async def test_after_kill_9_nothing_that_was_answered_is_asked_again(
    faulty_upstream: Start, tmp_path: Path, items: Path
) -> None:
    ups = {name: await faulty_upstream(models=(name,), answer=right) for name in ("ant", "bee")}
    for up in ups.values():
        up.behave("slow", delay_s=0.05)
    ups["ant"].behave([*["slow"] * 12, ("ok", {"until": lambda: False})])  # it cannot end before it is killed
    config = write_config(tmp_path, **{name: up.base_url for name, up in ups.items()})
    out = tmp_path / "out"
    command = ("profile", "--config", config, "--items", items, "--out", out, "--concurrency", 3)
    process = await start(*command)
    await ups["ant"].until(lambda: len(ups["ant"].bodies) >= 13)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert not (out / "outcomes.parquet").exists()
    answered = read_journal(out / JOURNAL).answers
    assert 0 < len(answered) < 2 * N_ITEMS
    for up in ups.values():
        up.behave("ok")
    code, stdout, stderr = await run(*command, "--json")
    assert code == 0, stderr
    assert msgspec.json.decode(stdout)["n_resumed"] == len(answered)
    for name, up in ups.items():
        counts = asked(up)
        assert len(counts) == N_ITEMS
        assert all(counts[f"{item} + 1"] == 1 for item, candidate, _ in answered if candidate == name)
        # Only what was under way when it was killed, at most --concurrency of each, is asked again.
        assert counts.total() - N_ITEMS <= 3
    table = read_outcomes(out)
    assert table.matrix("quality").tolist() == [[1.0, 1.0]] * N_ITEMS


async def test_rate_limits_are_waited_out_and_every_item_gets_its_row(
    faulty_upstream: Start, tmp_path: Path, items: Path
) -> None:
    up = await faulty_upstream(models=("ant",), answer=right)
    up.behave(["ok", ("rate_limited", {"retry_after": 1}), "ok"])
    config = write_config(tmp_path, ant=up.base_url)
    code, _, stderr = await run("profile", "--config", config, "--items", items, "--out", tmp_path / "out")
    assert code == 0, stderr
    assert len(up.bodies) == N_ITEMS + 1
    assert read_outcomes(tmp_path / "out").n_outcomes == N_ITEMS


async def test_a_dead_candidate_is_named_and_the_table_still_printed(
    faulty_upstream: Start, tmp_path: Path, items: Path
) -> None:
    up = await faulty_upstream(models=("ant",), answer=right)
    broken = await faulty_upstream(models=("another",))
    config = write_config(tmp_path, ant=up.base_url, lost=broken.base_url)
    out = tmp_path / "out"
    code, stdout, stderr = await run("profile", "--config", config, "--items", items, "--out", out)
    assert code == 0, stderr
    assert "lost was given up" in stderr
    assert "does not exist" in stderr
    assert "100.0" in stdout
    assert read_outcomes(out).n_outcomes == N_ITEMS
    assert len(broken.bodies) < N_ITEMS


async def test_a_dry_run_says_calls_and_cost_and_asks_nothing(
    herdwise: Callable[..., Any], faulty_upstream: Start, tmp_path: Path, items: Path
) -> None:
    up = await faulty_upstream(models=("ant", "bee"))
    config = write_config(tmp_path, ant=up.base_url, bee=up.base_url)
    command = ("profile", "--config", config, "--items", items, "--out", tmp_path / "out", "--dry-run")
    done = herdwise(*command, "--json", "--limit", 10, "--max-tokens", 50, "--candidates", "bee")
    estimate = done.json
    assert (done.code, estimate["calls"], estimate["items"]) == (0, 10, 10)
    assert estimate["candidates"][0]["output_tokens"] == 500
    tokens = estimate["candidates"][0]["input_tokens"]
    assert estimate["cost_usd"] == pytest.approx((tokens + 2 * 500) / 1e6)
    done = herdwise(*command)
    assert done.code == 0
    assert "unknown" in done.out
    assert up.requests == []
    assert not (tmp_path / "out").exists()


def test_malformed_items_end_with_exit_code_2_and_their_lines(
    herdwise: Callable[..., Any], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "fine?", "answer": "yes"}\n{"question": "no answer"}\n{oops\n')
    config = write_config(tmp_path, ant="http://127.0.0.1:9/v1")
    done = herdwise("profile", "--config", config, "--items", bad, "--out", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "bad.jsonl" in done.err
    assert "line 2, answer: is missing" in done.err
    assert "line 3, not JSON" in done.err
    assert not (tmp_path / "out").exists()


async def test_another_profile_in_the_folder_ends_with_exit_code_2(
    herdwise: Callable[..., Any], faulty_upstream: Start, tmp_path: Path, items: Path
) -> None:
    up = await faulty_upstream(models=("ant",), answer=right)
    config = write_config(tmp_path, ant=up.base_url)
    command = ("profile", "--config", config, "--items", items, "--out", tmp_path / "out", "--limit", 3)
    assert (await run(*command))[0] == 0
    code, _, stderr = await run(*command, "--temperature", 1)
    assert code == 2
    assert "belongs to another profile" in stderr
    assert herdwise(*command, "--temperature", 1, "--dry-run").code == 2


async def test_ctrl_c_says_how_to_go_on(faulty_upstream: Start, tmp_path: Path, items: Path) -> None:
    up = await faulty_upstream(models=("ant",), answer=right)
    up.behave([*["ok"] * 6, ("ok", {"until": lambda: False})])
    config = write_config(tmp_path, ant=up.base_url)
    process = await start("profile", "--config", config, "--items", items, "--out", tmp_path / "out")
    await up.until(lambda: len(up.bodies) >= 7)
    process.send_signal(signal.SIGINT)
    _, stderr = await asyncio.wait_for(process.communicate(), 200)
    assert process.returncode == 130
    assert "Run the same command to go on" in stderr.decode()
    assert read_journal(tmp_path / "out" / JOURNAL).answers
