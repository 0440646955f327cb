"""Text as bytes, with a few marks and, where a model states them, word tokens."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence

from herdwise.core.errors import ArtefactError

#: Fills up a batch; never read.
PAD = 256
#: Stands before the question.
QUESTION = 257
#: Stands between question and answer.
ANSWER = 258
#: Ends the answer.
END = 259
#: The first word token.
FIRST_WORD = 260


class ByteTokens:
    """Bytes 0 to 255, four marks, and the words that a model's config.json states.

    A word token stands for the word's bytes wherever they occur, the longest word first; a model trained
    with words must be asked with the same ones.

    Args:
        words: each of at least two bytes, none twice; their order is their number.

    Raises:
        ArtefactError: when a word is too short or stands twice.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.words = tuple(words)
        pieces = [word.encode() for word in self.words]
        if len(set(pieces)) < len(pieces) or any(len(piece) < 2 for piece in pieces):
            raise ArtefactError("word tokens must have two bytes or more, and none may stand twice.")
        self._bytes: tuple[bytes, ...] = (
            *(bytes([i]) for i in range(256)),
            *(b"",) * (FIRST_WORD - 256),
            *pieces,
        )
        self._number = {piece: FIRST_WORD + i for i, piece in enumerate(pieces)}
        longest_first = sorted(pieces, key=len, reverse=True)
        self._word = re.compile(b"|".join(map(re.escape, longest_first))) if pieces else None

    def __len__(self) -> int:
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """The text's tokens, without marks; half a surrogate pair becomes "?"."""
        data = text.encode("utf-8", errors="replace")
        if self._word is None:
            return list(data)
        tokens: list[int] = []
        end = 0
        for found in self._word.finditer(data):
            tokens += data[end : found.start()]
            tokens.append(self._number[found.group()])
            end = found.end()
        return [*tokens, *data[end:]]

    def encode_prompt(self, text: str) -> list[int]:
        """What a model is asked with: the question between its marks, white space at its ends left out."""
        return [QUESTION, *self.encode(text.strip()), ANSWER]

    def encode_answer(self, text: str) -> list[int]:
        """What a model is taught to say: the answer and its end."""
        return [*self.encode(text), END]

    def bytes_of(self, tokens: Iterable[int]) -> bytes:
        """The tokens' bytes; marks have none."""
        return b"".join(self._bytes[token] for token in tokens)

    def decode(self, tokens: Iterable[int]) -> str:
        """The tokens' text; bytes that are not UTF-8 become U+FFFD."""
        return self.bytes_of(tokens).decode("utf-8", errors="replace")


class TextStream:
    """Token by token, the text that is whole so far: no character is told before its last byte.

    Joined, the pieces are ``ByteTokens.decode`` of all tokens.

    Args:
        tokens: whose.
    """

    def __init__(self, tokens: ByteTokens) -> None:
        self._tokens = tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """What the token completes; often "" for text beyond ASCII."""
        return self._decoder.decode(self._tokens.bytes_of((token,)))

    def end(self) -> str:
        """What is left when nothing follows: U+FFFD for half a character, else ""."""
        return self._decoder.decode(b"", True)
