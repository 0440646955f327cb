"""What a command line names: benchmarks, and graders with their options."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from herdwise.core.errors import ConfigError, ItemsError
from herdwise.profiling.benchmark import BENCHMARKS, Item, checked, conversations


def parse_options(pairs: Sequence[str], where: str) -> dict[str, Any]:
    """Options of ``key=value`` texts: JSON where it is JSON, else the text; ``@FILE`` stands for a file's.

    >>> parse_options(["tolerance=0.01", "candidate=big", "flags=i"], "--grader")
    {'tolerance': 0.01, 'candidate': 'big', 'flags': 'i'}

    Raises:
        ConfigError: when there is no ``=``, a key stands twice, or a file cannot be read.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        key = key.strip()
        if not mark or not key:
            raise ConfigError(f"{where}: {pair!r} is no key=value.")
        if key in options:
            raise ConfigError(f"{where}: {key} stands twice.")
        if value.startswith("@"):
            try:
                value = Path(value[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{where}: {value[1:]}: cannot be read: {error}") from error
        try:
            options[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            options[key] = value
    return options


def parse_grader(texts: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    """Name and options of ``NAME`` or ``NAME:key=value``, given once or more for the same name.

    >>> parse_grader(["judge:candidate=big", "judge:max_tokens=300"])
    ('judge', {'candidate': 'big', 'max_tokens': 300})

    Raises:
        ConfigError: when two graders are named.
    """
    names = sorted({text.partition(":")[0].strip() for text in texts})
    if len(names) > 1:
        raise ConfigError(
            f"--grader names {' and '.join(names)}.",
            remedy="Name one; items may name their own in the items file.",
        )
    pairs = [text.partition(":")[2] for text in texts if ":" in text]
    return (names[0] if names else None), parse_options(pairs, "--grader")


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
        options: others of the benchmark.

    Raises:
        UnknownNameError: when there is no such benchmark, or it takes no such option.
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
    given = {"grader": grader, "grader_options": dict(grader_options or {}), **(options or {})}
    return checked(BENCHMARKS.create(name, path=rest, **given).items())


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
