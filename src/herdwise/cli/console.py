"""What commands print with: tables on stdout, progress and errors on stderr, JSON alone on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from herdwise.core.errors import HerdwiseError

if TYPE_CHECKING:
    from rich.console import Console


def emit_json(value: Any) -> None:
    """One JSON object on stdout. Floats that are not finite become null."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for people, on stderr, so that stdout stays machine-readable."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def warn(text: str) -> None:
    """A warning, on stderr."""
    note(f"warning: {text}")


def error(problem: HerdwiseError) -> None:
    """An error and its remedy, on stderr."""
    note(f"error: {problem.message}")
    if problem.remedy:
        note(f"       {problem.remedy}")


def show(text: str = "") -> None:
    """A line on stdout."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, left: Sequence[int] = (0,)
) -> None:
    """A table on stdout; ``left`` names the left-aligned columns, None prints as a dash."""
    from rich.table import Table

    drawn = Table(title=title or None, title_justify="left", header_style="bold")
    for position, name in enumerate(columns):
        drawn.add_column(name, justify="left" if position in left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*("-" if cell is None else str(cell) for cell in row))
    _wide().print(drawn)


def _wide() -> Console:
    """A console as wide as the terminal; a pipe or file gets a width that holds most tables."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 132)


@contextmanager
def progress(description: str) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; yields ``update(done, total, told=None)``, ``told`` being shown beside it."""
    with stages() as update:
        yield lambda done, total, told=None: update(description, done, total, told)


@contextmanager
def stages() -> Iterator[Callable[..., None]]:
    """A progress bar per stage on stderr; yields ``update(stage, done, total, told=None)``.

    Where stderr is no terminal (a log), the bars are printed once, when the work is over.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[told]}"),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}

    def update(stage: str, done: int, total: int, told: str | None = None) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=total, told="")
        bar.update(tasks[stage], completed=done, total=total)
        if told is not None:
            bar.update(tasks[stage], told=told)

    with bar:
        yield update
