"""Text as other people's code accepts it."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """The text with lone surrogates, which JSON can carry and UTF-8 cannot, turned into question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
