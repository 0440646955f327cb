"""The command line: one thin command per stage of a herd's life.

Importing this module is cheap; each command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import os
import sys

import typer

from herdwise.cli import console

app = typer.Typer(
    name="herdwise",
    help="One OpenAI-compatible endpoint over a herd of language models, routed by recorded outcomes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Commands stand in the order of a herd's life, which is also the order of `herdwise --help`.
_COMMANDS: tuple[str, ...] = (
    "demo",
    "init",
    "doctor",
    "candidates",
    "profile",
    "outcomes",
    "train",
    "enlist",
    "evaluate",
    "report",
    "prune",
    "tune",
    "route",
    "serve",
    "keys",
    "ledger",
    "experts",
)


#: What a disk says that is full, failing, or not to be written.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def _register() -> None:
    import importlib

    for name in _COMMANDS:
        importlib.import_module(f"herdwise.cli.{name}").register(app)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        from herdwise.core.version import __version__

        typer.echo(f"herdwise {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: exit code 0 done, 1 failed, 2 the input is at fault (with the remedy on stderr)."""
    from herdwise.core.errors import ConfigError, HerdwiseError, InputError

    _register()
    try:
        app()
    except HerdwiseError as error:
        console.error(error)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except OSError as error:
        if error.errno in _DISK:
            named = f"{error.filename}: " if error.filename is not None else "the output: "
            console.error(
                HerdwiseError(
                    f"{named}{os.strerror(error.errno)}.",
                    remedy="Make room, or write to another disk, and run the same command again.",
                )
            )
            sys.exit(1)
        if error.filename is None:  # no path that somebody gave: a fault of ours, to be seen whole
            raise
        told = f"{error.filename}: {error.strerror}."
        console.error(ConfigError(told, remedy="Choose another path, or mend its permissions."))
        sys.exit(2)
