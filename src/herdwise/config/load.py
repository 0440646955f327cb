"""A config file -> Config. Whatever is wrong is named with file, line, path and what to do about it."""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from herdwise.config.document import Document, read
from herdwise.config.tree import CandidateNode, Config, Node, Secret
from herdwise.core.errors import ConfigError

_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_SQLITE_FILE = re.compile(r"^(?P<scheme>sqlite(?:\+\w+)?:///)(?P<file>[^?]+)(?P<query>\?.*)?$")


def load(path: str | Path, environ: Mapping[str, str] | None = None, *, text: str | None = None) -> Config:
    """Read, fill in and check a config file. Relative paths in it are relative to its folder.

    Args:
        path: the YAML file.
        environ: where ``${NAME}`` is looked up; the process's environment unless given.
        text: what the file held when it was read before; it is not read again then.

    Raises:
        ConfigError: naming file, line and path of what is wrong.
    """
    path = Path(path)
    document = read(path, os.environ if environ is None else environ, text)
    if document.root is None:
        raise ConfigError(f"{path.name} is empty.", remedy="herdwise init writes an example.")
    if not isinstance(document.root, dict):
        raise ConfigError(f"{path.name}: a mapping is expected at the top, such as `candidates: [...]`.")
    tree = _known_keys(document.root, Config, "", document)
    try:
        # Not strict: a filled-in variable is text, and YAML 1.1 reads 1e-3 as text.
        config = msgspec.convert(tree, Config, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _explained(error, document) from None
    _check(config, document)
    return _absolute(config, path.resolve().parent)


def load_candidate(path: str | Path, environ: Mapping[str, str] | None = None) -> CandidateNode:
    """Read, fill in and check a file that holds one candidate, its keys as a config has them.

    Args:
        path: a YAML or JSON file.
        environ: as for ``load``.

    Raises:
        ConfigError: naming file, line and path of what is wrong.
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(
            f"{path}: there is no such file.", remedy="Name a JSON or YAML file of a candidate."
        )
    document = read(path, os.environ if environ is None else environ)
    if not isinstance(document.root, dict) or "name" not in document.root:
        raise ConfigError(f"{path} is no candidate.", remedy="Write its keys as in a config, name first.")
    tree = _known_keys(document.root, CandidateNode, "", document)
    try:
        node = msgspec.convert(tree, CandidateNode, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _explained(error, document) from None
    _check_candidate(node, "", document)
    return node


def _known_keys(value: Any, expected: Any, path: str, document: Document) -> Any:
    """The value without null keys that have a default, once every key and choice in it is known."""
    expected = _bare(expected)
    choices = typing.get_args(expected) if typing.get_origin(expected) is typing.Literal else ()
    if choices and isinstance(value, str) and value not in choices:
        raise document.error(path, f"not one of {', '.join(choices)}.", remedy=_did_you_mean(value, choices))
    if typing.get_origin(expected) is list and isinstance(value, list):
        (item,) = typing.get_args(expected)
        return [_known_keys(v, item, f"{path}[{i}]", document) for i, v in enumerate(value)]
    if not (isinstance(expected, type) and issubclass(expected, Node) and isinstance(value, dict)):
        return value
    hints = typing.get_type_hints(expected, include_extras=True)
    kept = {}
    for key, child in value.items():
        here = f"{path}.{key}" if path else key
        if key not in hints:
            raise document.error(
                here,
                "unknown key.",
                remedy=_did_you_mean(key, tuple(hints)) or f"Known: {', '.join(hints)}.",
            )
        # `price:` with everything under it commented out means: leave it at its default.
        if child is not None:
            kept[key] = _known_keys(child, hints[key], here, document)
    return kept


def _bare(expected: Any) -> Any:
    """A type without Annotated and ``| None``."""
    if typing.get_origin(expected) is typing.Annotated:
        return _bare(typing.get_args(expected)[0])
    if typing.get_origin(expected) in {types.UnionType, typing.Union}:
        kinds = [t for t in typing.get_args(expected) if t is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else expected
    return expected


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {nearest[0]}?" if nearest else ""


def _decode(expected: type, value: Any) -> Any:
    if expected is Secret or expected is Path:
        if isinstance(value, str):
            return expected(value)
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    raise NotImplementedError


def _explained(error: msgspec.ValidationError, document: Document) -> ConfigError:
    text = str(error)
    at = _AT.search(text)
    problem, path = (text[: at.start()], at["path"]) if at else (text, "")
    remedy = ""
    if "Expected `str`" in problem:
        remedy = "Put it in quotes."
    elif "missing required field `candidates`" in problem or "of length >= 1" in problem:
        problem, remedy = "no candidate is listed", "List at least one under `candidates:`."
    return document.error(path, f"{problem[:1].lower()}{problem[1:]}.", remedy=remedy)


def _check_candidate(candidate: CandidateNode, path: str, document: Document) -> None:
    name, inside = candidate.name, f"{path}." if path else ""
    if not name or not name.isprintable() or not name.isascii() or name != name.strip() or "," in name:
        raise document.error(
            f"{inside}name", "a name is printable ASCII, without commas (it goes into HTTP headers)."
        )
    if name == "auto" or name.startswith("auto/"):
        raise document.error(
            f"{inside}name", f"{name!r} is what clients call to be routed.", remedy="Choose another name."
        )
    if candidate.base_url is not None and not _is_http(candidate.base_url):
        raise document.error(
            f"{inside}base_url",
            "not an http:// or https:// address.",
            remedy="Such as http://127.0.0.1:8000/v1.",
        )
    if candidate.backend == "openai_compatible" and candidate.base_url is None:
        raise document.error(
            path, f"candidate {name!r} has no base_url.", remedy="Such as http://127.0.0.1:8000/v1."
        )
    if candidate.api_key is not None and any(c.isspace() for c in candidate.api_key.reveal()):
        raise document.error(f"{inside}api_key", "a key with a blank or a line break in it.")
    total, active = candidate.params_b, candidate.active_params_b
    if total is not None and active is not None and active > total:
        raise document.error(f"{inside}active_params_b", "more parameters are active than there are.")


def _check(config: Config, document: Document) -> None:
    """What no type can say."""
    first: dict[str, int] = {}
    for i, candidate in enumerate(config.candidates):
        path, name = f"candidates[{i}]", candidate.name
        if name in first:
            raise document.error(
                f"{path}.name",
                f"candidate {name!r} stands twice (first as candidates[{first[name]}]).",
                remedy="Rename or remove one.",
            )
        first[name] = i
        _check_candidate(candidate, path, document)
    endpoint = config.telemetry.endpoint
    if endpoint is not None and (not _is_http(endpoint) or urlsplit(endpoint).username is not None):
        raise document.error(
            "telemetry.endpoint",
            "not an http:// or https:// address without a user name.",
            remedy="Such as http://127.0.0.1:4318; keys go under telemetry.headers.",
        )
    goals = config.goals
    named = [("goals.generalist", goals.generalist)] if goals.generalist is not None else []
    named += [
        (f"goals.constraints.candidates[{i}]", n) for i, n in enumerate(goals.constraints.candidates or ())
    ]
    for path, name in named:
        if name not in first:
            raise document.error(
                path,
                f"there is no candidate {name!r}.",
                remedy=_did_you_mean(name, list(first)) or f"Known: {', '.join(first)}.",
            )
    if goals.min_quality is not None and goals.generalist is None:
        raise document.error(
            "goals.min_quality",
            "nobody is named who answers below it.",
            remedy="Set goals.generalist to a candidate's name.",
        )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _absolute(config: Config, folder: Path) -> Config:
    router, ledger = config.router, config.ledger
    if router is not None:
        router = folder / router.expanduser()
    url = ledger.url.reveal()
    found = _SQLITE_FILE.match(url if "://" in url else f"sqlite:///{url}")
    if found and not found["file"].startswith((":memory:", "file:")):
        file = folder / Path(found["file"]).expanduser()
        absolute = Secret(f"{found['scheme']}{file}{found['query'] or ''}")
        ledger = msgspec.structs.replace(ledger, url=absolute)
    encoder = config.encoder
    for key in ("cache_dir", "weights"):
        given: Path | None = getattr(encoder, key)
        if given is not None:
            encoder = msgspec.structs.replace(encoder, **{key: folder / given.expanduser()})
    return msgspec.structs.replace(config, router=router, ledger=ledger, encoder=encoder)
