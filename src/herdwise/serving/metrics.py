"""What is counted while serving, and GET /metrics: Prometheus' text format, version 0.0.4.

Counting is a dictionary's and a list's work, as it stands on the path of every request; text is made when
somebody asks. Labels hold names of the config, statuses and kinds of failure: never what a client wrote, so
that there are no more series than the config has candidates and policies (docs/decisions/0022-operations.md).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from herdwise.core.version import __version__
from herdwise.serving.course import Course
from herdwise.serving.health import State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Seconds. Answers of language models take from a tenth of a second to minutes.
ANSWER_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
#: Seconds. Deciding and recording take from a tenth of a millisecond up.
OVERHEAD_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

#: The status of a request whose client went away before it was answered (nginx's number for it).
CLIENT_GONE = 499
_STATES: tuple[State, ...] = ("closed", "open", "half_open")
_Labels = tuple[str, ...]


class Counter:
    """A number that only grows, for each combination of label values.

    Args:
        name: with its unit, and ``_total``.
        told: what it counts.
        labels: their names.
    """

    kind = "counter"

    def __init__(self, name: str, told: str, labels: _Labels = ()) -> None:
        self.name, self.told, self.labels = name, told, labels
        self.values: dict[_Labels, float] = {}

    def add(self, labels: _Labels, amount: float = 1) -> None:
        """Count.

        Args:
            labels: values, in the order of the names.
            amount: 0 or more.
        """
        self.values[labels] = self.values.get(labels, 0) + amount

    def lines(self) -> Iterator[str]:
        """Samples in the text format."""
        for labels, value in self.values.items():
            yield f"{self.name}{_braced(self.labels, labels)} {value}"


class Histogram:
    """How many of the values seen are no greater than each bound, for each combination of label values.

    Args:
        name: with its unit.
        told: what is observed.
        labels: their names.
        bounds: ascending.
    """

    kind = "histogram"

    def __init__(self, name: str, told: str, labels: _Labels, bounds: Sequence[float]) -> None:
        self.name, self.told, self.labels, self.bounds = name, told, labels, tuple(bounds)
        #: Per bucket how many, then the sum: one look-up for both.
        self._rows: dict[_Labels, list[float]] = {}

    def observe(self, labels: _Labels, value: float) -> None:
        """Note one value."""
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = [0] * (len(self.bounds) + 2)
        row[bisect_left(self.bounds, value)] += 1
        row[-1] += value

    def lines(self) -> Iterator[str]:
        """Samples in the text format: cumulative buckets, sum and count."""
        limits = [*map(str, self.bounds), "+Inf"]
        for labels, (*counts, total_s) in self._rows.items():
            braced = _braced(self.labels, labels)
            begin = f"{self.name}_bucket{braced[:-1]}," if braced else f"{self.name}_bucket{{"
            total: float = 0
            for limit, count in zip(limits, counts, strict=True):
                total += count
                yield f'{begin}le="{limit}"}} {total}'
            yield f"{self.name}_sum{braced} {total_s}"
            yield f"{self.name}_count{braced} {total}"


class Gauge(Counter):
    """A number as it stands when somebody asks."""

    kind = "gauge"

    def __init__(
        self, name: str, told: str, labels: _Labels, values: Callable[[], Mapping[_Labels, float]]
    ) -> None:
        super().__init__(name, told, labels)
        self._read = values

    def lines(self) -> Iterator[str]:
        """Samples in the text format."""
        self.values = dict(self._read())
        return super().lines()


class Metrics:
    """All that is counted for one endpoint. Lives through reloads; belongs to one event loop."""

    def __init__(self) -> None:
        self._requests = Counter(
            "herdwise_requests_total",
            "Requests by HTTP status; that of the error event where a stream broke off, 499 where the client"
            " went away.",
            ("api", "policy", "status"),
        )
        self._latency = Histogram(
            "herdwise_request_seconds",
            "From a request to the end of its answer.",
            ("policy",),
            ANSWER_BOUNDS_S,
        )
        self._overhead = Histogram(
            "herdwise_overhead_seconds",
            "Of a request's time, that in which no candidate was waited for.",
            ("policy",),
            OVERHEAD_BOUNDS_S,
        )
        self._asks = Counter("herdwise_asks_total", "Asks by how they ended.", ("candidate", "outcome"))
        self._ask_latency = Histogram(
            "herdwise_ask_seconds", "From an ask to the end of its answer.", ("candidate",), ANSWER_BOUNDS_S
        )
        self._first_token = Histogram(
            "herdwise_first_token_seconds",
            "From an ask to the first text of its stream.",
            ("candidate",),
            ANSWER_BOUNDS_S,
        )
        self._tokens = Counter(
            "herdwise_tokens_total", "Tokens that candidates stated.", ("candidate", "direction")
        )
        self._cost = Counter("herdwise_cost_usd_total", "What asks cost, where it is known.", ("candidate",))
        self._cost_unknown = Counter(
            "herdwise_asks_of_unknown_cost_total",
            "Asks that are missing from the cost: no price, or no usage stated.",
            ("candidate",),
        )
        self._rounds = Counter(
            "herdwise_retry_rounds_total",
            "Rounds in which all candidates that had failed a request were asked once more.",
            ("policy",),
        )
        self.reloads = Counter("herdwise_reloads_total", "Reloads by what came of them.", ("outcome",))
        self._parts: list[Counter | Histogram] = [
            self._requests,
            self._latency,
            self._overhead,
            self._asks,
            self._ask_latency,
            self._first_token,
            self._tokens,
            self._cost,
            self._cost_unknown,
            self._rounds,
            self.reloads,
            Gauge(
                "herdwise_build_info",
                "1, for its version.",
                ("version",),
                lambda: {(__version__,): 1},
            ),
        ]

    def gauge(
        self, name: str, told: str, labels: _Labels, values: Callable[[], Mapping[_Labels, float]]
    ) -> None:
        """Add a number that is read when somebody asks."""
        self._parts.append(Gauge(name, told, labels, values))

    def counter(self, name: str, told: str, labels: _Labels) -> Counter:
        """Add a number that only grows; whoever counts holds it."""
        made = Counter(name, told, labels)
        self._parts.append(made)
        return made

    def undecided(self, api: str, status: int) -> None:
        """A request ended without a decision: it was refused before, or calls for none."""
        self._requests.add((api, "none", str(status)))

    def ended(self, api: str, course: Course, status: int) -> None:
        """A request ended.

        Args:
            api: the path that it came by.
            course: all of it.
            status: as the client was told.
        """
        policy = (course.policy,)
        self._requests.add((api, course.policy, str(status)))
        if course.ended_at is not None:
            self._latency.observe(policy, course.ended_at - course.started_at)
        self._overhead.observe(policy, course.overhead_s())
        if course.rounds:
            self._rounds.add(policy, course.rounds)
        for ask in course.asks:
            name, usage = ask.candidate, ask.usage
            who = (name,)
            self._asks.add((name, ask.status if ask.error is None else ask.error.kind))
            if ask.latency_s is not None:
                self._ask_latency.observe(who, ask.latency_s)
            if ask.first_token_s is not None:
                self._first_token.observe(who, ask.first_token_s)
            if usage.input_tokens:
                self._tokens.add((name, "input"), usage.input_tokens)
            if usage.output_tokens:
                self._tokens.add((name, "output"), usage.output_tokens)
            cost_usd = course.cost_of(ask)
            if cost_usd is None:
                self._cost_unknown.add(who)
            elif cost_usd:
                self._cost.add(who, cost_usd)

    async def text(self) -> str:
        """Everything, in Prometheus' text format. Requests go on between two numbers."""
        told: list[str] = []
        for part in self._parts:
            told += _told(part)
            await asyncio.sleep(0)
        return "\n".join([*told, ""])


def breaker_values(states: Iterable[tuple[str, State]]) -> dict[_Labels, float]:
    """Label values -> 1 for the state in which a candidate's breaker is, 0 for the others."""
    return {(name, one): float(one == state) for name, state in states for one in _STATES}


def _told(part: Counter | Histogram) -> Iterator[str]:
    yield f"# HELP {part.name} {part.told}"
    yield f"# TYPE {part.name} {part.kind}"
    yield from part.lines()


def _braced(names: _Labels, values: _Labels) -> str:
    if not names:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
