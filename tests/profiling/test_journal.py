from pathlib import Path

import pytest

from herdwise.core.errors import ArtefactError, ConfigError
from herdwise.profiling.benchmark import Item
from herdwise.profiling.journal import (
    VERSION,
    Answered,
    Failed,
    Graded,
    Header,
    Journal,
    Replied,
    fingerprint,
    grading_digest,
    read_journal,
)

HEADER = Header(VERSION, "f" * 64, 2, ["ant"], 1, {}, "2026-01-01T00:00:00+00:00")


def answered(item: str) -> Answered:
    return Answered(item, "ant", 0, f"text of {item}", cost_usd=0.5)


def test_what_is_added_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.add(answered("a"))
        journal.add(Graded("a", "ant", 0, "g", 1.0, "x"))
    record = read_journal(path)
    assert record.answers["a", "ant", 0] == answered("a")
    assert record.grades["a", "ant", 0].quality == 1.0
    assert not record.torn


@pytest.mark.parametrize("cut", [1, 10])
def test_a_torn_last_line_is_left_out_and_reported_and_what_follows_is_whole(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.add(answered("a"))
        journal.add(answered("b"))
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path, HEADER) as journal:
        # Only the line's end was cut off: the answer is all there, and not asked for again.
        assert journal.record.torn == (cut > 1)
        assert (("b", "ant", 0) in journal.record.answers) == (cut == 1)
        journal.add(answered("c"))
    assert {"a", "c"} <= {pair[0] for pair in read_journal(path).answers}


def test_a_line_that_is_damaged_in_the_midst_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.add(answered("a"))
    path.write_bytes(path.read_bytes() + b"garbage\n")
    with pytest.raises(ArtefactError, match="line 3"):
        read_journal(path)


def test_another_profiles_journal_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER):
        pass
    before = path.read_bytes()
    other = Header(VERSION, "0" * 64, 2, ["bee"], 1, {}, "2026-01-01T00:00:00+00:00")
    with pytest.raises(ConfigError, match="another profile"):
        Journal(path, other)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(
        b'{"kind":"profile","version":9,"fingerprint":"","n_items":1,"candidates":[],'
        b'"samples":1,"sampling":{},"started":""}\n'
    )
    with pytest.raises(ArtefactError, match="format 9"):
        read_journal(path)


def test_a_journal_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER), pytest.raises(ConfigError, match="in use"):
        Journal(path, HEADER)


def test_the_fingerprint_names_what_is_asked_and_no_more() -> None:
    def item(**changes: object) -> Item:
        fields = {"id": "a", "text": "q", "messages": ({"role": "user", "content": "q"},), "grader": "exact"}
        return Item(**{**fields, **changes})  # type: ignore[arg-type]

    def print_of(one: Item, candidates: dict[str, str], samples: int = 1, **sampling: float) -> str:
        return fingerprint([one], candidates, samples, sampling)

    base = print_of(item(), {"ant": "ant-7b"})
    assert print_of(item(reference="x", split="dev", category="c"), {"ant": "ant-7b"}) == base
    assert grading_digest(item(reference="x")) != grading_digest(item())
    others = [
        print_of(item(messages=({"role": "user", "content": "other"},)), {"ant": "ant-7b"}),
        print_of(item(id="b"), {"ant": "ant-7b"}),
        print_of(item(), {"ant": "ant-70b"}),
        print_of(item(), {"ant": "ant-7b"}, 2),
        print_of(item(), {"ant": "ant-7b"}, 1, temperature=0.5),
    ]
    assert len({base, *others}) == 6


def test_a_journal_of_the_first_format_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(
        b'{"kind":"profile","version":1,"fingerprint":"f","n_items":1,"candidates":["ant"],'
        b'"samples":1,"sampling":{},"started":""}\n'
        b'{"kind":"answer","item":"a","candidate":"ant","sample":0,"text":"t","finish_reason":null,'
        b'"input_tokens":1,"output_tokens":1,"latency_s":0.1,"cost_usd":0.5,"tokens":null}\n'
        b'{"kind":"failure","item":"b","candidate":"ant","sample":0,"error":"timeout","message":"m"}\n'
    )
    record = read_journal(path)
    assert record.answers["a", "ant", 0].cost_usd == 0.5
    assert record.lost_usd == 0.0


def test_replies_and_what_failed_calls_may_have_cost_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.add(Replied("owl", "digest", "[[7]]", cost_usd=0.25))
        journal.add(Failed("a", "ant", 0, "timeout", "m", 0.5))
        journal.add(Failed("b", "ant", 0, "timeout", "m", 0.25))
    record = read_journal(path)
    assert record.replies["digest"].text == "[[7]]"
    assert record.lost_usd == 0.75
