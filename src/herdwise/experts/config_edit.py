"""Change a YAML config as a text: what people wrote in it, comments and order included, stays as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from herdwise.core.errors import ConfigError

_BY_HAND = "Add the candidate by hand."


def with_candidate(text: str, entry: Mapping[str, Any]) -> str:
    """The config with one more candidate at the end of ``candidates``.

    Args:
        text: YAML with a list under ``candidates``.
        entry: JSON values: the candidate's keys.

    Raises:
        ConfigError: when there is no such list, the name stands there already, or the text is of a form
            that cannot be changed safely.
    """
    root = _root(text)
    node = _child(root, "candidates")
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise ConfigError("the config has no list of candidates.", remedy=_BY_HAND)
    names = [name.value for item in node.value if (name := _child(item, "name")) is not None]
    if entry["name"] in names:
        raise ConfigError(
            f"candidate {entry['name']!r} stands in the config already.", remedy="Choose another name."
        )
    if node.flow_style:
        at = node.value[-1].end_mark.index
        changed = f"{text[:at]}, {json.dumps(entry)}{text[at:]}"
    else:
        line, column = _last_line(node), node.value[0].start_mark.column
        dash = text.splitlines()[node.value[0].start_mark.line].rfind("-", 0, column)
        if dash < 0:
            raise ConfigError("the list of candidates cannot be changed safely.", remedy=_BY_HAND)
        lines = text.splitlines(keepends=True)
        if not lines[line].endswith("\n"):
            lines[line] += "\n"
        lines.insert(line + 1, _block(entry, dash))
        changed = "".join(lines)
    wanted = _plain(text)
    wanted["candidates"] = [*wanted["candidates"], dict(entry)]
    return _proven(changed, wanted)


def with_router(text: str, router: str) -> str:
    """The config with ``router`` set to a folder.

    Raises:
        ConfigError: when the text is of a form that cannot be changed safely.
    """
    root = _root(text)
    node = _child(root, "router")
    written = json.dumps(router, ensure_ascii=False)
    if isinstance(node, yaml.ScalarNode) and node.end_mark.index > node.start_mark.index:
        changed = f"{text[: node.start_mark.index]}{written}{text[node.end_mark.index :]}"
    elif node is None and not root.flow_style:
        first = root.value[0][0].start_mark.index
        changed = f"{text[:first]}router: {written}\n{text[first:]}"
    else:
        raise ConfigError("the config's `router` cannot be changed safely.", remedy=f"Set it to {router}.")
    return _proven(changed, {**_plain(text), "router": router})


def _block(entry: Mapping[str, Any], indent: int) -> str:
    """A list item in block style. JSON texts, numbers and lists are YAML."""
    dumped = yaml.safe_dump(dict(entry), sort_keys=False, allow_unicode=True, width=10_000)
    blank = " " * indent
    lines = [f"{blank}{'- ' if i == 0 else '  '}{line}" for i, line in enumerate(dumped.splitlines())]
    return "\n".join(lines) + "\n"


def _root(text: str) -> yaml.MappingNode:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"the config is not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise ConfigError("the config is no mapping.", remedy=_BY_HAND)
    return root


def _child(node: yaml.Node, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                found: yaml.Node = value
                return found
    return None


def _last_line(node: yaml.Node) -> int:
    """The line that a node's text ends on; a block's own end mark lies behind the comments that follow."""
    if isinstance(node, yaml.ScalarNode):
        # A block scalar ends at the beginning of the line after it.
        end = node.end_mark
        return int(end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line)
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    return _last_line(last[1] if isinstance(node, yaml.MappingNode) else last)


def _plain(text: str) -> Any:
    return yaml.safe_load(text)


def _proven(changed: str, wanted: Any) -> str:
    """The changed text, once it reads as it should."""
    try:
        same = _plain(changed) == wanted
    except yaml.YAMLError:
        same = False
    if not same:
        raise ConfigError("the config is of a form that cannot be changed safely.", remedy=_BY_HAND)
    return changed
