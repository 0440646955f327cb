"""MMLU: four choices in 57 subjects (Hendrycks et al., ICLR 2021), from its CSV files or from parquet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from herdwise.answers.choice import LETTERS
from herdwise.core.errors import ItemsError
from herdwise.profiling.benchmark import Benchmark, Item
from herdwise.profiling.tasks.rows import Graders, Problem, gather, table_rows, text_of
from herdwise.profiling.tasks.wording import asked, lettered

_COLUMNS = ("question", "A", "B", "C", "D", "answer")


class Mmlu(Benchmark):
    """One item per question; the category is the subject.

    Args:
        path: a file, or a folder of files (searched to any depth). CSV as the authors give them (no header:
            question, four choices, letter; the subject is the file's name without ``_test``, ``_val`` or
            ``_dev``), or parquet with question, subject, choices and answer (0 to 3 or a letter).
        grader, grader_options: in place of "choice".
        subjects: only these.
        split: of all items; None = by ``split_of``.
    """

    name: ClassVar[str] = "mmlu"

    def __init__(
        self,
        path: str | Path,
        *,
        grader: str | None = None,
        grader_options: dict[str, Any] | None = None,
        subjects: Sequence[str] | str | None = None,
        split: str | None = None,
    ) -> None:
        self.path, self.grader, self.split = Path(path), grader or "choice", split
        self.options = dict(grader_options or {})
        wanted = subjects.split(",") if isinstance(subjects, str) else subjects
        self.subjects = None if wanted is None else [s.strip().replace(" ", "_") for s in wanted]
        self._graders = Graders()

    def items(self) -> Sequence[Item]:
        """See ``Benchmark.items``."""
        items: list[Item] = []
        for file in table_files(self.path):
            subject = re.sub(r"_(?:test|val|dev)$", "", file.stem)
            if self.subjects is not None and file.suffix == ".csv" and subject not in self.subjects:
                continue
            items += self._of(file, subject)
        if self.subjects is not None:
            items = [item for item in items if item.category in self.subjects]
        if not items:
            raise ItemsError(f"{self.path}: holds no items of {', '.join(self.subjects or ['MMLU'])}.")
        return items

    def _of(self, file: Path, subject: str) -> list[Item]:
        columns = ("question", "subject", "choices", "answer") if file.suffix == ".parquet" else _COLUMNS
        # The hub has a folder per subject, with files of the same name.
        place = str(file.relative_to(self.path).with_suffix("")) if self.path.is_dir() else file.stem
        numbered = enumerate(table_rows(file, columns))
        rows = ((where, row if isinstance(row, Problem) else (i, row)) for i, (where, row) in numbered)
        return gather(file, rows, lambda row: [self._item(row[1], f"{place}-{row[0]}", subject)])

    def _item(self, row: dict[str, Any], key: str, subject: str) -> Item:
        if "choices" in row:
            choices, subject = choice_texts(row["choices"], "choices"), text_of(row, "subject")
        else:
            choices = tuple(text_of(row, letter) for letter in "ABCD")
        text = lettered(text_of(row, "question"), choices)
        grader = self._graders.get(self.grader, self.options)
        return self._graders.check(
            Item(
                id=f"mmlu-{key}",
                text=text,
                messages=asked(text, grader.instruction),
                grader=self.grader,
                reference=letter_of(row["answer"], choices),
                choices=choices,
                options=self.options,
                benchmark="mmlu",
                category=subject,
                split=self.split,
            )
        )


def table_files(path: Path) -> list[Path]:
    """The CSV and parquet files of a folder, sorted; a file is itself.

    Raises:
        ItemsError: when there is none.
    """
    if path.is_file():
        return [path]
    found: Iterable[Path] = (
        (p for p in path.rglob("*") if p.suffix in {".csv", ".parquet"}) if path.is_dir() else ()
    )
    files = sorted(found)
    if not files:
        raise ItemsError(f"{path}: there is no such file, nor a folder with CSV or parquet files.")
    return files


def choice_texts(value: Any, field: str) -> tuple[str, ...]:
    """Choices of a row, as texts.

    Raises:
        Problem: when they are no list of texts.
    """
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(c, str) for c in value):
        raise Problem(f"{field}: must be a list of texts.")
    return tuple(value)


def letter_of(answer: Any, choices: Sequence[str]) -> str:
    """An answer's letter: from a letter, or a position counted from 0.

    Raises:
        Problem: when it is neither.
    """
    text = str(answer).strip().upper()
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return LETTERS[answer]
    if len(text) == 1 and text in LETTERS[: len(choices)]:
        return text
    raise Problem(f"answer: {answer!r} is neither a letter nor a position among {len(choices)} choices.")
