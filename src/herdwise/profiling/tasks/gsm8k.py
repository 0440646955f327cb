"""GSM8K: sums told as stories (Cobbe et al., 2021), from its JSONL files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from herdwise.profiling.benchmark import Benchmark, Item
from herdwise.profiling.tasks.rows import Graders, Problem, decoded, gather, json_lines, text_of
from herdwise.profiling.tasks.wording import asked


class Gsm8k(Benchmark):
    """One item per line; the reference is what stands behind the last ``####``.

    Args:
        path: train.jsonl or test.jsonl: objects with question and answer.
        grader, grader_options: in place of "numeric".
        split: of all items; None = by ``split_of``.
    """

    name: ClassVar[str] = "gsm8k"

    def __init__(
        self,
        path: str | Path,
        *,
        grader: str | None = None,
        grader_options: dict[str, Any] | None = None,
        split: str | None = None,
    ) -> None:
        self.path, self.grader, self.split = Path(path), grader or "numeric", split
        self.options = dict(grader_options or {})
        self._graders = Graders()

    def items(self) -> Sequence[Item]:
        """See ``Benchmark.items``."""
        rows = ((where, (where.split()[-1], line)) for where, line in json_lines(self.path))
        return gather(self.path, rows, lambda row: [self._item(*row)])

    def _item(self, number: str, line: str) -> Item:
        row = decoded(line)
        question, answer = text_of(row, "question"), text_of(row, "answer")
        _, mark, final = answer.rpartition("####")
        if not mark or not final.strip():
            raise Problem("answer: must end in #### and the final number.")
        grader = self._graders.get(self.grader, self.options)
        return self._graders.check(
            Item(
                id=f"gsm8k-{self.path.stem}-{number}",
                text=question,
                messages=asked(question, grader.instruction),
                grader=self.grader,
                reference=final.strip(),
                options=self.options,
                benchmark="gsm8k",
                split=self.split,
            )
        )
