import pytest

from herdwise.core.completion import Completion
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.choice import Choice
from herdwise.profiling.graders.exact import Exact
from herdwise.profiling.graders.numeric import Numeric
from herdwise.profiling.graders.python_tests import PythonTests


def item(reference: str | None = None, choices: tuple[str, ...] = ()) -> Item:
    return Item("i", "q", (), "exact", reference=reference, choices=choices)


@pytest.mark.parametrize(
    ("text", "reference"),
    [("1,000", "1000"), ("The answer is 0.5.", "1/2"), ("the Seine.", "Seine"), ("Wait.\nParis", "paris")],
)
def test_exact_compares_normal_forms_and_numbers(text: str, reference: str) -> None:
    assert Exact().grade(item(reference), Completion("ant", text)).quality == 1.0


def test_exact_takes_alternatives_and_a_tolerance() -> None:
    assert Exact(alternatives=["Lutetia"]).grade(item("Paris"), Completion("ant", "Lutetia")).quality == 1.0
    assert Exact().grade(item("3.14159"), Completion("ant", "3.14")).quality == 0.0
    assert Exact(tolerance=0.01).grade(item("3.14159"), Completion("ant", "3.14")).quality == 1.0


def test_choice_counts_a_guess_only_when_told_to() -> None:
    text = Completion("ant", "So E = hc, they say")
    strict, lenient = Choice().grade(item("E"), text), Choice(guess=True).grade(item("E"), text)
    assert (strict.quality, strict.answer) == (0.0, None)
    assert (lenient.quality, lenient.answer) == (1.0, "E")


def test_choice_reads_the_options_own_words() -> None:
    grade = Choice().grade(item("B", ("red", "blue")), Completion("ant", "Blue."))
    assert (grade.quality, grade.answer) == (1.0, "B")


@pytest.mark.parametrize(
    ("code", "note"),
    [
        ("import sys\nsys.exit(0)\ndef f(): return 1", "left before"),
        ("def f(: return 1", "SyntaxError"),
        ("def f():\n    while True: pass", "timed out"),
        ("def f(): return 2", "AssertionError"),
    ],
)
def test_code_that_does_not_pass_its_tests_is_0_and_the_note_says_why(code: str, note: str) -> None:
    grader = PythonTests(tests="assert f() == 1", timeout_s=2)
    grade = grader.grade(item(), Completion("ant", f"```python\n{code}\n```"))
    assert grade.quality == 0.0
    assert note in grade.note


def test_code_without_a_block_is_read_where_the_whole_text_is_code() -> None:
    grader = PythonTests(tests="assert f() == 3", prefix="import math")
    whole = grader.grade(item(), Completion("ant", "def f():\n    return math.ceil(2.5)"))
    prose = grader.grade(item(), Completion("ant", "It returns three."))
    assert (whole.quality, prose.quality, prose.answer) == (1.0, 0.0, None)


@pytest.mark.parametrize(
    ("said", "reference", "quality"),
    [
        ("$2.5 million", "2,500,000", 1.0),
        ("2500000", "2.5 million", 1.0),
        ("12 dozen", "12", 1.0),
        ("12 dozen", "144", 1.0),
        ("minus 5", "-5", 1.0),
        ("1 1/2 hours", "90 min", 1.0),
        ("3 million", "3 thousand", 0.0),
        ("3 million km", "3 km", 0.0),
        ("3 K", "3000", 0.0),
        ("12 dozen", "12 km", 0.0),
    ],
)
def test_numeric_reads_scales_and_mixed_numbers(said: str, reference: str, quality: float) -> None:
    assert Numeric().grade(item(reference), Completion("ant", f"The answer is {said}.")).quality == quality
