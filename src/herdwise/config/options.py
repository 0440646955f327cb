"""``key=value`` options of the command line, read as the config is: YAML scalars, ``${NAME}`` filled in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from herdwise.config.document import fill_in
from herdwise.core.errors import ConfigError


def read_options(given: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Options of a registered class.

    >>> read_options(["base_url=http://localhost:1234/v1", "batch_size=8", "api_key=${KEY}"], {"KEY": "s3"})
    {'base_url': 'http://localhost:1234/v1', 'batch_size': 8, 'api_key': 's3'}

    Raises:
        ConfigError: when one is not ``key=value``, stands twice, or names a variable that is not set.
    """
    known = os.environ if environ is None else environ
    options: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{text!r} is not an option.", remedy="Write key=value.")
        if key in options:
            raise ConfigError(f"option {key!r} stands twice.")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            read = value
        options[key] = _filled(key, read, known) if isinstance(read, str) else read
    return options


def _filled(key: str, text: str, environ: Mapping[str, str]) -> str:
    try:
        filled, unset = fill_in(text, environ)
    except ValueError as error:
        raise ConfigError(f"option {key!r}: {error}", remedy="Write ${NAME} or ${NAME:-default}.") from None
    if unset:
        raise ConfigError(
            f"option {key!r}: {', '.join(unset)} is not set in the environment.", remedy="Export it."
        )
    return filled
