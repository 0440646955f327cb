"""One contract over every registered grader."""

import pytest

from herdwise.core.completion import Completion
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import GRADERS, AskingGrader, Grade

#: grader -> options, reference, a right answer, a wrong one.
CASES = {
    "exact": ({}, "Paris", "It lies on the Seine.\n\nThe answer is **Paris**.", "The answer is Rome."),
    "choice": ({}, "B", "Blue, so the answer is (B).", "The answer is (A)."),
    "numeric": ({}, "1234", "That makes 1,234 clips.", "The answer is 12."),
    "f1": ({}, "Eiffel Tower", "The answer is the Eiffel Tower.", "A bridge."),
    "regex": ({"pattern": r"Answer: (\w+)"}, "Paris", "Answer: Paris", "Answer: Rome"),
    "json_schema": ({"schema": {"type": "array"}}, "[1]", "```json\n[1]\n```", "[2]"),
    "judge": ({"candidate": "owl"}, None, "good", "bad"),
    "judge_pair": ({"candidate": "owl"}, "fair", "good", "bad"),
    "python_tests": (
        {"tests": "assert double(4) == 8"},
        None,
        "Here:\n```python\ndef double(x):\n    return 2 * x\n```",
        "```python\ndef double(x):\n    return x\n```",
    ),
}
#: What a judge who knows good from bad says to each question.
REPLIES = {
    "judge": {"good": ["[[10]]"], "bad": ["[[1]]"]},
    "judge_pair": {"good": ["[[1]]", "[[2]]"], "bad": ["[[2]]", "[[1]]"]},
}
#: The grader lm_eval needs a task, and is tested with one of its own.
WITHOUT_A_TASK = [name for name in GRADERS.names() if name != "lm_eval"]
GRADERS_UNDER_TEST = pytest.mark.parametrize("name", WITHOUT_A_TASK)


def item_for(name: str, **changes: object) -> Item:
    options, reference, _, _ = CASES[name]
    fields: dict[str, object] = {"id": "i", "text": "q", "messages": (), "grader": name, "options": options}
    return Item(**{**fields, "reference": reference, **changes})  # type: ignore[arg-type]


def graded(name: str, text: str) -> Grade:
    grader, completion = GRADERS.create(name, **CASES[name][0]), Completion("ant", text)
    assert grader.check(item_for(name)) is None
    if not isinstance(grader, AskingGrader):
        return grader.grade(item_for(name), completion)
    questions = grader.questions(item_for(name), completion)
    replies = REPLIES[name].get(text, REPLIES[name]["bad"])
    assert len(questions) in {0, len(replies)}
    return grader.grade(item_for(name), completion, replies[: len(questions)])


def test_every_registered_grader_has_a_case() -> None:
    assert set(WITHOUT_A_TASK) == set(CASES)


@GRADERS_UNDER_TEST
def test_its_name_is_the_registered_one(name: str) -> None:
    assert GRADERS.get(name).name == name


@GRADERS_UNDER_TEST
def test_a_right_answer_is_1_and_a_wrong_one_0_and_both_were_read(name: str) -> None:
    good, bad = graded(name, CASES[name][2]), graded(name, CASES[name][3])
    assert (good.quality, bad.quality) == (1.0, 0.0)
    assert good.answer is not None
    assert bad.answer is not None


@GRADERS_UNDER_TEST
@pytest.mark.parametrize("text", ["", "  \n", "<think>never mind"])
def test_an_answer_that_says_nothing_is_wrong_and_null(name: str, text: str) -> None:
    grade = graded(name, text)
    assert (grade.quality, grade.answer) == (0.0, None)
    assert grade.note


@GRADERS_UNDER_TEST
def test_a_refusal_is_a_wrong_answer(name: str) -> None:
    assert graded(name, "I'm sorry, but I can't help with that.").quality == 0.0


@GRADERS_UNDER_TEST
def test_an_item_that_it_cannot_grade_is_refused_by_field(name: str) -> None:
    lacking = GRADERS.create(name).check(item_for(name, reference=None, options={}))
    assert lacking is not None
    assert lacking.split(":")[0] in {"reference", "tests", "grader_options.candidate"}
