import pytest

from herdwise.answers.refusal import read_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I can’t assist with that request.",
        "I cannot provide instructions for that.",
        "I won't be able to help with this.",
        "I'm not able to do that.",
        "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
        "Ich kann diese Anfrage leider nicht beantworten.",
        "Je suis désolé, mais je ne peux pas vous aider.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "Mi dispiace, ma non posso aiutarti.",
        "Desculpe, mas não posso ajudar com isso.",
        "很抱歉，我无法回答这个问题。",
        "我不能提供这样的信息。",
        "申し訳ありませんが、お答えできません。",
        "죄송하지만 도와드릴 수 없습니다.",
        "К сожалению, я не могу помочь.",
        "<think>Should I?</think>I'm sorry, I can't help with that.",
    ],
)
def test_a_refusal_is_read_in_its_language(text: str) -> None:
    assert read_refusal(text) == "refused"


@pytest.mark.parametrize("text", ["", " \n", "...", "<think>only thoughts</think>"])
def test_an_answer_without_a_word_is_empty(text: str) -> None:
    assert read_refusal(text) == "empty"


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I have no taste, but most people like the red one.",
        "作为一个人工智能语言模型，我没有感情，不过红色更受欢迎。",
        "Als KI habe ich keine Meinung; die meisten nehmen Rot.",
        "En tant qu'IA, je n'ai pas de goûts, mais le rouge plaît davantage.",
        "Como modelo de lenguaje no tengo gustos; la mayoría prefiere el rojo.",
        "AIである私には好みがありませんが、赤が人気です。",
        "저는 AI로서 취향이 없지만, 대부분 빨간색을 좋아합니다.",
        "Als AI-taalmodel heb ik geen smaak, maar rood is geliefd.",
        "I can't give medical advice. However, " + "rest and plenty of water are what guidelines name. " * 6,
    ],
)
def test_a_refusal_that_goes_on_to_answer_is_partial(text: str) -> None:
    assert read_refusal(text) == "partial"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is (C).",
        "I don't know.",
        "I cannot stress enough that the answer is B.",
        "I'm sorry for your loss. Call them today.",
        "I'm sorry to hear that you cannot sleep. Try tea.",
        "You cannot help it, he said.",
        "Ich kann das nicht glauben: es sind sieben.",
        "No puedo creerlo: son siete.",
    ],
)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert read_refusal(text) is None
