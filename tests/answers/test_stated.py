import pytest

from herdwise.answers.stated import hedges, stated_confidence


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("The answer is (B). I'm 70% sure.", 0.7),
        ("I am about 65 percent confident that it is seven.", 0.65),
        ("80% sure: Lyon.", 0.8),
        ("It is (C), with 90% certainty.", 0.9),
        ("Confidence: 8/10", 0.8),
        ("**Confidence:** 85%", 0.85),
        ("Confidence level: 0.35", 0.35),
        ("My confidence is 4 out of 5.", 0.8),
        ("confidence: 7", 0.7),
        ("Confidence: high", 0.9),
        ("Ich bin mir zu 60 % sicher.", 0.6),
        ("Sicherheit: 80 %", 0.8),
        ("Konfidenz: 0,8", 0.8),
        ("J'en suis sûr à 75 %.", 0.75),
        ("Confiance : 6/10", 0.6),
        ("Estoy seguro al 90 %.", 0.9),
        ("Confianza: 7/10", 0.7),
        ("我有80%的把握。", 0.8),
        ("置信度：0.9", 0.9),
        ("信心: 高", 0.9),
        ("At first I was 30% sure. Now I'm 90% sure.", 0.9),
    ],
)
def test_a_number_is_read_in_its_language(text: str, stated: float) -> None:
    assert stated_confidence(text) == pytest.approx(stated)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("I'm fairly certain it is the Seine.", 0.6, 0.9),
        ("I am absolutely certain.", 0.9, 1.0),
        ("I'm not very sure, though.", 0.2, 0.5),
        ("I have no idea, so (A).", 0.0, 0.3),
        ("Ich bin mir ziemlich sicher.", 0.6, 0.9),
        ("Ich bin mir nicht ganz sicher.", 0.2, 0.5),
        ("Je suis presque certain que oui.", 0.6, 0.9),
        ("Je ne suis pas tout à fait sûre.", 0.2, 0.5),
        ("Estoy bastante seguro.", 0.6, 0.9),
        ("No estoy muy segura.", 0.2, 0.5),
        ("我比较确定是红色。", 0.6, 0.9),
        ("我不太确定。", 0.2, 0.5),
    ],
)
def test_words_stand_for_a_level(text: str, low: float, high: float) -> None:
    stated = stated_confidence(text)
    assert stated is not None
    assert low <= stated <= high


@pytest.mark.parametrize(
    "text",
    [
        "The answer is (B).",
        "The 95% confidence interval is wide.",
        "Confidence interval: 0.95",
        "At a confidence level of 95 percent the sample must be larger.",
        "The confidence level is 95%, which is common.",
        "We are 95% confident that the mean lies between 3 and 4.",
        "70% of certain patients recover.",
        "A certain man is sure of it.",
        "Confidence: 250%",
        "<think>I'm 20% sure</think>The answer is (B).",
    ],
)
def test_what_is_no_statement_of_ones_own_sureness_is_not_read(text: str) -> None:
    assert stated_confidence(text) is None


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("Perhaps it is (C). I think so. I could be wrong.", 3),
        ("Vielleicht ist es Rot; ich glaube schon.", 2),
        ("C'est peut-être Lyon, je crois.", 2),
        ("Quizás sea Madrid, creo que sí.", 2),
        ("也许是红色，我觉得。", 2),
        ("It is most likely (C), which may cause harm.", 0),
        ("<think>maybe, perhaps</think>It is (C).", 0),
    ],
)
def test_hedges_of_the_speaker_are_counted_in_its_language(text: str, n: int) -> None:
    assert hedges(text) == n
