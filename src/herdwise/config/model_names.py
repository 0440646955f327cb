"""What a model's name says: its size, and which known candidate it is. Nothing is guessed beyond that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

# 8b, 0.5b, 135m; not the 4b of "e4b", which counts something else.
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
_ACTIVE = re.compile(r"(?<![a-z0-9])a(\d+(?:\.\d+)?)b(?![a-z0-9])")
# 8x7b and 17b-16e: mixtures whose total is not the product, as the experts share layers.
_MIXTURE = re.compile(r"(?<![a-z0-9])\d+x\d+(?:\.\d+)?b(?![a-z0-9])")
_EXPERTS = re.compile(r"(?<![a-z0-9])\d+e(?![a-z0-9])")
_QUANTISED = re.compile(
    r"(?<![a-z0-9])(?:i?q\d(?:_[a-z0-9]+)*|fp\d+|bf16|int[48]|awq|gptq|gguf|ggml|mlx)(?![a-z0-9])"
)
_WORD = re.compile(r"\d+x\d+b|\d+(?:\.\d+)?[bmk](?![a-z0-9])|\d+(?:\.\d+)*|[a-z]+")
_CHAT = frozenset({"instruct", "chat", "it"})
_NO_PART = _CHAT | {"meta", "hf", "latest", "v", "k"}


def sizes(name: str) -> tuple[float | None, float | None]:
    """Total and active parameters in billions, as far as the name says them.

    >>> sizes("llama3.1:8b"), sizes("qwen3-30b-a3b"), sizes("smollm2:135m-instruct-q4_K_M")
    ((8.0, None), (30.0, 3.0), (0.135, None))
    >>> sizes("mixtral-8x7b"), sizes("llama-4-scout-17b-16e"), sizes("mistral:latest")
    ((None, None), (None, 17.0), (None, None))
    """
    name = _plain(name)
    if _MIXTURE.search(name):
        return None, None
    found = _SIZE.findall(name)
    total = float(found[0][0]) / (1 if found[0][1] == "b" else 1000) if len(found) == 1 else None
    active = _ACTIVE.search(name)
    if active:
        return total, float(active[1])
    return (None, total) if _EXPERTS.search(name) else (total, None)


def alike(name: str, known: Iterable[str]) -> str | None:
    """The known candidate that this name means, or None.

    Family, version and size must all agree: a size that the name leaves out is not filled in. A chat
    model is taken before its base model, and a name that says "instruct" never means a base model.

    >>> known = ["Meta-Llama-3.1-8B", "Meta-Llama-3.1-8B-Instruct", "Phi-3-mini-4k-instruct"]
    >>> alike("llama3.1:8b-instruct-q4_K_M", known), alike("phi3:mini", known), alike("llama3.1", known)
    ('Meta-Llama-3.1-8B-Instruct', 'Phi-3-mini-4k-instruct', None)
    """
    known = list(known)
    if name in known:
        return name
    parts = _parts(name)
    sized = any(p == "mini" or _SIZE.fullmatch(p) or _MIXTURE.fullmatch(p) for p in parts)
    same = [other for other in known if sized and _parts(other) == parts]
    chat = [other for other in same if _is_chat(other)]
    base = [] if _is_chat(name) else same
    return next(iter(chat or base), None)


def _is_chat(name: str) -> bool:
    return bool(_CHAT & set(_WORD.findall(_plain(name))))


def _plain(name: str) -> str:
    """Lower case, without folder, organisation, file ending and quantisation."""
    last = PurePosixPath(name.lower()).name
    return _QUANTISED.sub(" ", last.removesuffix(".gguf"))


def _parts(name: str) -> frozenset[str]:
    words = _WORD.findall(_plain(name))
    # A context length ("4k") names no other model.
    return frozenset(w for w in words if w not in _NO_PART and not re.fullmatch(r"\d+k", w))
