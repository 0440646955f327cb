from __future__ import annotations

import pytest

from herdwise.answers.options import options_of


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Which one?\nA. red\nB. blue", ["red", "blue"]),
        ("Which one?\n(A) red\n(B) blue\n(C) green", ["red", "blue", "green"]),
        ("Example\nA. no\nB. no\n\nWhich one?\nA. red\nB. blue", ["red", "blue"]),
        ("Which one?\nA. red", []),
        ("Say why.", []),
    ],
)
def test_options_are_read_in_the_order_of_their_letters(text: str, options: list[str]) -> None:
    assert options_of(text) == options
