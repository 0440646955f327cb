"""Signals of form."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise.encoding.form import N_SIGNALS, SIGNALS, form_features


def signal(text: str, name: str) -> float:
    return float(form_features([text])[0, SIGNALS.index(name)])


@pytest.mark.parametrize(
    ("name", "having", "lacking"),
    [
        ("options", "Pick one.\nA. red\nB. blue\nC. green", "Pick one: red, blue or green"),
        ("choice", "选择\nA. 绕组\nB. 铁芯", "选择绕组或铁芯哪一个"),
        ("ideograph", "运行中变压器温度最高的部分是", "the hottest part of a transformer"),
        ("foreign", "Какая часть трансформатора", "the hottest part of a transformer"),
        ("digit", "12 + 3456 * 789", "twelve plus some more"),
        ("formula", r"Let $x = \frac{1}{2}$", "Let x be one half"),
        ("code", "def f(x):\n    return x", "define a function of x"),
        ("ends_asking", "Who is it?  ", "Tell me who it is"),
        ("ends_open", "Question: who is it\nAnswer:", "Tell me who it is"),
        ("blank", "The capital of France is ____", "The capital of France is Paris"),
        ("length", "word " * 300, "word"),
        ("number_options", "How many?\nA. 12\nB. $1.5\nC. -3", "How many?\nA. few\nB. some\nC. all"),
        ("option_length", "Why?\nA. since it is so\nB. since it is not", "Why?\nA. no\nB. so"),
        ("stem", "word " * 60 + "\nA. 1\nB. 2", "word\nA. 1\nB. 2 " + "word " * 60),
        ("figures", "3 apples, 4 pears and 12 plums cost 9", "some apples, pears and plums cost much"),
    ],
)
def test_a_signal_tells_texts_that_have_it_from_those_that_lack_it(
    name: str, having: str, lacking: str
) -> None:
    assert signal(having, name) > signal(lacking, name) + 0.05


def test_every_text_has_finite_signals_of_length_one() -> None:
    features = form_features(["", " ", "\ud800", "a" * 50_000, "\n\n\n", "😀😀"])
    assert features.shape == (6, N_SIGNALS)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, atol=1e-5)


def test_no_texts_have_no_rows() -> None:
    assert form_features([]).shape == (0, N_SIGNALS)


def test_bytes_and_code_points_are_counted_alike() -> None:
    text = "In 1905 (Bern), E = mc^2 was new.\n" * 100
    others = [i for i, name in enumerate(SIGNALS) if name != "foreign"]
    plain, foreign = form_features([text, text + "é"])[:, others]
    plain, foreign = plain / np.linalg.norm(plain), foreign / np.linalg.norm(foreign)
    np.testing.assert_allclose(plain, foreign, atol=2e-3)
