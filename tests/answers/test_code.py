import pytest

from herdwise.answers.code import asks_for_code, given_tests, normal_program, program_of, run_tests

ADD = "def add(a, b):\n    return a + b\n"


@pytest.mark.parametrize(
    ("question", "wants"),
    [
        ("Write a Python function add(a, b).", True),
        ("Please implement the following class.", True),
        ("Schreibe ein Programm, das Zahlen addiert.", True),
        ("Escribe una función que sume.", True),
        ("写一个函数来求和", True),
        ("def add(a, b):\n    ...", True),
        ("What does a function of the liver depend on?", False),
        ("Write a poem about the sea.", False),
    ],
)
def test_a_question_that_wants_a_program_is_known_by_its_words(question: str, wants: bool) -> None:
    assert asks_for_code(question) is wants


def test_a_program_is_the_last_fenced_block_or_a_text_that_is_python() -> None:
    assert program_of(f"Here:\n```python\n{ADD}```\nDone.") == ADD.strip()
    assert program_of(ADD) == ADD.strip()
    assert program_of("One could add the numbers.") is None


def test_programs_are_the_same_but_for_comments_layout_and_annotations() -> None:
    other = 'def add(a: int, b: int) -> int:\n  """Adds."""\n  # simply\n  return (a + b)\n'
    assert normal_program(other) == normal_program(ADD)
    assert normal_program("def add(a, b):\n    return b + a\n") != normal_program(ADD)
    assert normal_program("let  f =\n  x") == "let f = x"
    assert normal_program("x  =  " + "+".join("1" * 600)) == "x = " + "+".join(
        "1" * 600
    )  # too deep to rewrite


def test_tests_are_the_assert_lines_that_parse() -> None:
    question = "Write add.\n>>> say\nassert add(1, 2) == 3\n  assert add(0, 0) == 0\nassert that it is so"
    assert given_tests(question) == ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]


@pytest.mark.parametrize(
    ("program", "passed", "detail"),
    [
        (ADD, True, ""),
        ("def add(a, b):\n    return a - b\n", False, "AssertionError"),
        ("def add(a, b)\n", False, "SyntaxError"),
        ("import sys\nsys.exit(0)\n", False, "code 0"),
        ("print('all tests were run')\nraise SystemExit\n", False, "code 0"),
        ("while True: pass\n", False, "longer"),
    ],
)
def test_a_program_passes_only_if_every_test_was_run_and_held(
    program: str, passed: bool, detail: str
) -> None:
    verdict = run_tests(program, ["assert add(1, 2) == 3"], timeout_s=1.0)
    assert verdict.passed is passed
    assert detail in verdict.detail
