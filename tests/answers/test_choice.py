import pytest

from herdwise.answers.choice import read_choice
from herdwise.storage.outcomes import read_outcomes, read_texts


@pytest.mark.parametrize(
    ("text", "letter", "how"),
    [
        ("So it doubles. The answer is (C).", "C", "stated"),
        ("the answer is **C) Paris**", "C", "stated"),
        ("The correct answer is option C", "C", "stated"),
        ("thus $\\boxed{\\text{C}}$", "C", "stated"),
        ("The answer is $\\boxed{(c)}$.", "C", "stated"),
        ("Die Antwort lautet: C", "C", "stated"),
        ("La réponse est (C).", "C", "stated"),
        ("La respuesta correcta es la C", "C", "stated"),
        ("所以答案是C。", "C", "stated"),
        ("故选C", "C", "stated"),
        ("答えはCです", "C", "stated"),
        ("**Answer:** **C**", "C", "labelled"),
        ("Réponse : C", "C", "labelled"),
        ("答案：C", "C", "labelled"),
        ("C", "C", "bare"),
        ("**c**", "C", "bare"),
        ("(C).", "C", "bare"),
        ("C) Paris\n\nIt lies on the Seine.", "C", "bare"),
        ("The closest option is (C).", "C", "concluded"),
        ("I would choose C", "C", "concluded"),
        ("It depends on E = hc, they say", "E", "last_letter"),
    ],
)
def test_a_letter_is_read_from_every_usual_wording(text: str, letter: str, how: str) -> None:
    choice = read_choice(text)
    assert choice is not None
    assert (choice.letter, choice.how) == (letter, how)


@pytest.mark.parametrize(
    "text", ["", "   ", "The answer is a matter of taste.", "I am not sure.", "<think>The answer is (A)"]
)
def test_nothing_is_read_where_nothing_is_said(text: str) -> None:
    assert read_choice(text) is None


def test_only_the_last_letter_that_stands_alone_is_not_sure() -> None:
    guess, stated = read_choice("as E grows"), read_choice("The answer is E")
    assert guess is not None
    assert stated is not None
    assert (guess.sure, stated.sure) == (False, True)


def test_the_pronoun_i_is_no_option() -> None:
    choice = read_choice("the answer is I think (B)")
    assert choice is not None
    assert choice.letter == "B"
    option = read_choice("the answer is I")
    assert option is not None
    assert option.letter == "I"


def test_the_first_statement_counts_until_it_is_taken_back() -> None:
    invented = read_choice("The answer is (B).\n\nQuestion: and then? The answer is (C).")
    corrected = read_choice("The answer is (B). Wait, I forgot a term. The answer is (C).")
    assert invented is not None
    assert corrected is not None
    assert (invented.letter, corrected.letter) == ("B", "C")


def test_what_is_thought_is_not_what_is_answered() -> None:
    choice = read_choice("<think>The answer is (A)? No.</think>The answer is (D).")
    assert choice is not None
    assert choice.letter == "D"


def test_the_options_own_words_count_and_bound_the_letters() -> None:
    choice = read_choice("It is the **Seine**.\nSeine", options=["Thames", "Seine"])
    assert choice is not None
    assert (choice.letter, choice.how) == ("B", "option_text")
    assert read_choice("The answer is (F)", options=["Thames", "Seine"]) is None


def test_letters_read_from_the_recorded_texts_equal_the_recorded_answers() -> None:
    table, texts = read_outcomes("mmlu_pro"), read_texts("mmlu_pro")
    recorded = table.answer_matrix()
    row = {id_: i for i, id_ in enumerate(table.query_ids)}
    has = equal = stated = wrong_of_stated = 0
    for (query_id, candidate), text in texts.items():
        answer = recorded[row[query_id], table.herd.index(candidate)]
        if answer is None:
            continue
        choice = read_choice(text)
        has += 1
        equal += choice is not None and choice.letter == answer
        if choice is not None and choice.how in {"stated", "labelled"}:
            stated += 1
            wrong_of_stated += choice.letter != answer
    assert has > 4_000
    assert equal / has >= 0.99
    assert wrong_of_stated / stated <= 0.001
