"""Registry: names to classes, through entry points, imported only when named.

Built-ins enter by the same door as plugins: pyproject.toml declares both.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from herdwise.core.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """One seam.

    Args:
        kind: singular noun for messages, such as "predictor".
        group: entry-point group, such as "herdwise.predictors".
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._found: dict[str, EntryPoint] | None = None
        self._loaded: dict[str, type[T]] = {}

    def _points(self) -> dict[str, EntryPoint]:
        if self._found is None:
            self._found = {point.name: point for point in entry_points(group=self.group)}
        return self._found

    def names(self) -> list[str]:
        """All registered names, sorted; imports nothing."""
        return sorted(set(self._points()) | set(self._loaded))

    def add(self, name: str, cls: type[T]) -> None:
        """Register a class at run time, for notebooks and tests; packages declare entry points instead."""
        self._loaded[name] = cls

    def get(self, name: str) -> type[T]:
        """The class of that name.

        Raises:
            UnknownNameError: when nobody registered it.
        """
        if name not in self._loaded:
            point = self._points().get(name)
            if point is None:
                raise UnknownNameError(
                    f"there is no {self.kind} {name!r}.", remedy=f"Known: {', '.join(self.names())}."
                )
            loaded: Any = point.load()
            self._loaded[name] = loaded
        return self._loaded[name]

    def create(self, name: str, **options: Any) -> T:
        """An instance, built from a config's options.

        Raises:
            UnknownNameError: when nobody registered the name, or an option is not taken.
        """
        cls = self.get(name)
        try:
            return cls(**options)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise UnknownNameError(f"{self.kind} {name!r}: {error}.", remedy="Check its options.") from error
