"""``herdwise profile`` with a judge, a budget, benchmarks by name: as a process of its own; also killed."""

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
N_ITEMS = 30


@pytest.fixture
def items(tmp_path: Path) -> Path:
    file = tmp_path / "tales.jsonl"
    rows = [{"id": str(i), "question": f"tale {i}?"} for i in range(N_ITEMS)]
    file.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return file


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
    )


async def run(*args: object) -> tuple[int, str, str]:
    process = await start(*args)
    out, err = await asyncio.wait_for(process.communicate(), 200)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_after_kill_9_no_reply_of_the_judge_is_paid_for_again(
    faulty_upstream: Start, tmp_path: Path, items: Path
) -> None:
    ant = await faulty_upstream(models=("ant",))
    owl = await faulty_upstream(models=("owl",), answer=lambda body: "Fine. [[7]]")
    owl.behave([*["ok"] * 9, ("ok", {"until": lambda: False})])  # it cannot end before it is killed
    config = write_config(tmp_path, ant=ant.base_url, owl=owl.base_url)
    out = tmp_path / "out"
    command = ("profile", "--config", config, "--benchmark", items, "--out", out, "--candidates", "ant")
    command = (*command, "--grader", "judge:candidate=owl", "--grader", "judge:rubric=Be kind.")
    process = await start(*command, "--concurrency", 3)
    await owl.until(lambda: len(owl.bodies) >= 10)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    before = read_journal(out / JOURNAL)
    assert 0 < len(before.replies) < N_ITEMS
    owl.behave("ok")
    code, stdout, stderr = await run(*command, "--concurrency", 3, "--json")
    assert code == 0, stderr
    told = msgspec.json.decode(stdout)
    assert told["n_resumed"] == len(before.answers)
    # Only what was under way when it was killed, at most --concurrency of each, is asked again.
    for up in (ant, owl):
        counts = Counter(b["messages"][-1]["content"] for b in up.bodies)
        assert len(counts) == N_ITEMS
        assert counts.total() - N_ITEMS <= 3
    assert all("Be kind." in b["messages"][0]["content"] for b in owl.bodies)
    assert told["judges"][0]["n"] == N_ITEMS
    assert told["spent_usd"] > told["candidates"][0]["cost_usd"] > 0
    assert read_outcomes(out).matrix("quality")[:, 0].tolist() == [pytest.approx(6 / 9)] * N_ITEMS


def test_a_budget_ends_a_profile_cleanly_and_a_larger_one_goes_on(
    threaded_upstream: Any, herdwise: Callable[..., Any], tmp_path: Path, items: Path
) -> None:
    up = threaded_upstream(models=("ant",))
    config = write_config(tmp_path, ant=up.base_url)
    out = tmp_path / "out"
    command = ("profile", "--config", config, "--items", items, "--out", out, "--max-tokens", 10)
    command = (*command, "--grader", "regex:pattern=tale", "--budget-usd")
    done = herdwise(*command, 0.00016)
    assert done.code == 0, done.err
    assert "stopped at the budget of 0.00016 USD (ant)" in done.err
    assert "written to" in done.out
    asked = len(up.bodies)
    assert 0 < asked < N_ITEMS
    done = herdwise(*command, 1, "--json")
    told = done.json
    assert (done.code, told["n_outcomes"], told["n_resumed"], told["budget_usd"]) == (0, N_ITEMS, asked, 1.0)
    assert len(up.bodies) == N_ITEMS


