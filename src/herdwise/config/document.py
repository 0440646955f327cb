"""YAML as plain values that remember their lines; ``${NAME}`` comes from the environment here.

PyYAML's own loading swallows a key that stands twice and forgets where a value stood, so this reads
PyYAML's node graph instead. Only its safe tags are known: a config runs no code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from herdwise.core.errors import ConfigError

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{[^}]*\}?")
_MERGE = "tag:yaml.org,2002:merge"
_MAPPING, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"


@dataclass(slots=True)
class Document:
    """One YAML file.

    Args:
        file: its name, for messages.
        root: dicts with str keys, lists, str, int, float, bool, None, date.
        lines: path, such as ``candidates[1].price``, -> line from 1.
    """

    file: str
    root: Any = None
    lines: dict[str, int] = field(default_factory=dict)

    def error(self, path: str, problem: str, *, remedy: str = "") -> ConfigError:
        """A ConfigError that names file, line and path, but never a value."""
        line = self.line(path)
        where = f"{self.file}, line {line}" if line else self.file
        return ConfigError(f"{where}: {path}: {problem}" if path else f"{where}: {problem}", remedy=remedy)

    def line(self, path: str) -> int | None:
        """Line of a path, or of the nearest part of the tree that holds it."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path)


def text_of(path: Path) -> str:
    """A config file's text.

    Raises:
        ConfigError: no such file, or no text.
    """
    remedy = "herdwise init writes one."
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {str(path)!r}.", remedy=remedy) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: not UTF-8 text at byte {error.start}.") from None
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}.", remedy=remedy) from None


def read(path: Path, environ: Mapping[str, str], text: str | None = None) -> Document:
    """Read a YAML file (or, instead, its text) and fill in its variables.

    ``${NAME}`` must be set; ``${NAME:-text}`` takes ``text`` where it is unset or empty, as a shell does;
    ``$${`` is a plain ``${``.

    Raises:
        ConfigError: no such file, not YAML (with the line), a key twice, a variable that is not set.
    """
    try:
        reader = _Reader(text_of(path) if text is None else text, path.name, environ)
        return reader.document()
    except yaml.MarkedYAMLError as error:
        # PyYAML's own text quotes the line, which may hold a key: only its place and its problem are told.
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path.name}{where}: not YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: not YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ConfigError(
            f"{path.name}: brackets stand too deep in each other.", remedy="A config needs four levels."
        ) from None


class _Reader:
    def __init__(self, text: str, file: str, environ: Mapping[str, str]) -> None:
        self._loader = yaml.SafeLoader(text)
        self._environ = environ
        self._document = Document(file)
        self._open: set[int] = set()
        self._unset: list[tuple[str, str]] = []

    def document(self) -> Document:
        try:
            node = self._loader.get_single_node()
            if node is not None:
                self._document.root = self._value(node, "")
        finally:
            self._loader.dispose()
        if self._unset:
            path, name = self._unset[0]
            more = sorted({n for _, n in self._unset} - {name})
            raise self._document.error(
                path,
                f"the environment variable {name} is not set{_also(more)}.",
                remedy=f"Set it, or give a default: ${{{name}:-...}}.",
            )
        return self._document

    def _value(self, node: yaml.Node, path: str) -> Any:
        self._document.lines[path] = node.start_mark.line + 1
        if id(node) in self._open:
            raise self._document.error(path, "an alias stands inside its own anchor.")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                self._plain(node, _SEQUENCE, path)
                return [self._value(child, f"{path}[{i}]") for i, child in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        self._plain(node, _MAPPING, path)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name = self._key(key, path)
            line = key.start_mark.line + 1
            if name in seen:
                here = f"{path}.{name}" if path else name
                self._document.lines[here] = line
                raise self._document.error(
                    here,
                    f"this key stands twice (first on line {seen[name]}).",
                    remedy="Remove one of them.",
                )
            seen[name] = line
        # `<<: *anchor` puts the anchor's pairs first, so that the mapping's own ones win.
        self._loader.flatten_mapping(node)
        found: dict[str, Any] = {}
        for key, child in node.value:
            name = self._key(key, path)
            here = f"{path}.{name}" if path else name
            found[name] = self._value(child, here)
            self._document.lines[here] = key.start_mark.line + 1
        return found

    def _key(self, key: yaml.Node, path: str) -> str:
        if isinstance(key, yaml.ScalarNode):
            if key.tag.endswith(":str"):
                return str(key.value)
            name = self._loader.construct_object(key)
            # YAML 1.1 reads `on:` as true; a key is wanted as it was typed.
            if isinstance(name, bool):
                return str(key.value)
        line = key.start_mark.line + 1
        raise ConfigError(
            f"{self._document.file}, line {line}: {path or 'the file'}: a key is not text.",
            remedy="Put it in quotes.",
        )

    def _plain(self, node: yaml.Node, tag: str, path: str) -> None:
        if node.tag != tag:
            raise self._document.error(path, f"the tag {node.tag} is not allowed in a config.")

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        value = self._loader.construct_object(node)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._document.error(path, "not a finite number.", remedy="Leave the key out if unknown.")
        return self._expand(value, path) if isinstance(value, str) else value

    def _expand(self, text: str, path: str) -> str:
        try:
            filled, unset = fill_in(text, self._environ)
        except ValueError as error:
            raise self._document.error(
                path, str(error), remedy="Write ${NAME}, ${NAME:-default}, or $$ for $."
            ) from None
        self._unset.extend((path, name) for name in unset)
        return filled


def fill_in(text: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """``text`` with its variables filled in, and the names of those that are not set.

    Raises:
        ValueError: when a variable is not well formed.
    """
    unset: list[str] = []

    def fill(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name, default = found["name"], found["default"]
        if name is None:
            raise ValueError("a variable is not well formed.")
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            unset.append(name)
            return ""
        return value

    return _VARIABLE.sub(fill, text), unset


def _also(names: list[str]) -> str:
    return f" (nor {', '.join(names)})" if names else ""
