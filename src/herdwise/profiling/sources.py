"""What a command line names: benchmarks, and graders with their options."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from herdwise.core.errors import ConfigError, ItemsError
from herdwise.profiling.benchmark import BENCHMARKS, Item, checked, conversations
from herdwise.profiling.graders.base import GRADERS
from herdwise.profiling.options import create, decoded, parse_pairs


def parse_grader(texts: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    """Name and options of ``NAME`` or ``NAME:key=value``, given once or more for the same name.

    >>> parse_grader(["judge:candidate=big", "judge:max_tokens=300"])
    ('judge', {'candidate': 'big', 'max_tokens': 300})

    Raises:
        ConfigError: when two graders are named, or an option cannot be read.
        UnknownNameError: when nobody registered it.
    """
    names = sorted({text.partition(":")[0].strip() for text in texts})
    if len(names) > 1:
        raise ConfigError(
            f"--grader names {' and '.join(names)}.",
            remedy="Name one; items may name their own in the items file.",
        )
    pairs = [text.partition(":")[2] for text in texts if ":" in text]
    told = parse_pairs(pairs, "--grader")
    return (names[0], decoded(GRADERS.get(names[0]), told)) if names else (None, {})


def read_benchmark(
    source: str,
    *,
    grader: str | None = None,
    grader_options: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Item, ...]:
    """The items of ``NAME:SOURCE``, or of a JSONL file.

    Args:
        source: such as "gsm8k:test.jsonl", "lm_eval:arc_easy" or "questions.jsonl".
        grader, grader_options: for items that name none; see the benchmark.
        options: others of the benchmark; texts are read as ``parse_pairs`` gives them.

    Raises:
        UnknownNameError: when there is no such benchmark, or it takes no such option.
        ConfigError: when an option is of another kind than it must be.
        ItemsError: when items are malformed, or there is no such file.
    """
    name, mark, rest = source.partition(":")
    if not mark or name not in BENCHMARKS.names():
        if not Path(source).exists():
            known = ", ".join(n for n in BENCHMARKS.names() if n != "items")
            raise ItemsError(
                f"{source}: there is no such file.",
                remedy=f"Name a JSONL file, or NAME:SOURCE with one of {known}.",
            )
        name, rest = "items", source
    given = {"path": rest, "grader": grader, "grader_options": dict(grader_options or {})}
    given |= decoded(BENCHMARKS.get(name), options or {})
    return checked(create(BENCHMARKS, name, given).items())


def some(
    items: Sequence[Item], *, limit: int | None = None, sample: int | None = None, seed: int = 0
) -> tuple[Item, ...]:
    """Some of the items, in their order; a conversation's turns stay together.

    Args:
        items: of one benchmark.
        limit: only so many from the front.
        sample: only so many, drawn evenly; the same seed draws the same.
        seed: for the draw.
    """
    groups = conversations(items)
    if sample is not None and sample < len(groups):
        groups = [groups[i] for i in sorted(random.Random(seed).sample(range(len(groups)), sample))]
    kept = {item.id for group in groups[:limit] for item in group}
    return tuple(item for item in items if item.id in kept)
