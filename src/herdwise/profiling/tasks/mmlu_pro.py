"""MMLU-Pro: up to ten choices in 14 subjects (Wang et al., NeurIPS 2024), from the hub's parquet or a CSV."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from herdwise.core.errors import ItemsError
from herdwise.profiling.benchmark import Benchmark, Item
from herdwise.profiling.tasks.mmlu import choice_texts, letter_of, table_files
from herdwise.profiling.tasks.rows import Graders, Problem, gather, table_rows, text_of
from herdwise.profiling.tasks.wording import asked, lettered

_COLUMNS = ("question_id", "question", "options", "answer", "category")


class MmluPro(Benchmark):
    """One item per question; the category is the subject, the id ``mmlu_pro-`` and the question's own.

    Args:
        path: a file with question_id, question, options, answer (a letter) and category, or a folder of
            such files. In a CSV, options is a list as JSON or Python writes it.
        grader, grader_options: in place of "choice" (``guess: true`` reads letters as the authors do).
        categories: only these.
        split: of all items; None = by ``split_of``.
    """

    name: ClassVar[str] = "mmlu_pro"

    def __init__(
        self,
        path: str | Path,
        *,
        grader: str | None = None,
        grader_options: dict[str, Any] | None = None,
        categories: Sequence[str] | str | None = None,
        split: str | None = None,
    ) -> None:
        self.path, self.grader, self.split = Path(path), grader or "choice", split
        self.options = dict(grader_options or {})
        wanted = categories.split(",") if isinstance(categories, str) else categories
        self.categories = None if wanted is None else [c.strip() for c in wanted]
        self._graders = Graders()

    def items(self) -> Sequence[Item]:
        """See ``Benchmark.items``."""
        items: list[Item] = []
        for file in table_files(self.path):
            items += gather(file, table_rows(file, _COLUMNS), lambda row: [self._item(row)])
        if self.categories is not None:
            items = [item for item in items if item.category in self.categories]
        if not items:
            raise ItemsError(f"{self.path}: holds no items of {', '.join(self.categories or ['MMLU-Pro'])}.")
        return items

    def _item(self, row: dict[str, Any]) -> Item:
        options = row["options"]
        if isinstance(options, str):
            try:
                options = ast.literal_eval(options)
            except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
                raise Problem("options: must be a list as JSON or Python writes it.") from error
        choices = choice_texts(options, "options")
        while len(choices) > 2 and choices[-1].strip() == "N/A":  # places that the authors left empty
            choices = choices[:-1]
        text = lettered(text_of(row, "question"), choices)
        grader = self._graders.get(self.grader, self.options)
        return self._graders.check(
            Item(
                id=f"mmlu_pro-{row['question_id']}",
                text=text,
                messages=asked(text, grader.instruction),
                grader=self.grader,
                reference=letter_of(row["answer"], choices),
                choices=choices,
                options=self.options,
                benchmark="mmlu_pro",
                category=text_of(row, "category"),
                split=self.split,
            )
        )
