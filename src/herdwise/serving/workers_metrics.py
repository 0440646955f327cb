"""What several workers counted, as one text for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

#: A gauge that is a state, not an amount: true where it is anywhere.
_STATES = frozenset({"herdwise_breaker_state", "herdwise_build_info"})


class Totals:
    """Sums of samples in the text format, metric by metric in the order in which they first stood.

    Counters, histograms and gauges are added up; gauges that state something are 1 where anybody says so.
    """

    def __init__(self) -> None:
        #: metric -> its HELP and TYPE lines, then sample -> value.
        self._told: dict[str, list[str]] = {}
        self._values: dict[str, dict[str, float]] = {}
        self._kinds: dict[str, str] = {}

    def add(self, text: str) -> None:
        """Add what one worker tells."""
        name = ""
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                self._told.setdefault(name, [])
                self._values.setdefault(name, {})
                if len(self._told[name]) < 1:
                    self._told[name].append(line)
            elif line.startswith("# TYPE "):
                self._kinds[name] = line.split(" ", 3)[3]
                if len(self._told[name]) == 1:
                    self._told[name].append(line)
            elif line:
                sample, _, value = line.rpartition(" ")
                self._count(self._values[name], sample, float(value), max if name in _STATES else _sum)

    def lasting(self) -> str:
        """Only what never goes down: the counters and histograms."""
        return _text(self._lines(name for name in self._told if self._kinds[name] != "gauge"))

    def text(self, *, without: Sequence[str] = ()) -> str:
        """Everything, but for some metrics."""
        return _text(self._lines(name for name in self._told if name not in without))

    def _lines(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            yield from self._told[name]
            for sample, value in self._values[name].items():
                yield f"{sample} {int(value) if value.is_integer() else value}"

    @staticmethod
    def _count(
        values: dict[str, float], sample: str, value: float, join: Callable[[float, float], float]
    ) -> None:
        known = values.get(sample)
        values[sample] = value if known is None else join(known, value)


def _sum(one: float, other: float) -> float:
    return one + other


def _text(lines: Iterable[str]) -> str:
    return "\n".join([*lines, ""])
