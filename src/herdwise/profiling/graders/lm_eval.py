"""The filters and the metric of a task of lm-evaluation-harness (extra ``lm-eval``)."""

from __future__ import annotations

from typing import Any, ClassVar

from herdwise.answers.extract import without_thinking
from herdwise.core.completion import Completion
from herdwise.core.errors import ConfigError
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import Grade, Grader
from herdwise.profiling.lm_eval_tasks import documents, load_task, request_of, until


class LmEval(Grader):
    """The task's own metric of one answer, where that lies in [0, 1].

    Args:
        task: its name; set by benchmark "lm_eval", as are document, digest and include_path.
        document: position of the item's document in the task.
        digest: of the document, so that a task whose data moved is graded anew.
        include_path: a folder with task files of one's own.
        metric: its name; None = the task's first.
        filter: which of the task's filters reads the answer; None = the first.
        stop: whether an answer ends at the task's stop texts.
    """

    name: ClassVar[str] = "lm_eval"

    def __init__(
        self,
        *,
        task: str | None = None,
        document: int = 0,
        digest: str = "",
        include_path: str | None = None,
        metric: str | None = None,
        filter: str | None = None,  # noqa: A002 - the harness's own word
        stop: bool = True,
    ) -> None:
        self.task, self.document, self.digest, self.include_path = task, document, digest, include_path
        self.metric, self.filter, self.stop = metric, filter, stop

    def check(self, item: Item) -> str | None:
        """It needs a task, and a filter that the task has."""
        del item
        if self.task is None:
            return "grader_options.task: is missing; benchmark lm_eval sets it."
        names = [f.name for f in load_task(self.task, self.include_path)._filters]
        if self.filter is not None and self.filter not in names:
            return f"grader_options.filter: {self.filter!r} is none of {', '.join(names)}."
        return None

    def grade(self, item: Item, completion: Completion) -> Grade:
        """See the class."""
        del item
        text = without_thinking(completion.text)
        if not text.strip():
            return Grade(0.0, None, "no answer could be read")
        task = load_task(self.task or "", self.include_path)
        for stop in until(task) if self.stop else ():
            text = text.split(stop)[0]
        doc = documents(self.task or "", self.include_path)[self.document]
        asked = request_of(doc, text)
        chosen = next(f for f in task._filters if self.filter in {None, f.name})
        chosen.apply([asked])
        read = asked.filtered_resps[chosen.name]
        value = self._metric(task.process_results(doc, [read]))
        said = read if isinstance(read, str) else str(read)
        return Grade(value, None if said in {"", "[invalid]"} else said)

    def _metric(self, results: dict[str, Any]) -> float:
        name = self.metric or next(iter(results))
        if name not in results:
            raise ConfigError(
                f"lm_eval: task {self.task!r} has no metric {name!r}.", remedy=f"It has {', '.join(results)}."
            )
        try:
            value = float(results[name])
        except (TypeError, ValueError):
            value = float("nan")
        if not 0 <= value <= 1:
            raise ConfigError(
                f"lm_eval: task {self.task!r}: metric {name!r} is {results[name]!r}, no quality in [0, 1].",
                remedy="Name another by --grader lm_eval:metric=NAME.",
            )
        return value
