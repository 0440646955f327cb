"""Where another candidate goes on from a broken answer: one well-formed text for the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from herdwise.core.completion import Chunk

#: Said before an answer that begins anew, so that nobody reads two half answers as one.
RESTART_NOTICE = "\n\n[The answer broke off here. Another model begins anew.]\n\n"
#: As much of the broken answer's end may be said again.
_TAIL_CHARS = 400
#: Fewer characters in common are chance.
_LEAST_CHARS = 8


class Joint:
    """Fits a continuation's first words to the text it continues: what is said twice is dropped.

    Models that are to go on often repeat the last words first. Chunks are held only as long as what
    they say still repeats the broken answer's end.

    Args:
        before: the text that the client has; "" = the answer begins anew after a notice.
    """

    def __init__(self, before: str) -> None:
        self._before = before[-_TAIL_CHARS:]
        self._restarts = not before
        self._open = True
        self._held: list[Chunk] = []
        #: Characters dropped.
        self.dropped = 0

    def fit(self, chunk: Chunk) -> list[Chunk]:
        """What is to be delivered now that this chunk has come."""
        if not self._open:
            return [chunk]
        self._held.append(chunk)
        if self._restarts:
            return self._release(0, notice=True) if chunk.text else []
        said = "".join(held.text for held in self._held)
        if chunk.finish_reason is None and self._may_repeat(said):
            return []
        return self._release(self._repeated(said))

    def rest(self) -> list[Chunk]:
        """What is still held when the stream has ended."""
        if not self._open:
            return []
        return self._release(self._repeated("".join(held.text for held in self._held)))

    def _may_repeat(self, said: str) -> bool:
        """Whether all that was said stands in the tail, so that more of it may follow."""
        return not said or said in self._before

    def _repeated(self, said: str) -> int:
        """Length of the longest end of the broken answer that was said again."""
        for length in range(min(len(self._before), len(said)), _LEAST_CHARS - 1, -1):
            if self._before.endswith(said[:length]):
                return length
        return 0

    def _release(self, drop: int, *, notice: bool = False) -> list[Chunk]:
        held, self._held, self._open = self._held, [], False
        self.dropped = drop
        told: list[Chunk] = []
        for chunk in held:
            cut = min(drop, len(chunk.text))
            drop -= cut
            text = chunk.text[cut:]
            if notice and text:
                text, notice = RESTART_NOTICE + text, False
            if text or not chunk.text or chunk.finish_reason is not None or chunk.usage is not None:
                told.append(chunk if text == chunk.text else _with_text(chunk, text))
        return told


def _with_text(chunk: Chunk, text: str) -> Chunk:
    """The same chunk with another text in its first choice."""
    choices: list[Any] = list(chunk.body.get("choices") or ())
    for place, choice in enumerate(choices):
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        if isinstance(delta, Mapping) and isinstance(delta.get("content"), str):
            choices[place] = {**choice, "delta": {**delta, "content": text}}
            break
    return replace(chunk, text=text, body={**chunk.body, "choices": choices})
