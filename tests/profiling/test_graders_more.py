"""What the graders for numbers, overlap, patterns and JSON count as right."""

from __future__ import annotations

from typing import Any

import pytest

from herdwise.core.completion import Completion
from herdwise.core.errors import ItemsError
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import GRADERS
from herdwise.profiling.graders.f1 import F1, squad_words
from herdwise.profiling.graders.json_schema import JsonSchema
from herdwise.profiling.graders.numeric import Numeric
from herdwise.profiling.graders.regex import Regex


def item(reference: str | None = None, **fields: Any) -> Item:
    return Item("i", "q", (), "exact", reference=reference, **fields)


def quality(grader: Any, reference: str | None, text: str) -> float | None:
    assert grader.check(item(reference)) is None
    value: float | None = grader.grade(item(reference), Completion("ant", text)).quality
    return value


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("72", "She sold 48 and 24, so 72 clips in all.\n#### 72"),
        ("She sold 48 / 2 = <<48/2=24>>24.\n#### 1,234", "The answer is $1,234.00."),
        ("5 km", "The answer is 5000 m"),
        ("-3", "so x = -3"),
        ("1/4", r"\boxed{\frac{1}{4}}"),
        ("50%", "The answer is 0.5"),
        ("0.5", "The answer is 50%."),
        ("50", "That makes 50 %"),
        ("6e3", "6 × 10^3"),
        ("72", "<think>Is it 7?</think>It is 72."),
    ],
)
def test_the_same_number_in_another_writing_is_right(reference: str, text: str) -> None:
    assert quality(Numeric(), reference, text) == 1.0


@pytest.mark.parametrize(
    ("reference", "text"),
    [("72", "71"), ("5 km", "5 kg"), ("5 km", "5 m"), ("50", "The answer is 0.5"), ("3", "-3")],
)
def test_another_number_is_wrong(reference: str, text: str) -> None:
    assert quality(Numeric(), reference, text) == 0.0


def test_tolerances_are_of_the_reference() -> None:
    assert quality(Numeric(tolerance=0.01), "100", "101") == 1.0
    assert quality(Numeric(tolerance=0.01), "100", "101.1") == 0.0
    assert quality(Numeric(absolute=0.5), "0", "0.4") == 1.0
    assert quality(Numeric(), "0", "0.4") == 0.0
    assert quality(Numeric(alternatives=[7]), "8", "The answer is 7") == 1.0


def test_a_text_without_a_number_is_unread() -> None:
    grade = Numeric().grade(item("7"), Completion("ant", "I can't say."))
    assert (grade.quality, grade.answer) == (0.0, None)


@pytest.mark.parametrize(
    ("reference", "alternatives", "text", "wanted"),
    [
        ("the Eiffel Tower", [], "Eiffel tower!", 1.0),
        ("Eiffel Tower", [], "The answer is the tower in Paris", 0.4),
        ("Eiffel Tower", ["tower"], "The answer is the tower", 1.0),
        ("Eiffel Tower", [], "London", 0.0),
        ("東京都", [], "東京", 0.8),
    ],
)
def test_overlap_is_squads_f1(reference: str, alternatives: list[str], text: str, wanted: float) -> None:
    assert quality(F1(alternatives=alternatives), reference, text) == pytest.approx(wanted)


def test_a_word_counts_as_often_as_it_stands() -> None:
    assert quality(F1(), "no no yes", "no yes yes") == pytest.approx(2 / 3)
    assert squad_words("An apple; the U.S.") == ["apple", "us"]


def test_a_pattern_is_searched_and_may_be_the_reference() -> None:
    assert quality(Regex(), r"\bParis\b", "It is in Paris, I think.") == 1.0
    assert quality(Regex(), r"\bParis\b", "It is in Parisian style.") == 0.0
    assert quality(Regex(pattern=r"paris", flags="i"), None, "PARIS") == 1.0
    assert quality(Regex(pattern=r"\d{4}", full=True), None, "in 1984") == 0.0
    assert quality(Regex(pattern=r"\d{4}", full=True, read="answer"), None, "So:\nAnswer: 1984.") == 1.0


def test_what_a_pattern_captures_last_is_compared_with_the_reference() -> None:
    grader = Regex(pattern=r"Answer: (?P<answer>\S+)")
    assert quality(grader, "7", "Answer: 6\nno, Answer: 7") == 1.0
    assert quality(grader, "7", "Answer: 6") == 0.0
    grade = grader.grade(item("7"), Completion("ant", "It is 7."))
    assert (grade.quality, grade.answer) == (0.0, None)


