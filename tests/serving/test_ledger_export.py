"""What was served comes back as an outcome folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError
from herdwise.serving.ledger import Ledger
from herdwise.serving.ledger_export import export_ledger
from herdwise.serving.ledger_summary import summarise_ledger
from herdwise.storage.outcomes import read_outcomes, read_texts


async def serve_a_little(endpoint: Any) -> tuple[Any, list[Any]]:
    e = await endpoint()
    replies = [await e.chat("What is a quark?"), await e.chat("And a gluon, in more than a few words?")]
    e.upstreams["large"].behave(["server_error", "ok"])
    replies.append(await e.chat("Which one is it, and why is it so?", stream=True))
    for upstream in e.upstreams.values():
        upstream.behave("server_error")
    replies.append(await e.chat("Nobody answers this"))
    names = [r.headers["x-herdwise-decision-id"] for r in replies]
    feedback = [
        {"decision_id": names[0], "score": 0.25},
        {"decision_id": names[0], "thumbs": "up", "comment": "better than I thought"},
        {"decision_id": names[2], "thumbs": "down", "demonstration": "It is the second."},
    ]
    for said in feedback:
        assert (await e.send("POST", "/v1/feedback", said)).status == 200
    return e, replies


async def test_an_export_reads_back_as_an_outcome_table(endpoint: Any, tmp_path: Path) -> None:
    e, replies = await serve_a_little(endpoint)
    done = e.service.ledger.export(tmp_path / "served")
    assert (done.queries, done.outcomes, done.graded) == (3, 3, 2)
    assert (done.without_text, done.without_answer) == (0, 1)
    table = read_outcomes(tmp_path / "served")
    assert list(table.texts) == [
        "What is a quark?",
        "And a gluon, in more than a few words?",
        "Which one is it, and why is it so?",
    ]
    assert set(table.benchmarks) == {"served"}
    assert table.herd.names == ["large", "small"]
    assert table.herd["large"].params_b == 70
    quality = table.matrix("quality")
    np.testing.assert_allclose(quality, [[0.625, np.nan], [np.nan, np.nan], [np.nan, 0.0]])
    assert np.isfinite(table.matrix("cost_usd")).tolist() == [[True, False], [True, False], [False, True]]
    assert table.matrix("output_tokens")[0, 0] == 5
    assert table.matrix("output_chars")[0, 0] == len("echo: What is a quark?")
    assert (table.matrix("latency_s")[0, 0]) > 0
    assert list(table.references or ()) == [None, None, "It is the second."]
    texts = read_texts(tmp_path / "served")
    assert texts[(replies[0].headers["x-herdwise-decision-id"], "large")] == "echo: What is a quark?"


async def test_a_grade_belongs_to_the_answer_that_was_returned(endpoint: Any, tmp_path: Path) -> None:
    from herdwise.routing.base import Ask, Finish, Policy, Situation, Step, Wait

    class Both(Policy):
        name = "both"

        def step(self, situation: Situation) -> Step:
            if situation.in_flight:
                return Wait()
            return Finish(1, "the second") if situation.answers else Ask((0, 1))

    e = await endpoint(policies={"both": Both()})
    reply = await e.chat()
    said = {"decision_id": reply.headers["x-herdwise-decision-id"], "score": 0.5}
    await e.send("POST", "/v1/feedback", said)
    e.service.ledger.export(tmp_path / "served")
    quality = read_outcomes(tmp_path / "served").matrix("quality")
    np.testing.assert_allclose(quality, [[np.nan, 0.5]])


async def test_texts_that_are_not_stored_are_nowhere_in_the_ledger(endpoint: Any, tmp_path: Path) -> None:
    e = await endpoint(store_texts=False)
    reply = await e.chat("my secret question")
    assert (await e.decision(reply))["text"] is None
    said = {"decision_id": reply.headers["x-herdwise-decision-id"], "score": 1}
    await e.send("POST", "/v1/feedback", said)
    files = [p.read_bytes() for p in e.ledger_path.parent.glob("ledger.db*")]
    assert files
    assert not any(b"secret question" in content for content in files)
    with pytest.raises(ConfigError, match="1 of them without their text"):
        e.service.ledger.export(tmp_path / "served")


def test_an_empty_ledger_or_none_at_all_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no ledger"):
        export_ledger(f"sqlite:///{tmp_path}/none.db", tmp_path / "out")
    empty = Ledger(str(tmp_path / "empty.db"))
    empty.start(Herd([Candidate("a")]))
    empty.close()
    with pytest.raises(ConfigError, match="nothing to export: 0 decisions"):
        export_ledger(str(tmp_path / "empty.db"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from herdwise.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


async def test_the_commands_show_and_export_a_ledger_in_use(endpoint: Any, tmp_path: Path) -> None:
    e, _ = await serve_a_little(endpoint)
    url = f"sqlite:///{e.ledger_path}"
    found = summarise_ledger(url)
    assert found.decisions == {"answered": 3, "failed": 1}
    assert found.feedback == 3
    by_name = {c.candidate: c for c in found.candidates}
    assert (by_name["large"].asks, by_name["large"].answered, by_name["large"].graded) == (4, 2, 2)
    assert by_name["large"].quality == 0.625
    assert by_name["small"].quality == 0.0
    shown = run("ledger", "show", "--ledger", url, "--json")
    assert json.loads(shown.stdout)["decisions"] == {"answered": 3, "failed": 1}
    drawn = run("ledger", "show", "--ledger", url)
    assert "62.5" in drawn.stdout
    assert "quark" not in drawn.stdout
    out = tmp_path / "out"
    exported = run("ledger", "export", "--ledger", url, "--out", str(out), "--json")
    assert json.loads(exported.stdout)["outcomes"] == 3
    assert read_outcomes(out).n_queries == 3


def test_the_command_refuses_a_missing_ledger_with_exit_code_2(tmp_path: Path) -> None:
    done = run("ledger", "export", "--out", str(tmp_path / "out"), "--ledger", str(tmp_path / "none.db"))
    assert done.returncode == 2
    assert "there is no ledger" in done.stderr
