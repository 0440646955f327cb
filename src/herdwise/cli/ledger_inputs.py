"""Which ledger a command means: the one that is named, else that of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LedgerUrl = Annotated[
    str | None,
    typer.Option(
        "--ledger", help="A database URL, or the path of an SQLite file; the config's ledger if left out."
    ),
]
LedgerConfig = Annotated[
    Path, typer.Option("--config", help="The config whose ledger it is, as `herdwise serve` takes it.")
]
CONFIG = Path("herdwise.yaml")


def ledger_url(ledger: str | None, config: Path) -> str:
    """The ledger's URL or path.

    Raises:
        ConfigError: when none is named, and the config is missing, wrong, or keeps no ledger.
    """
    if ledger is not None:
        return ledger
    from herdwise.config.load import load
    from herdwise.core.errors import ConfigError

    if not config.exists():
        raise ConfigError(
            f"{config}: there is no such file.", remedy="Give --ledger URL, or --config FILE with a ledger."
        )
    node = load(config).ledger
    if not node.enabled:
        raise ConfigError(
            f"{config}, ledger.enabled: is false, so that nothing is recorded.",
            remedy="Give --ledger URL for a ledger that was kept before.",
        )
    return node.url.reveal()