def test_a_pattern_may_have_to_be_absent() -> None:
    grader = Regex(pattern="(?:sorry|cannot)", flags="i", absent=True)
    assert quality(grader, None, "Here you are.") == 1.0
    assert quality(grader, None, "Sorry, no.") == 0.0


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ada", "age": 36}',
        'Here:\n```json\n{"name": "Ada", "age": 36}\n```\nDone.',
        'The object is {"name": "Ada", "age": 36}, I think {so}.',
        '<think>{"name": 1}</think>{"name": "Ada", "age": 36}',
    ],
)
def test_json_that_keeps_the_schema_is_right_wherever_it_stands(text: str) -> None:
    assert quality(JsonSchema(schema=SCHEMA), None, text) == 1.0


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('{"name": "Ada"}', "'age' is a required property"),
        ('{"name": "Ada", "age": -1}', "$.age"),
        ('{"name": "Ada", "age": 36, "x": 1}', "Additional properties"),
        ("[1, 2]", "is not of type 'object'"),
        ('{"name": "Ada", "age": NaN}', "no JSON"),
        ("{" * 5000, "no JSON"),
    ],
)
def test_json_that_breaks_the_schema_is_wrong_and_the_note_says_where(text: str, note: str) -> None:
    grade = JsonSchema(schema=SCHEMA).grade(item(), Completion("ant", text))
    assert grade.quality == 0.0
    assert note in grade.note


def test_strict_json_stands_alone() -> None:
    assert quality(JsonSchema(schema=SCHEMA, strict=True), None, 'So: {"name": "Ada", "age": 36}') == 0.0


def test_json_is_compared_with_a_reference_by_value() -> None:
    reference = '{"a": 1.0, "b": [true, null, " x "]}'
    assert quality(JsonSchema(), reference, '{"b": [true, null, "x"], "a": 1}') == 1.0
    assert quality(JsonSchema(), reference, '{"b": [1, null, "x"], "a": 1}') == 0.0
    assert quality(JsonSchema(partial=True), reference, '{"b": [], "a": 1, "c": 2}') == 0.5


def test_a_schema_that_points_elsewhere_is_refused_and_nothing_is_fetched(threaded_upstream: Any) -> None:
    up = threaded_upstream()
    grader = JsonSchema(schema={"$ref": up.base_url + "/schema.json"})
    with pytest.raises(ItemsError, match="schema"):
        grader.grade(item(), Completion("ant", "{}"))
    assert up.requests == []


@pytest.mark.parametrize(
    ("grader", "options", "reference", "field"),
    [
        ("numeric", {}, "many", "reference: holds no number"),
        ("numeric", {"alternatives": ["few"]}, "1", "alternatives: holds no number"),
        ("f1", {}, "...", "reference: holds no word"),
        ("regex", {"pattern": "("}, None, "grader_options.pattern: is no regular expression"),
        ("regex", {}, "(", "reference: is no regular expression"),
        ("regex", {"pattern": "(a)"}, None, "reference: is missing"),
        ("regex", {"pattern": "(a)", "absent": True}, "a", "grader_options.absent"),
        ("regex", {"pattern": "a", "flags": "q"}, None, "grader_options.flags"),
        ("regex", {"pattern": "a", "read": "lips"}, None, "grader_options.read"),
        ("json_schema", {"schema": {"type": "objekt"}}, None, "grader_options.schema: is no JSON Schema"),
        ("json_schema", {"schema": 7}, None, "grader_options.schema: must be"),
        ("json_schema", {}, "{", "reference: is not JSON"),
        ("judge", {}, None, "grader_options.candidate: is missing"),
        ("judge", {"candidate": "owl", "rubric": " "}, None, "grader_options.rubric: is empty"),
        ("judge_pair", {"candidate": "owl"}, None, "reference: is missing"),
    ],
)
def test_what_a_grader_lacks_is_named_by_field(
    grader: str, options: dict[str, Any], reference: str | None, field: str
) -> None:
    lacking = GRADERS.create(grader, **options).check(item(reference))
    assert lacking is not None
    assert lacking.startswith(field)


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', "[" * 900 + "]" * 900, "[" * 100_000])
def test_json_that_cannot_be_looked_at_is_wrong_and_breaks_nothing(text: str) -> None:
    nested = {"anyOf": [{"type": "object"}, {"type": "array", "items": {"$ref": "#"}}]}
    assert quality(JsonSchema(schema=nested), None, text) == 0.0
    assert quality(JsonSchema(), '{"a": "b"}', text) == 0.0
