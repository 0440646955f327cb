"""The options that a question offers, read from its text."""

from __future__ import annotations

import re

from herdwise.answers.choice import LETTERS

_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]+(\S.*)$", re.MULTILINE)


def options_of(text: str) -> list[str]:
    """The options that a question offers, lettered from A in order; empty where it offers none.

    >>> options_of("Which one?\\nA. red\\nB. blue")
    ['red', 'blue']
    """
    found: list[str] = []
    for match in _OPTION.finditer(text):
        if match[1] == LETTERS[len(found)]:
            found.append(match[2].strip())
            if len(found) == len(LETTERS):
                break
        elif match[1] == "A":
            found = [match[2].strip()]  # an example's options stood before the question's own
    return found if len(found) > 1 else []
