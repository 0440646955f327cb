"""Conversations of several turns for a judge, as MT-bench has them (Zheng et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from herdwise.profiling.benchmark import Benchmark, Item
from herdwise.profiling.tasks.rows import Graders, Problem, decoded, gather, json_lines, text_of
from herdwise.profiling.tasks.wording import asked


class MtBench(Benchmark):
    """An item per turn: later turns carry the turns before them, with the candidate's own answers.

    A turn is routed on, and recorded, with the user's earlier turns before it: alone it means little. All
    turns of a question stand in one split.

    Args:
        path: question.jsonl: objects with question_id, category, turns (texts) and optionally reference
            (texts, one per turn).
        grader, grader_options: in place of "judge"; the judge must be named by ``candidate``.
        references: a file of the judge's reference answers: objects with question_id and
            ``choices[0].turns``.
        split: of all items; None = by ``split_of``.
    """

    name: ClassVar[str] = "mt_bench"

    def __init__(
        self,
        path: str | Path,
        *,
        grader: str | None = None,
        grader_options: dict[str, Any] | None = None,
        references: str | Path | None = None,
        split: str | None = None,
    ) -> None:
        self.path, self.grader, self.split = Path(path), grader or "judge", split
        self.options = dict(grader_options or {})
        self.references = None if references is None else Path(references)
        self._graders = Graders()

    def items(self) -> Sequence[Item]:
        """See ``Benchmark.items``."""
        known = {} if self.references is None else _references(self.references)
        return gather(self.path, json_lines(self.path), lambda line: self._turns(decoded(line), known))

    def _turns(self, row: dict[str, Any], known: dict[str, list[str]]) -> list[Item]:
        if not isinstance(row.get("question_id"), str | int):
            raise Problem("question_id: must be a number or a text.")
        key = str(row["question_id"])
        turns = _texts(row.get("turns"), "turns")
        reference = row.get("reference")
        references = known.get(key, []) if not reference else _texts(reference, "reference")
        if references and len(references) != len(turns):
            raise Problem(f"reference: {len(references)} for {len(turns)} turns.")
        grader = self._graders.get(self.grader, self.options)
        items: list[Item] = []
        for i, turn in enumerate(turns):
            item = Item(
                id=f"mt_bench-{key}-{i + 1}",
                text="\n".join(turns[: i + 1]),
                messages=asked(turn, grader.instruction),
                grader=self.grader,
                reference=references[i] if references else None,
                options=self.options,
                benchmark="mt_bench",
                category=text_of(row, "category"),
                split=self.split,
                after=items[-1].id if items else None,
            )
            items.append(self._graders.check(item))
        return items


def _texts(value: Any, field: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(t, str) and t.strip() for t in value):
        raise Problem(f"{field}: must be a list of texts that are not empty.")
    return value


def _references(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}

    def read(line: str) -> list[Item]:
        row = decoded(line)
        try:
            turns = row["choices"][0]["turns"]
        except (KeyError, IndexError, TypeError) as error:
            raise Problem("choices[0].turns: is missing.") from error
        found[str(row.get("question_id"))] = _texts(turns, "choices[0].turns")
        return [Item(id=str(row.get("question_id")), text="", messages=(), grader="judge")]

    gather(path, json_lines(path), read)
    return found
