"""Upstreams of three APIs that fail by turns, at least one of them healthy at every moment.

Each answers a question, known by its number, with the same text, so that an answer pieced together from
several can be checked to the letter; and states token counts of its own, so that nobody else's can pass
for them. What was stated is kept.
"""

from __future__ import annotations

import asyncio
import importlib.util
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[2] / "tests"
NUMBER = re.compile(r"#(\d+)#")
#: Pieces of an answer; long enough for a stream to be cut in the midst of it.
N_WORDS = 24
#: Faults by which an answer never begins or comes to nothing.
EARLY = (
    *("hang_before_headers", "reset_before_headers", "close_before_headers", "rate_limited", "overloaded"),
    *("server_error", "html_error", "redirect", "context_length_exceeded", "key_refused", "truncated_json"),
    *("malformed_sse", "wrong_content_type", "wrong_charset", "empty_answer", "empty_body", "no_choices"),
    "not_http",
)
#: Faults in the midst of one.
MIDST = (
    *("hang_mid_stream", "reset_mid_stream", "close_mid_stream", "end_mid_stream", "error_event"),
    "no_finish_reason",
)
#: Faults that are written in OpenAI's terms.
OF_OPENAI = frozenset({"empty_answer", "no_finish_reason"})
#: Oddities; the answer is whole.
ODD = ("slow", "slow_bytes", "no_done", "hang_after_done", "no_content_type")


def _load(name: str, file: str) -> Any:
    """The tests' faulty servers, which are files, not a package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / file)
        if spec is None or spec.loader is None:
            raise FileNotFoundError(TESTS / file)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


faulty = _load("herdwise_tests_faulty_upstream", "faulty_upstream.py")
providers = _load("herdwise_tests_provider_upstreams", "provider_upstreams.py")


def whole_text(number: int) -> str:
    """The one answer to a question."""
    return " ".join([f"Answer {number}:", *(f"w{number}-{i}" for i in range(N_WORDS)), "end."])


def texts_of(message: Mapping[str, Any]) -> str:
    """All text of a message, in any of the APIs."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(b.get("text", "") for b in content if isinstance(b, dict))
    return content or ""


def number_of(body: Mapping[str, Any]) -> int:
    """Which question it is: the last that has a number."""
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user" and (found := NUMBER.search(texts_of(message))):
            return int(found[1])
    return -1


def answer(body: Mapping[str, Any]) -> str:
    """The whole text, or the rest of it where a part stands in the request."""
    text, messages = whole_text(number_of(body)), body.get("messages") or []
    if len(messages) > 1 and messages[-2].get("role") == "assistant":
        said = texts_of(messages[-2])
        if said and text.startswith(said):
            return text[len(said) :]
    return text


@dataclass
class Truth:
    """What was stated about each question: candidate, input and output tokens."""

    stated: dict[int, set[tuple[str, int, int]]] = field(default_factory=lambda: defaultdict(set))
    served: Counter[str] = field(default_factory=Counter)
    draw: random.Random = field(default_factory=lambda: random.Random(7))


def _counting(kind: Any, names: tuple[str, str]) -> Any:
    """An exchange of that API whose token counts are its own."""
    names_in, names_out = names

    class Counting(kind):  # type: ignore[misc]
        def counts(self) -> tuple[int, int]:
            server, request = self.server, self.request
            if not hasattr(request, "counts"):
                draw = server.truth.draw
                request.counts = (draw.randrange(1, 60), draw.randrange(1, 220))
                number = number_of(request.body)
                server.truth.stated[number].add((server.candidate, *request.counts))
            told: tuple[int, int] = request.counts
            return told

        def frame(self, kind: str) -> Any:
            told = super().frame(kind)
            if "id" in told:  # one for the whole stream, whatever else comes meanwhile
                told["id"] = f"id-{self.server.candidate}-{self.counts()}"
            return told

        def parts(self) -> Any:
            deltas, reason, used = super().parts()
            n_in, n_out = self.counts()
            told = {**used, names_in: n_in, names_out: n_out}
            if "total_tokens" in used:
                told["total_tokens"] = n_in + n_out
            return deltas, reason, told

    return Counting


class Misbehaving:
    """One candidate's server. Mixed into a faulty upstream of some API."""

    candidate: str
    truth: Truth
    #: What it does with a request: none = it answers.
    faults: tuple[str, ...] = ()

    async def respond(self, x: Any) -> None:
        """Answer one request, by the faults of the moment."""
        server: Any = self
        fault = server.truth.draw.choice(self.faults) if self.faults else "ok"
        if fault in OF_OPENAI and server.chat_path != "/v1/chat/completions":
            fault = "server_error"
        if fault == "no_finish_reason" and not x.streaming:
            fault = "truncated_json"  # what it would say knows no tools
        if x.request.path == server.chat_path:
            server.truth.served[fault] += 1
        server.behave(*_options(fault))
        await super().respond(x)  # type: ignore[misc]
        server.requests.clear()


