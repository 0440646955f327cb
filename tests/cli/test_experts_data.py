"""`herdwise experts synthesise`, `curate`, `gate` and `make` as commands, over real HTTP upstreams."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from herdwise import Candidate, Herd, OutcomeTable, write_outcomes
from herdwise.experts.examples import Example, read_examples, write_examples
from herdwise.storage.outcomes import read_outcomes

SUMS = [(f"add the numbers {a} and {b} please", str(a + b)) for a in range(2, 22) for b in range(1, 7)]
NOTES = [
    f"which note sings the {w} {i} under the old bridge" for w in ("lark", "owl", "wren") for i in range(40)
]


def answer(body: Mapping[str, Any]) -> str:
    """A model that writes questions when told to, and knows all answers under the name `sage`."""
    text = body["messages"][-1]["content"]
    if "JSON array" in text:
        first = len(re.sub(r"\D", "", text)) + int(re.findall(r"\d+", text)[0])
        return json.dumps(
            [f"which note sings the rook {first * 20 + i} under the new bridge" for i in range(10)]
        )
    if body["model"] == "sage":
        return dict(SUMS).get(text, "high C")
    return dict(SUMS).get(text, "I would say low D")


@pytest.fixture
def place(tmp_path: Path, threaded_upstream: Callable[..., Any]) -> Any:
    """A config of two candidates, outcomes in which nobody knows notes, and the server behind both."""
    up = threaded_upstream(models=("clerk", "sage"), answer=answer)
    (tmp_path / "herdwise.yaml").write_text(
        "candidates:\n"
        f"  - {{name: clerk, base_url: '{up.base_url}', active_params_b: 1}}\n"
        f"  - name: sage\n    base_url: {up.base_url}\n"
        "    price: {input_usd_per_mtok: 1, output_usd_per_mtok: 2}\n"
    )
    texts = [text for text, _ in SUMS] + NOTES
    n = len(texts)
    right = np.r_[np.ones(len(SUMS)), np.zeros(len(NOTES))]
    table = OutcomeTable(
        herd=Herd([Candidate("clerk")]),
        query_ids=[str(i) for i in range(n)],
        texts=texts,
        benchmarks=["mixed"] * n,
        splits=["train"] * n,
        references=[reference for _, reference in SUMS] + ["high C"] * len(NOTES),
        query_index=np.arange(n, dtype=np.int32),
        candidate_index=np.zeros(n, dtype=np.int32),
        sample=np.zeros(n, dtype=np.int32),
        values={"quality": right},
        name="made",
    )
    write_outcomes(table, tmp_path / "outcomes")
    up.folder = tmp_path
    return up


def test_a_teacher_writes_for_the_weak_cluster_within_its_budget_and_a_dry_run_asks_nothing(
    herdwise: Callable[..., Any], place: Any
) -> None:
    folder = place.folder
    told = ["experts", "synthesise", "--config", folder / "herdwise.yaml", "--outcomes", folder / "outcomes",
            "--teacher", "sage", "--n", 20, "--clusters", 2, "--out", folder / "data", "--json"]  # fmt: skip
    dry = herdwise(*told, "--dry-run")
    assert dry.code == 0, dry.err
    assert dry.json["asks"] == 22
    assert dry.json["most_usd"] > 0
    assert place.bodies == []
    done = herdwise(*told)
    assert done.code == 0, done.err
    examples = read_examples(folder / "data" / "examples.jsonl")
    made = [e for e in examples if e.source == "sage"]
    assert len(made) == 20
    assert {e.answer for e in made} == {"high C"}
    assert {e.source for e in examples} == {"sage", "recorded"}
    report = msgspec.json.decode((folder / "data" / "report.json").read_bytes())
    assert 0 < report["spent_usd"] <= dry.json["most_usd"]
    n_calls = len(place.bodies)
    assert herdwise(*told).code == 0
    assert len(place.bodies) == n_calls


def test_what_the_teacher_refuses_is_set_aside_with_its_reason_and_told(
    herdwise: Callable[..., Any], place: Any
) -> None:
    folder = place.folder
    told = ["experts", "synthesise", "--config", folder / "herdwise.yaml", "--outcomes", folder / "outcomes",
            "--teacher", "sage", "--n", 20, "--clusters", 2, "--out", folder / "data", "--json"]  # fmt: skip
    refused = ("server_error", {"status": 400, "message": "flagged by the filter"})
    place.behave(["ok", "ok", "ok", refused, refused, "ok"])
    done = herdwise(*told)
    assert done.code == 0, done.err
    assert done.json["set_aside"] == 2
    assert "2 asks were set aside" in done.err
    assert "flagged by the filter" in done.err
    lines = (folder / "data" / "set_aside.jsonl").read_bytes().splitlines()
    assert all("flagged by the filter" in msgspec.json.decode(line)["reason"] for line in lines)
    assert len([e for e in read_examples(folder / "data" / "examples.jsonl") if e.source == "sage"]) == 18
    n_calls = len(place.bodies)
    again = herdwise(*told)
    assert (again.json["set_aside"], len(place.bodies)) == (0, n_calls + 2)


def test_a_teacher_that_refuses_nearly_all_ends_the_command_and_what_was_answered_is_kept(
    herdwise: Callable[..., Any], place: Any
) -> None:
    folder = place.folder
    told = ["experts", "synthesise", "--config", folder / "herdwise.yaml", "--outcomes", folder / "outcomes",
            "--teacher", "sage", "--n", 20, "--clusters", 2, "--out", folder / "data"]  # fmt: skip
    refused = ("server_error", {"status": 400, "message": "flagged by the filter"})
    place.behave(["ok", "ok", "ok", refused])
    ended = herdwise(*told)
    assert ended.code == 1
    assert "more than 20%" in ended.err
    assert "--max-refused" in ended.err
    assert not (folder / "data" / "examples.jsonl").exists()
    n_calls = len(place.bodies)
    place.behave("ok")
    assert herdwise(*told).code == 0
    assert len(place.bodies) == n_calls + 19


def test_examples_that_a_voter_contradicts_and_those_that_are_measured_on_are_dropped(
    herdwise: Callable[..., Any], place: Any
) -> None:
    folder = place.folder
    given, kept = folder / "given.jsonl", folder / "kept.jsonl"
    write_examples(
        given,
        [Example("add the numbers 2 and 3 please", "5"), Example("add the numbers 2 and 4 please", "7"),
         Example("which colour has the sky of Mars at noon in summer?", "low D")],
    )  # fmt: skip
    asked = ["experts", "curate", "--examples", given, "--out", kept, "--config", folder / "herdwise.yaml"]
    done = herdwise(*asked, "--voter", "clerk", "--json")
    assert done.code == 0, done.err
    assert done.json["dropped"]["disagreement"] == 2  # the colour, too, is not what the clerk says
    assert [e.query for e in read_examples(kept)] == ["add the numbers 2 and 3 please"]
    leak = herdwise(*asked, "--held-out", folder / "outcomes", "--source-weight", "x=2", "--json")
    assert leak.json["dropped"]["leak"] == 2
    dropped = (folder / "kept.dropped.jsonl").read_text().splitlines()
    assert "add the numbers 2 and 3" in dropped[0]
    assert herdwise(*asked, "--source-weight", "heavy").code == 2


def test_what_a_voter_did_not_answer_is_told_and_asked_again_and_another_model_votes_anew(
    herdwise: Callable[..., Any], place: Any
) -> None:
    folder, config = place.folder, place.folder / "herdwise.yaml"
    write_examples(folder / "given.jsonl", [Example(text, said) for text, said in SUMS[:6]])
    asked = ["experts", "curate", "--examples", folder / "given.jsonl", "--out", folder / "kept.jsonl",
             "--config", config, "--voter", "clerk"]  # fmt: skip
    place.behave(["ok", ("server_error", {"status": 400, "message": "flagged by the filter"}), "ok"])
    done = herdwise(*asked)
    assert done.code == 0, done.err
    assert "clerk: 1 asks were set aside" in done.err
    aside = (folder / "kept.votes" / "clerk.set_aside.jsonl").read_text().splitlines()
    assert ["flagged by the filter" in line for line in aside] == [True]
    n_calls = len(place.bodies)
    assert "set aside" not in herdwise(*asked).err
    assert len(place.bodies) == n_calls + 1
    config.write_text(config.read_text().replace("{name: clerk,", "{name: clerk, model: sage,"))
    assert herdwise(*asked).code == 0
    assert len(place.bodies) == n_calls + 1 + 6


def test_a_candidate_of_any_backend_is_tried_and_admitted_where_it_knows_what_nobody_knew(
    herdwise: Callable[..., Any], place: Any
) -> None:
    folder = place.folder
    config = folder / "herdwise.yaml"
    config.write_text(config.read_text().split("  - name: sage")[0])
    entry = folder / "sage.yaml"
    entry.write_text(f"name: sage\nbase_url: {place.base_url}\n")
    told = ["experts", "gate", "--config", config, "--outcomes", folder / "outcomes", "--entry", entry,
            "--out", folder / "gate", "--probes", 30]  # fmt: skip
    done = herdwise(*told, "--json")
    assert done.code == 0, done.err
    assert (done.json["admitted"], done.json["reason"]) == (True, "better")
    assert done.json["low"] > 0
    n_calls = len(place.bodies)
    assert n_calls <= 30 + done.json["n"]
    again = herdwise(*told)  # what was asked is on record
    assert "is admitted" in again.out
    assert len(place.bodies) == n_calls
    entry.write_text("backend: embedded\n")
    assert herdwise(*told).code == 2


def test_an_entry_is_read_as_a_config_is_its_variables_filled_in_and_typos_named(
    herdwise: Callable[..., Any], place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place.folder
    config, entry = folder / "herdwise.yaml", folder / "entry.yaml"
    config.write_text(config.read_text().split("  - name: sage")[0])
    told = ["experts", "gate", "--config", config, "--outcomes", folder / "outcomes", "--entry", entry,
            "--out", folder / "gate", "--probes", 30]  # fmt: skip
    entry.write_text(f"name: sage\nbase_url: {place.base_url}\napi_key: ${{SAGES_KEY}}\n")
    unset = herdwise(*told)
    assert unset.code == 2
    assert "entry.yaml, line 3: api_key: the environment variable SAGES_KEY is not set" in unset.err
    monkeypatch.setenv("SAGES_KEY", "sk-sage")
    assert herdwise(*told).code == 0
    shown = {r.headers.get("authorization") for r in place.requests if r.body.get("model") == "sage"}
    assert shown == {"Bearer sk-sage"}
    for text, problem in (
        (f"name: sage\nbase_url: {place.base_url}\nparamsb: 3\n", "Did you mean params_b?"),
        ("name: sage\n", "has no base_url"),
        ("- sage\n", "is no candidate"),
    ):
        entry.write_text(text)
        run = herdwise(*told)
        assert run.code == 2
        assert problem in run.err
    entry.unlink()
    assert "there is no such file" in herdwise(*told).err


def test_what_the_model_before_answered_in_the_same_folder_does_not_count_for_the_one_tried_now(
    herdwise: Callable[..., Any], place: Any
) -> None:
    folder, shipped = place.folder, files("herdwise") / "data" / "nano"
    config, entry, model = folder / "herdwise.yaml", folder / "entry.yaml", folder / "model"
    config.write_text(config.read_text().split("  - name: sage")[0])
    entry.write_text(f"name: small\nbackend: embedded\noptions: {{folder: {model}}}\n")
    told = ["experts", "gate", "--config", config, "--outcomes", folder / "outcomes", "--entry", entry,
            "--out", folder / "gate", "--probes", 30]  # fmt: skip
    for name, n_profiles in (("sums", 1), ("sums", 1), ("dates", 2)):
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(str(shipped / name), model)
        assert herdwise(*told).code == 0
        assert len(list((folder / "gate" / "probes").iterdir())) == n_profiles


def test_the_gate_measures_the_configs_policy_where_answers_are_on_record_and_says_so_where_not(
    herdwise: Callable[..., Any], place: Any
) -> None:
    folder = place.folder
    config = folder / "herdwise.yaml"
    config.write_text(
        config.read_text().split("  - name: sage")[0] + "policy: {name: cascade, options: {threshold: 0.6}}\n"
    )
    table = read_outcomes(folder / "outcomes")
    said = np.array([answer({"model": "clerk", "messages": [{"content": t}]}) for t in table.texts], object)
    write_outcomes(replace(table, answers=said, _cache={}), folder / "with-answers")
    (folder / "sage.yaml").write_text(f"name: sage\nbase_url: {place.base_url}\nactive_params_b: 1\n")
    told = ["experts", "gate", "--config", config, "--entry", folder / "sage.yaml", "--probes", 30, "--json"]
    cascade = herdwise(*told, "--outcomes", folder / "with-answers", "--out", folder / "a").json
    assert (cascade["policy"], cascade["policy_note"], cascade["admitted"]) == ("cascade", "", True)
    assert "(cascade)" in cascade["words"]
    single = herdwise(*told, "--outcomes", folder / "outcomes", "--out", folder / "b").json
    assert (single["policy"], single["admitted"]) == ("single", True)
    assert "0% are on record" in single["policy_note"]
    named = [*told, "--outcomes", folder / "with-answers", "--out", folder / "c", "--policy"]
    assert herdwise(*named, "single").json["policy"] == "single"
    n_calls = len(place.bodies)
    assert herdwise(*named, "nonsense").code == 2
    assert len(place.bodies) == n_calls


def test_what_others_put_in_a_folder_is_never_replaced(herdwise: Callable[..., Any], place: Any) -> None:
    folder = place.folder
    served = folder / "router" / "manifest.json"
    served.parent.mkdir()
    served.write_text("mine")
    (folder / "sage.yaml").write_text(f"name: newcomer\nbase_url: {place.base_url}\n")
    told = ["--config", folder / "herdwise.yaml", "--outcomes", folder / "outcomes", "--out", folder]
    gate = herdwise("experts", "gate", "--entry", folder / "sage.yaml", *told)
    made = herdwise("experts", "make", "--name", "x", "--no-enlist", "--family", "plurals", *told)
    for run, named in ((gate, "holds router,"), (made, "holds outcomes, router,")):
        assert run.code == 2
        assert named in run.err
        assert "Choose another --out" in run.err
    assert served.read_text() == "mine"
    assert place.bodies == []


def test_make_says_what_is_missing_before_it_starts(herdwise: Callable[..., Any], place: Any) -> None:
    folder = place.folder
    told = ["experts", "make", "--config", folder / "herdwise.yaml", "--outcomes", folder / "outcomes",
            "--out", folder / "e"]  # fmt: skip
    for more, missing in (
        (["--family", "plurals"], "--name"),
        (["--name", "x", "--family", "plurals"], "server.admin_key"),
        (["--name", "x", "--no-enlist"], "--teacher NAME"),
        (["--name", "x", "--no-enlist", "--family", "nonsense"], "no family"),
        (["--name", "x", "--no-enlist", "--family", "plurals", "--kind", "magic"], "magic"),
        (["--recipe", "cake"], "no recipe"),
    ):
        run = herdwise(*told, *more)
        assert run.code == 2, more
        assert missing in run.err
    assert not (folder / "e").exists()
