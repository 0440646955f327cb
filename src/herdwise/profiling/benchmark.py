"""The benchmark seam: items, each a request with a way to grade its answers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from herdwise.core.errors import ItemsError
from herdwise.core.registry import Registry

#: Share of the items without a split of their own that go to "train".
TRAIN_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a benchmark.

    Args:
        id: unique in its benchmark.
        text: what is routed on, and recorded as the query's text.
        messages: what is sent, in OpenAI's shape.
        grader: name of the grader.
        reference: the right answer, where there is one.
        choices: the options' own words, in the order of their letters; empty = none.
        options: constructor options of the grader.
        benchmark: what the item counts under.
        split: None until ``checked`` gives it one.
        category: optional label within the benchmark.
        request: fields of its own for every ask, such as response_format, stop or max_tokens.
        after: id of the item whose conversation goes before its messages, with the asked candidate's own
            answer; None = it begins one.
        where: it was read, for messages, such as "items.jsonl, line 3"; no part of what it is.
    """

    id: str
    text: str
    messages: tuple[Mapping[str, Any], ...]
    grader: str
    reference: str | None = None
    choices: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    benchmark: str = "items"
    split: str | None = None
    category: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    after: str | None = None
    where: str = field(default="", compare=False, repr=False)


class Benchmark(ABC):
    """A named source of items."""

    name: ClassVar[str]

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """All items, in a fixed order, checked.

        Raises:
            ItemsError: when some are malformed, naming each.
        """


BENCHMARKS: Registry[Benchmark] = Registry("benchmark", "herdwise.benchmarks")


def split_of(text: str, *, train_share: float = TRAIN_SHARE) -> str:
    """The split of an item that has none: "train" or "test", by a hash of its text.

    By the text and not by the id, so that an item that stands twice never stands in both splits; by a
    hash and not by position, so that adding items moves no other.

    >>> split_of("What is two plus two?") == split_of("What is two plus two?")
    True
    """
    digest = hashlib.sha256(" ".join(text.split()).encode()).digest()
    return "train" if int.from_bytes(digest[:8], "big") < train_share * 2**64 else "test"


def checked(items: Iterable[Item]) -> tuple[Item, ...]:
    """The items, each with a split: of its own, of the item that it comes after, or by ``split_of``.

    Raises:
        ItemsError: when there are none, an id stands twice, or an item comes after one that does not stand
            before it.
    """
    done: dict[str, Item] = {}
    for item in items:
        if item.id in done:
            raise ItemsError(f"item id {item.id!r} stands twice.", remedy="Give every item its own id.")
        first = None if item.after is None else done.get(item.after)
        if item.after is not None and first is None:
            raise ItemsError(
                f"item {item.id!r} comes after {item.after!r}, which does not stand before it.",
                remedy="Put a conversation's turns in their order.",
            )
        split = item.split or (first.split if first is not None else split_of(item.text))
        if first is not None and split != first.split:
            raise ItemsError(
                f"item {item.id!r} is in split {split!r}, but comes after one in {first.split!r}.",
                remedy="Keep a conversation in one split.",
            )
        done[item.id] = item if item.split is not None else replace(item, split=split)
    if not done:
        raise ItemsError("there are no items to ask.", remedy="Give at least one.")
    return tuple(done.values())


def conversations(items: Sequence[Item]) -> list[list[Item]]:
    """The items in groups that must be asked one after the other: an item and those that come after it."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        group = [] if item.after is None else groups[item.after]
        group.append(item)
        groups[item.id] = group
    return [groups[item.id] for item in items if item.after is None]
