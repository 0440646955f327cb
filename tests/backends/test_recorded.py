"""The recorded backend: answers with what was recorded, invents nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herdwise.backends.recorded import Recorded, normalise, read_archive, sample_questions
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.completion import Usage
from herdwise.core.errors import ConfigError, NoRecordError, OutcomeError
from herdwise.core.outcomes import OutcomeTable
from herdwise.storage.outcomes import read_texts, write_outcomes

NAME = "Phi-3-mini-4k-instruct"


def ask(question: Any, *before: dict[str, Any]) -> dict[str, Any]:
    return {"model": "auto", "messages": [*before, {"role": "user", "content": question}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two candidates; the same question stands under two ids, each answered by another candidate."""
    table = OutcomeTable(
        herd=Herd([Candidate("a"), Candidate("b")]),
        query_ids=["1", "2", "3"],
        texts=["Which one?\nA. x", "Which  one? A. x ", "Why?"],
        benchmarks=["t"] * 3,
        splits=[None] * 3,
        query_index=np.array([0, 1, 2, 2]),
        candidate_index=np.array([0, 1, 0, 1]),
        sample=np.zeros(4, dtype=np.int64),
        values={"quality": np.ones(4)},
        name="pair",
    )
    texts = {("1", "a"): "from one", ("2", "b"): "from two", ("3", "a"): " Because.\n\n", ("3", "b"): ""}
    write_outcomes(table, tmp_path / "pair", texts=texts)
    return tmp_path / "pair"


async def test_every_sampled_question_is_answered_by_every_recorded_candidate_with_its_own_text() -> None:
    texts, archive = read_texts("mmlu_pro"), read_archive()
    assert len(archive.candidates) == 13
    for question in sample_questions(3):
        for name in archive.candidates:
            done = await Recorded(name).complete(ask(question))
            ids = archive.ids[normalise(question)]
            assert done.text in {texts[i, name] for i in ids}
            assert done.candidate == name


def test_sampled_questions_are_short_first_and_keep_to_a_length() -> None:
    questions = sample_questions(400, max_chars=300)
    lengths = [len(q) for q in questions]
    assert lengths == sorted(lengths)
    assert lengths[-1] <= 300
    assert len(set(questions)) == len(questions) > 50


async def test_the_answer_is_a_well_formed_object_that_states_no_usage() -> None:
    done = await Recorded(NAME).complete(ask(sample_questions(1)[0]))
    assert done.body["object"] == "chat.completion"
    assert {"id", "created", "model", "choices"} <= done.body.keys()
    assert done.body["choices"][0]["message"] == {"role": "assistant", "content": done.text}
    assert done.usage == Usage(None, None)
    assert "usage" not in done.body


async def test_a_stream_joins_to_the_very_text_in_chunks_of_words(folder: Path) -> None:
    chunks = [c async for c in Recorded("a", folder).stream(ask("Why?"))]
    assert [c.text for c in chunks] == ["", " Because.\n\n", ""]
    assert [c.finish_reason for c in chunks] == [None, None, "stop"]
    made = Recorded(NAME)
    question = sample_questions(1)[0]
    words = [c.text async for c in made.stream(ask(question))]
    assert "".join(words) == (await made.complete(ask(question))).text
    assert len(words) > 5


async def test_only_white_space_may_differ(folder: Path) -> None:
    made = Recorded("a", folder)
    assert (await made.complete(ask("  Which one?  A.\tx\n"))).text == "from one"
    for other in ("which one? A. x", "Please: Which one? A. x", "Which one?", ""):
        with pytest.raises(NoRecordError):
            await made.complete(ask(other))


async def test_the_same_question_under_two_ids_finds_the_one_this_candidate_answered(folder: Path) -> None:
    assert (await Recorded("b", folder).complete(ask("Which one? A. x"))).text == "from two"


async def test_only_the_last_user_message_counts_also_in_parts(folder: Path) -> None:
    before = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which one? A. x"}
    parts = [{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}]
    assert (await Recorded("a", folder).complete(ask(parts, *before))).text == " Because.\n\n"


async def test_an_empty_recorded_answer_is_an_answer(folder: Path) -> None:
    made = Recorded("b", folder)
    assert (await made.complete(ask("Why?"))).text == ""
    assert [c.text async for c in made.stream(ask("Why?"))] == ["", ""]


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": "x"}, {"messages": [1]}])
async def test_a_body_without_a_question_has_no_record(folder: Path, body: dict[str, Any]) -> None:
    with pytest.raises(NoRecordError):
        await Recorded("a", folder).complete(body)


async def test_a_question_without_a_record_is_refused_with_one_that_has_one(folder: Path) -> None:
    made = Recorded("a", folder)
    for call in (made.complete(ask("What else?")), anext(made.stream(ask("What else?")))):
        with pytest.raises(NoRecordError, match=r"'a' has no recorded answer to 'What else\?'") as caught:
            await call
        assert caught.value.candidate == "a"
        assert "'Why?'" in caught.value.remedy


async def test_a_candidate_without_texts_is_refused_with_those_that_have_some(folder: Path) -> None:
    made = Recorded("c", folder)
    with pytest.raises(NoRecordError, match="holds no text of 'c'") as caught:
        await made.complete(ask("Why?"))
    assert "a, b" in caught.value.remedy
    assert not (await made.probe()).reachable


async def test_another_name_in_the_record_is_reached_by_model(folder: Path) -> None:
    done = await Recorded("mine", folder, "a").complete(ask("Why?"))
    assert (done.candidate, done.text) == ("mine", " Because.\n\n")


async def test_a_probe_counts_the_recorded_answers(folder: Path) -> None:
    health = await Recorded("a", folder).probe()
    assert (health.reachable, health.detail, health.models) == (
        True,
        "2 recorded answers in pair",
        ("a", "b"),
    )


async def test_all_candidates_of_a_folder_share_one_archive(folder: Path) -> None:
    await asyncio.gather(*(Recorded(name, folder).complete(ask("Why?")) for name in "ab"))
    assert read_archive(folder) is read_archive(str(folder))


def test_making_one_reads_nothing_but_a_missing_folder_is_refused(tmp_path: Path) -> None:
    Recorded("a", tmp_path)
    with pytest.raises(OutcomeError, match="no such folder"):
        Recorded("a", tmp_path / "nowhere")


async def test_a_folder_without_texts_is_refused(folder: Path) -> None:
    (folder / "texts.parquet").unlink()
    with pytest.raises(OutcomeError, match="no recorded text"):
        read_archive(folder)
    assert not (await Recorded("a", folder).probe()).reachable


@pytest.mark.parametrize("latency_s", [-1.0, float("inf"), float("nan")])
def test_a_latency_that_is_none_is_refused(latency_s: float) -> None:
    with pytest.raises(ConfigError, match="latency_s"):
        Recorded("a", latency_s=latency_s)
