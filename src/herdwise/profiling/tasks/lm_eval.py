"""A task of lm-evaluation-harness, put to chat candidates (extra ``lm-eval``)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from herdwise.answers.choice import LETTERS
from herdwise.core.errors import ItemsError
from herdwise.profiling.benchmark import Benchmark, Item
from herdwise.profiling.graders.base import GRADERS
from herdwise.profiling.lm_eval_tasks import documents, load_task, until
from herdwise.profiling.options import create
from herdwise.profiling.tasks.wording import asked, lettered

#: Stop texts that OpenAI's API takes at most.
_MOST_STOPS = 4


class LmEvalTask(Benchmark):
    """A task's documents as items.

    Tasks of type ``generate_until`` are asked with the task's own prompt (few-shot examples included) and
    graded by its own filters and metric. Tasks of type ``multiple_choice`` compare likelihoods, which chat
    APIs don't give: their choices are lettered instead and read by grader "choice", so the figures are not
    those of the harness. Other types are refused.

    Args:
        path: the task's name.
        grader, grader_options: in place of the task's own filters and metric, or of "choice"; without a
            grader, options such as ``metric`` and ``filter`` go to grader "lm_eval".
        include_path: a folder with task files of one's own.
        shots: few-shot examples; None = as the task says.
        stop: whether the task's stop texts are sent.
        split: of all items; None = by ``split_of``.
    """

    name: ClassVar[str] = "lm_eval"

    def __init__(
        self,
        path: str,
        *,
        grader: str | None = None,
        grader_options: dict[str, Any] | None = None,
        include_path: str | None = None,
        shots: int | None = None,
        stop: bool = True,
        split: str | None = None,
    ) -> None:
        self.task_name, self.grader, self.options = str(path), grader, dict(grader_options or {})
        self.include_path = None if include_path is None else str(include_path)
        self.shots, self.stop, self.split = shots, stop, split

    def items(self) -> Sequence[Item]:
        """See ``Benchmark.items``."""
        task = load_task(self.task_name, self.include_path)
        kind = task.OUTPUT_TYPE
        if kind not in {"generate_until", "multiple_choice"} or getattr(task, "multiple_input", False):
            raise ItemsError(
                f"lm_eval: task {self.task_name!r} compares likelihoods ({kind}); chat APIs give none.",
                remedy="Choose a task of type generate_until or multiple_choice.",
            )
        make = self._generated if kind == "generate_until" else self._chosen
        items = [make(task, number, doc) for number, doc in enumerate(self._documents())]
        problems = []
        for number, item in enumerate(items):
            lacking = create(GRADERS, item.grader, item.options).check(item)
            if lacking is not None:
                problems.append(f"document {number}, {lacking}")
        if problems:
            raise ItemsError(f"lm_eval: task {self.task_name!r}: " + "; ".join(problems[:20]))
        return items

    def _documents(self) -> list[dict[str, Any]]:
        found = documents(self.task_name, self.include_path)
        if not found:
            raise ItemsError(f"lm_eval: task {self.task_name!r} has no documents.")
        return found

    def _generated(self, task: Any, number: int, doc: dict[str, Any]) -> Item:
        shots = self.shots if self.shots is not None else task.config.num_fewshot or 0
        prompt = task.fewshot_context(doc, num_fewshot=shots)
        target = task.doc_to_target(doc)
        options = dict(self.options)
        if self.grader in {None, "lm_eval"}:
            digest = hashlib.sha256(msgspec.json.encode(doc, enc_hook=repr, order="sorted")).hexdigest()
            options |= {"task": self.task_name, "document": number, "digest": digest[:16]}
            if self.include_path is not None:
                options["include_path"] = self.include_path
            if not self.stop:
                options["stop"] = False
        return Item(
            id=f"{self.task_name}-{number}",
            text=str(task.doc_to_text(doc)),
            messages=asked(prompt, ""),
            grader=self.grader or "lm_eval",
            reference=str(target[0] if isinstance(target, list) and target else target),
            options=options,
            benchmark=self.task_name,
            split=self.split,
            request=self._request(task),
        )

    def _request(self, task: Any) -> dict[str, Any]:
        stated: Mapping[str, Any] = task.config.generation_kwargs or {}
        request: dict[str, Any] = {}
        if not stated.get("do_sample", False):
            request["temperature"] = 0.0
        elif "temperature" in stated:
            request["temperature"] = float(stated["temperature"])
        if "max_gen_toks" in stated:
            request["max_tokens"] = int(stated["max_gen_toks"])
        stops = until(task)[:_MOST_STOPS] if self.stop else []
        return {**request, "stop": stops} if stops else request

    def _chosen(self, task: Any, number: int, doc: dict[str, Any]) -> Item:
        choices = [str(c).strip() for c in task.doc_to_choice(doc)]
        gold = task.doc_to_target(doc)
        gold = gold[0] if isinstance(gold, list) and gold else gold
        place = choices.index(gold.strip()) if isinstance(gold, str) and gold.strip() in choices else gold
        if not isinstance(place, int) or not 0 <= place < min(len(choices), len(LETTERS)):
            raise ItemsError(
                f"lm_eval: task {self.task_name!r}, document {number}: target {gold!r} names no choice."
            )
        question = re.sub(r"\s*Answer:\s*\Z", "", str(task.doc_to_text(doc)))
        # Some tasks bring their letters with the question; then the choices are but letters.
        plain = choices == list(LETTERS[: len(choices)])
        text = question if plain else lettered(question, choices)
        grader = self.grader or "choice"
        return Item(
            id=f"{self.task_name}-{number}",
            text=text,
            messages=asked(text, create(GRADERS, grader, self.options).instruction),
            grader=grader,
            reference=LETTERS[place],
            choices=() if plain else tuple(choices),
            options=self.options,
            benchmark=self.task_name,
            split=self.split,
        )