def _options(fault: str) -> Any:
    options: dict[str, dict[str, Any]] = {
        "rate_limited": {"retry_after": 0.2},
        "slow": {"delay_s": 0.3},
        "huge_body": {"megabytes": 80},
    }
    return ([(fault, options[fault])],) if fault in options else (fault,)


OPENAI_NAMES, ANTHROPIC_NAMES = ("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")
OLLAMA_NAMES = ("prompt_eval_count", "eval_count")


class OpenAIServer(Misbehaving, faulty.FaultyUpstream):  # type: ignore[misc,name-defined]
    """An OpenAI-compatible one."""

    exchange = _counting(faulty.Exchange, OPENAI_NAMES)


class AnthropicServer(Misbehaving, providers.AnthropicUpstream):  # type: ignore[misc,name-defined]
    """One of Anthropic's API."""

    exchange = _counting(providers.AnthropicExchange, ANTHROPIC_NAMES)


class OllamaServer(Misbehaving, providers.OllamaUpstream):  # type: ignore[misc,name-defined]
    """One of Ollama's API."""

    exchange = _counting(providers.OllamaExchange, OLLAMA_NAMES)


KINDS: dict[str, tuple[Any, str]] = {
    "alpha": (OpenAIServer, "openai_compatible"),
    "beta": (OpenAIServer, "openai_compatible"),
    "gamma": (AnthropicServer, "anthropic"),
    "delta": (OllamaServer, "ollama"),
}


class Herd:
    """The four servers, and who of them is well.

    Args:
        period_s: how long one phase lasts.
        overlap_s: how long who was well stays so beside who will be.
    """

    def __init__(self, period_s: float, overlap_s: float, seed: int) -> None:
        self.period_s, self.overlap_s = period_s, overlap_s
        #: Whether bodies without end are among the faults: they come early, as memory is judged afterwards.
        self.huge = True
        self.truth, self._draw = Truth(), random.Random(seed)
        self.servers: dict[str, Any] = {}
        self.phases: Counter[str] = Counter()
        for name, (kind, _) in KINDS.items():
            server = kind((f"up-{name}",), answer=answer)
            server.candidate, server.truth = name, self.truth
            self.servers[name] = server

    async def __aenter__(self) -> Herd:
        for server in self.servers.values():
            await server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers.values():
            await server.__aexit__()

    async def rotate(self) -> None:
        """Fail by turns, without end."""
        well = self._draw.choice(list(self.servers))
        while True:
            for name in self.servers:
                if name != well:
                    await self._fall_ill(name)
            await asyncio.sleep(self.period_s)
            following = self._draw.choice([name for name in self.servers if name != well])
            await self._recover(following)
            await asyncio.sleep(self.overlap_s)
            well = following

    async def calm(self) -> None:
        """All are well again."""
        for name in self.servers:
            await self._recover(name)

    async def _recover(self, name: str) -> None:
        server = self.servers[name]
        server.faults = ()
        if not server._server.is_serving():
            await server.__aenter__()

    async def _fall_ill(self, name: str) -> None:
        server, draw = self.servers[name], self._draw
        kind = draw.choice(("refuse", "one", "early", "midst", "midst", "mixed", "mixed", "huge", "well"))
        kind = "mixed" if kind == "huge" and not self.huge else kind
        self.phases[kind] += 1
        if kind != "refuse":
            await self._recover(name)
        if kind == "refuse":
            server._server.close()
            for exchange in list(server.connections):
                task = exchange.task
                exchange.reset()  # a crash: what it was answering breaks off
                if task is not None:
                    task.cancel()
        elif kind == "one":
            server.faults = (draw.choice((*EARLY, *MIDST)),)
        elif kind == "early":
            server.faults = EARLY
        elif kind == "midst":
            server.faults = (*MIDST, "ok")
        elif kind == "mixed":
            server.faults = (*EARLY, *MIDST, *ODD, "ok", "ok", "ok")
        elif kind == "huge":
            server.faults = ("huge_body", *("ok",) * 40)

    def connections(self) -> int:
        """Open ones, over all servers."""
        return sum(len(server.connections) for server in self.servers.values())

    def hang_up(self) -> None:
        """Close all connections that clients keep."""
        for server in self.servers.values():
            for exchange in list(server.connections):
                exchange.transport.close()

    def in_flight(self) -> Iterator[int]:
        """Requests that each server is answering."""
        return (server.in_flight for server in self.servers.values())
