import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdwise.answers.extract import (
    as_number,
    asks_yes_no,
    boxed,
    final_answer,
    leading_yes_no,
    normal_form,
    numbers,
    read_code,
    read_number,
    read_short_text,
    read_yes_no,
    without_thinking,
)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("The total is 1,234.5 km.", 1234.5, "km"),
        ("Es sind 1.234,56 Euro", 1234.56, "Euro"),
        ("3,14", 3.14, ""),
        ("0,125", 0.125, ""),
        ("10,000,000", 10_000_000.0, ""),
        ("−5 °C", -5.0, "°C"),
        ("#### 1,000", 1000.0, ""),
        ("The answer is 3/4.", 0.75, ""),
        (r"\boxed{\frac{3}{4}}", 0.75, ""),
        ("about 1.2 × 10^{-3} m", 0.0012, "m"),
        ("6.02e23", 6.02e23, ""),
        ("x = 3 + 4 = 7", 7.0, ""),
        ("The answer is 42 apples out of 50.", 42.0, "apples"),
        ("First 3, then 9.", 3.0, ""),
        ("Take 3.\nThat makes 12%.", 12.0, "%"),
        (".5", 0.5, ""),
        ("The answer is 2.5 billion.", 2.5e9, ""),
        ("It is about 2.5 million light years away.", 2.5e6, "light"),
        ("$3 million in all", 3e6, "in"),
        ("5 hundred thousand people", 5e5, "people"),
        ("The answer is 12 dozen eggs.", 144.0, "eggs"),
        ("1/2 million", 5e5, ""),
        ("A. 1 1/4 in. diameter", 1.25, "in"),
        (r"The answer is 33\frac{1}{3}\%", 100 / 3, "%"),
        ("#### 2½", 2.5, ""),
        ("mI = -½", -0.5, ""),
        ("-1 1/2", -1.5, ""),
        ("The answer is minus 5.", -5.0, ""),
        ("negative 3", -3.0, ""),
        ("x = minus $2", -2.0, ""),
    ],
)
def test_a_number_is_read_with_its_unit(text: str, value: float, unit: str) -> None:
    number = read_number(text)
    assert number is not None
    assert number.value == pytest.approx(value)
    assert number.unit == unit


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("273.15 K, 0.25 M, 3k and 2 B", [273.15, 0.25, 3.0, 2.0]),
        ("$3k$", [3.0]),
        ("5 hundredths and 2 millionths", [5.0, 2.0]),
        ("2 millionaires", [2.0]),
        ("12 eggs, a dozen", [12.0]),
        ("1 5/2", [1.0, 2.5]),
        ("the roots 2 and 1/2", [2.0, 0.5]),
        ("at $13 1/20 Purchase", [13.0, 0.05]),
        ("on 1 11/12/2020", [1.0, 11.0, 12 / 2020]),
        (r"x^2 \frac{1}{2}", [2.0, 0.5]),
        ("1\n1/2", [1.0, 0.5]),
        ("101/100 minus 1 is it", [1.01, 1.0]),
        ("7 minus 5", [7.0, 5.0]),
        ("a negative 5-HT test", [5.0]),
    ],
)
def test_what_only_looks_like_one_number_stays_apart(text: str, values: list[float]) -> None:
    assert [number.value for number in numbers(text)] == pytest.approx(values)


@pytest.mark.parametrize("text", ["", "none at all", "1/0", "1e999", "seven", "minus five"])
def test_no_number_is_invented(text: str) -> None:
    assert read_number(text) is None


@given(st.integers(-(10**9), 10**9))
def test_every_integer_is_read_back_with_and_without_thousands_marks(value: int) -> None:
    for written in (f"{value}", f"{value:,}"):
        found = as_number(written)
        assert found is not None
        assert found.value == value


@given(st.text(max_size=200))
def test_no_text_makes_a_reader_fail(text: str) -> None:
    numbers(text), read_number(text), read_yes_no(text), read_code(text), read_short_text(text)
    assert final_answer(text) == final_answer(text).strip()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes, because it floats.", True),
        ("The answer is no.", False),
        ("Nein, das geht nicht.", False),
        ("Oui", True),
        ("Sí", True),
        ("是的", True),
        ("不是", False),
        ("Notebooks are yellow", None),
        ("", None),
    ],
)
def test_yes_and_no_are_read_in_several_languages(text: str, said: bool | None) -> None:
    assert read_yes_no(text) is said


def test_normal_form_keeps_words_only() -> None:
    assert normal_form(' "The **Eiffel Tower**". ') == normal_form("eiffel  tower") == "eiffel tower"
    assert normal_form("ＡＢＣ") == "abc"
    assert normal_form("don't") == "don't"
    assert normal_form("A.") == "a"


def test_the_answer_span_is_boxed_stated_or_last() -> None:
    assert final_answer(r"It is \boxed{\text{a}{b}} indeed") == r"\text{a}{b}"
    assert final_answer("The answer is **Paris**.\nIs that all?") == "Paris"
    assert final_answer("Well.\n\nParis.\n") == "Paris"
    assert boxed(r"\boxed{never closed") is None


def test_thinking_is_left_out_also_where_a_tag_is_missing() -> None:
    assert without_thinking("<think>a</think>b") == "b"
    assert without_thinking("a</think>b") == "b"
    assert without_thinking("<think>a").strip() == ""


def test_code_is_the_last_block_of_its_language() -> None:
    text = "```python\na = 1\n```\nthen\n```py\nb = 2\n```\nand\n```sh\nls\n```"
    assert read_code(text, "python") == "b = 2"
    assert read_code(text) == "ls"
    assert read_code("```python\nnever_closed = 1") == "never_closed = 1"
    assert read_code("no code") is None


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("Is the sky blue?", True),
        ("The sky is clear.\nDoes that make it blue?", True),
        ("If it rains, is the street wet?", True),
        ("True or false: the sky is blue.", True),
        ("Is the sky blue or green?", False),
        ("What is blue?", False),
        ("Can you write a poem?", False),
        ("This is it. Why?", False),
        (", is" * 100_000 + "\n" * 100_000, False),
    ],
)
def test_questions_for_yes_or_no_are_told_from_others(question: str, asks: bool) -> None:
    assert asks_yes_no(question) is asks


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>No, wait.</think>Yes: it floats.", True),
        ("It sinks, as iron does.\nThe answer is **no**.", False),
        ("Nein, das geht nicht.", False),
        ("是的，可以。", True),
        ("That is not correct.", None),
        ("No one knows.", None),
        ("", None),
    ],
)
def test_a_leading_yes_or_no_is_the_answer(text: str, said: bool | None) -> None:
    assert leading_yes_no(text) is said


@pytest.mark.parametrize(
    "text",
    ["1e" + "9" * 5000, "2 × 10^" + "9" * 5000, "9" * 400, "-1e308 million", f"{'9' * 400}/{'9' * 400}"],
)
def test_a_number_beyond_what_a_float_holds_is_none_and_no_error(text: str) -> None:
    assert numbers(text) == []
    assert as_number(text) is None
    assert [number.value for number in numbers(f"{text} or 7")] == [7.0]