def test_benchmarks_by_name_are_asked_together_and_told_apart(
    threaded_upstream: Any, herdwise: Callable[..., Any], tmp_path: Path
) -> None:
    up = threaded_upstream(models=("ant",), answer=lambda body: "The answer is 4.")
    config = write_config(tmp_path, ant=up.base_url)
    sums, own = tmp_path / "test.jsonl", tmp_path / "own.jsonl"
    sums.write_text(
        '{"question": "2 + 2?", "answer": "#### 4"}\n{"question": "2 + 3?", "answer": "#### 5"}\n'
    )
    own.write_text('{"question": "3 + 1?", "answer": 4}\n')
    command = ("profile", "--config", config, "--benchmark", f"gsm8k:{sums}", "--benchmark", own)
    done = herdwise(*command, "--out", tmp_path / "out", "--wrong", 3)
    assert done.code == 0, done.err
    assert "by benchmark" in done.out
    assert "ant: not wholly right" in done.out
    assert "gsm8k-test-2" in done.out.split("not wholly right")[1]
    assert "gsm8k-test-1" not in done.out.split("not wholly right")[1]
    done = herdwise(*command, "--out", tmp_path / "out", "--json")
    told = done.json
    assert [(b["benchmark"], b["n_items"], b["candidates"][0]["quality"]) for b in told["benchmarks"]] == [
        ("gsm8k", 2, 0.5),
        ("own", 1, 1.0),
    ]
    assert len(up.bodies) == 3


def test_grading_anew_needs_no_upstream(
    threaded_upstream: Any, herdwise: Callable[..., Any], tmp_path: Path, items: Path, closed_port: int
) -> None:
    up = threaded_upstream(models=("ant",))
    out = tmp_path / "out"
    command = ("profile", "--items", items, "--out", out, "--json")
    config = write_config(tmp_path, ant=up.base_url)
    done = herdwise(*command, "--config", config, "--grader", "regex:pattern=tale")
    assert done.code == 0, done.err
    assert done.json["candidates"][0]["quality"] == 1.0
    config = write_config(tmp_path, ant=f"http://127.0.0.1:{closed_port}/v1")
    done = herdwise(*command, "--config", config, "--grader", "regex:pattern=1", "--regrade")
    assert done.code == 0, done.err
    quality = done.json["candidates"][0]["quality"]
    assert quality == pytest.approx(sum("1" in str(i) for i in range(N_ITEMS)) / N_ITEMS)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "there is nothing to ask"),
        (("--benchmark", "nowhere.jsonl"), "there is no such file"),
        (("--items", "tales.jsonl", "--grader", "vibes"), "there is no grader 'vibes'"),
        (("--items", "tales.jsonl", "--grader", "judge:candidate=eagle"), "'eagle', which is no candidate"),
        (("--items", "tales.jsonl", "--grader", "regex:pattern=("), "is no regular expression"),
        (("--items", "tales.jsonl", "--grader", "regex:pattern=a", "--budget-usd", "1"), "--max-tokens"),
    ],
)
def test_what_is_wrong_with_the_command_is_said_before_anything_is_asked(
    herdwise: Callable[..., Any], tmp_path: Path, items: Path, args: tuple[str, ...], said: str
) -> None:
    config = write_config(tmp_path, ant="http://127.0.0.1:9/v1")
    told = [str(items) if arg == "tales.jsonl" else arg for arg in args]
    done = herdwise("profile", "--config", config, "--out", tmp_path / "out", *told)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_the_judge_and_says_whether_the_budget_holds(
    herdwise: Callable[..., Any], tmp_path: Path, items: Path
) -> None:
    config = write_config(tmp_path, ant="http://127.0.0.1:9/v1", owl="http://127.0.0.1:9/v1")
    command = ("profile", "--config", config, "--items", items, "--out", tmp_path / "out", "--dry-run")
    command = (*command, "--candidates", "ant", "--max-tokens", 20, "--grader", "judge:candidate=owl")
    done = herdwise(*command, "--budget-usd", 0.01, "--json")
    told = done.json
    assert [(c["candidate"], c["judges"], c["calls"]) for c in told["candidates"]] == [
        ("ant", False, N_ITEMS),
        ("owl", True, N_ITEMS),
    ]
    assert told["cost_usd"] > told["budget_usd"] == 0.01
    done = herdwise(*command, "--budget-usd", 0.01)
    assert "owl (judge)" in done.out
    assert "too much" in done.out
