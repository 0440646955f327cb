"""Options of graders and benchmarks: read from texts, and held against what a constructor takes."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from herdwise.core.errors import ConfigError
from herdwise.core.registry import Registry

T = TypeVar("T")
_HINTS: dict[type, dict[str, Any]] = {}


def parse_pairs(pairs: Sequence[str], where: str) -> dict[str, str]:
    """Texts of ``key=value``; ``@FILE`` stands for a file's text.

    >>> parse_pairs(["tolerance=0.01", "pattern=a=b"], "--grader")
    {'tolerance': '0.01', 'pattern': 'a=b'}

    Raises:
        ConfigError: when there is no ``=``, a key stands twice, or a file cannot be read.
    """
    texts: dict[str, str] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        key = key.strip()
        if not mark or not key:
            raise ConfigError(f"{where}: {pair!r} is no key=value.")
        if key in texts:
            raise ConfigError(f"{where}: {key} stands twice.")
        if value.startswith("@"):
            try:
                value = Path(value[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{where}: {value[1:]}: cannot be read: {error}") from error
        texts[key] = value
    return texts


def decoded(cls: type, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Texts as what the constructor takes: JSON where that fits, else the text; other values as they are."""
    hints = _hints(cls)
    return {
        key: _decoded(text, hints.get(key, Any)) if isinstance(text, str) else text
        for key, text in texts.items()
    }


def create(registry: Registry[T], name: str, options: Mapping[str, Any]) -> T:
    """An instance, once each option is of the kind that the constructor takes.

    Raises:
        UnknownNameError: when nobody registered the name, or it takes no such option.
        ConfigError: when an option is of another kind.
    """
    hints = _hints(registry.get(name))
    for key, value in options.items():
        if key in hints and not _fits(value, hints[key]):
            raise ConfigError(
                f"{registry.kind} {name!r}: option {key} must be {_said(hints[key])}, not {value!r:.80}."
            )
    return registry.create(name, **options)


def _hints(cls: type) -> dict[str, Any]:
    if cls not in _HINTS:  # reading them takes a hundred microseconds, and every item asks
        try:
            _HINTS[cls] = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
        except NameError:  # a plugin's, of names that only type checkers import: nothing to hold them against
            _HINTS[cls] = {}
    return _HINTS[cls]


def _decoded(text: str, hint: Any) -> Any:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if _fits(value, hint) or not _fits(text, hint) else text


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return any(_fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if origin in {list, tuple} or getattr(origin, "__name__", "") == "Sequence":
        return isinstance(value, list | tuple) and (not inner or all(_fits(v, inner[0]) for v in value))
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin) if isinstance(origin, type) else True


def _said(hint: Any) -> str:
    """A kind in words, as it is written in JSON."""
    words = {
        str: "a text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        dict: "an object",
    }
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        kinds = dict.fromkeys(_said(one) for one in inner)
        return " or ".join(kinds)
    if origin is type(None):
        return "null"
    return words.get(origin, "a list")
