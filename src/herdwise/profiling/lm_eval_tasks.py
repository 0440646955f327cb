"""Tasks of lm-evaluation-harness, loaded once per process (extra ``lm-eval``). Nothing else imports it."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from herdwise.core.errors import ItemsError, MissingExtraError


@lru_cache(maxsize=2)
def _manager(include_path: str | None) -> Any:
    """It reads thousands of files to know all tasks, which takes seconds."""
    try:
        tasks: Any = importlib.import_module("lm_eval.tasks")
    except ImportError as error:
        raise MissingExtraError("the benchmark lm_eval", extra="lm-eval") from error
    if include_path is not None and not Path(include_path).is_dir():
        raise ItemsError(f"lm_eval: {include_path}: there is no such folder.")
    return tasks.TaskManager(include_path=include_path)


@lru_cache(maxsize=8)
def load_task(name: str, include_path: str | None = None) -> Any:
    """The task object of that name, with its documents.

    Args:
        name: as ``lm-eval ls tasks`` lists it; no group and no tag.
        include_path: a folder with task files of one's own.

    Raises:
        MissingExtraError: when lm-eval is not installed.
        ItemsError: when there is no such task, or its data cannot be had.
    """
    manager = _manager(include_path)
    if name not in manager.all_subtasks:
        kind = "is a group or tag" if name in manager.all_tasks else "is not known"
        raise ItemsError(
            f"lm_eval: task {name!r} {kind}.", remedy="Name one task; `lm-eval ls tasks` lists them."
        )
    try:
        loaded = manager.load([name])["tasks"]
    except (OSError, ValueError, ImportError, yaml.YAMLError) as error:
        raise ItemsError(f"lm_eval: task {name!r} cannot be loaded: {error}") from error
    return loaded[name]


@lru_cache(maxsize=8)
def documents(name: str, include_path: str | None = None) -> list[dict[str, Any]]:
    """The documents that a task is evaluated on, in its order."""
    return list(load_task(name, include_path).eval_docs)


def until(task: Any) -> list[str]:
    """The texts at which a task's answers end."""
    stated = (task.config.generation_kwargs or {}).get("until") or []
    return [stated] if isinstance(stated, str) else list(stated)


def request_of(doc: dict[str, Any], text: str) -> Any:
    """A request of the harness that was answered with ``text``, for its filters to read."""
    api: Any = importlib.import_module("lm_eval.api.instance")
    return api.Instance(request_type="generate_until", doc=doc, arguments=("", {}), idx=0, resps=[text])
