"""One contract over every registered grader."""

import pytest

from herdwise.core.completion import Completion
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import GRADERS

#: grader -> options, reference, a right answer, a wrong one.
CASES = {
    "exact": ({}, "Paris", "It lies on the Seine.\n\nThe answer is **Paris**.", "The answer is Rome."),
    "choice": ({}, "B", "Blue, so the answer is (B).", "The answer is (A)."),
    "python_tests": (
        {"tests": "assert double(4) == 8"},
        None,
        "Here:\n```python\ndef double(x):\n    return 2 * x\n```",
        "```python\ndef double(x):\n    return x\n```",
    ),
}
GRADERS_UNDER_TEST = pytest.mark.parametrize("name", GRADERS.names())


def item_for(name: str, **changes: object) -> Item:
    options, reference, _, _ = CASES[name]
    fields: dict[str, object] = {"id": "i", "text": "q", "messages": (), "grader": name, "options": options}
    return Item(**{**fields, "reference": reference, **changes})  # type: ignore[arg-type]


def test_every_registered_grader_has_a_case() -> None:
    assert set(GRADERS.names()) == set(CASES)


@GRADERS_UNDER_TEST
def test_its_name_is_the_registered_one(name: str) -> None:
    assert GRADERS.get(name).name == name


@GRADERS_UNDER_TEST
def test_a_right_answer_is_1_and_a_wrong_one_0_and_both_were_read(name: str) -> None:
    options, _, right, wrong = CASES[name]
    grader = GRADERS.create(name, **options)
    assert grader.check(item_for(name)) is None
    good = grader.grade(item_for(name), Completion("ant", right))
    bad = grader.grade(item_for(name), Completion("ant", wrong))
    assert (good.quality, bad.quality) == (1.0, 0.0)
    assert good.answer is not None
    assert bad.answer is not None


@GRADERS_UNDER_TEST
@pytest.mark.parametrize("text", ["", "  \n", "<think>never mind"])
def test_an_answer_that_says_nothing_is_wrong_and_null(name: str, text: str) -> None:
    grade = GRADERS.create(name, **CASES[name][0]).grade(item_for(name), Completion("ant", text))
    assert (grade.quality, grade.answer) == (0.0, None)
    assert grade.note


@GRADERS_UNDER_TEST
def test_a_refusal_is_a_wrong_answer(name: str) -> None:
    grader = GRADERS.create(name, **CASES[name][0])
    assert (
        grader.grade(item_for(name), Completion("ant", "I'm sorry, but I can't help with that.")).quality
        == 0.0
    )


@GRADERS_UNDER_TEST
def test_an_item_that_it_cannot_grade_is_refused_by_field(name: str) -> None:
    lacking = GRADERS.create(name).check(item_for(name, reference=None, options={}))
    assert lacking is not None
    assert lacking.split(":")[0] in {"reference", "tests"}
