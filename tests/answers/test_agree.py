import pytest

from herdwise.answers.agree import groups, same_answer


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("C", " c."),
        ("1,000 m", "1000"),
        ("0.5", "1/2"),
        ("The Seine", "**seine**"),
        ("3.14159", "3.1416"),
        ("42 apples", "42"),
        ("$5", "5"),
        ("3 million", "3,000,000"),
        ("3 million", "3"),
        ("2.5 million km", "2,500,000 km"),
        ("12 dozen", "144"),
        ("1 5/8 inches", "1.625"),
    ],
)
def test_answers_that_say_the_same_agree(a: str, b: str) -> None:
    assert same_answer(a, b)
    assert same_answer(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("C", "D"),
        ("3 m", "3 km"),
        ("50%", "50"),
        ("-3", "3"),
        ("room 5", "5"),
        ("3.14", "3.15"),
        ("Seine", "Rhône"),
        ("A1", "A2"),
        ("3 million", "3 thousand"),
        ("3 million", "3 km"),
        ("3 million km", "3 km"),
    ],
)
def test_answers_that_differ_do_not(a: str, b: str) -> None:
    assert not same_answer(a, b)


def test_an_answer_that_could_not_be_read_agrees_with_nothing() -> None:
    assert not same_answer(None, None)
    assert not same_answer("", "")
    assert not same_answer("...", "...")


def test_groups_are_labelled_in_order_of_appearance() -> None:
    assert groups(["C", None, "D", " c.", "", "d", "..."]) == [0, -1, 1, 0, -1, 1, -1]


def test_tolerance_never_chains() -> None:
    assert groups(["100", "101", "102"], relative=0.0101) == [0, 0, 1]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("5 km", "5000 m", True),
        ("5 kilometers", "5 km", True),
        ("250 mL", "0.25 L", True),
        ("90 minutes", "1.5 hours", True),
        ("1.2 kg", "1200 g", True),
        ("5 km", "500 m", False),
        ("5 km", "5 kg", False),
        ("3 apples", "3 pears", False),
        ("5 nm", "5 mm", False),
    ],
)
def test_units_that_measure_the_same_are_converted(a: str, b: str, same: bool) -> None:
    assert same_answer(a, b) is same
    assert same_answer(b, a) is same


def test_numbers_beyond_what_a_float_holds_agree_only_when_they_are_the_same() -> None:
    assert same_answer("9" * 400, "9" * 400)
    assert not same_answer("9" * 400, "8" * 400)
