"""What ``herdwise serve`` serves: a config file, and what the command line says instead of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from herdwise.config.document import text_of
from herdwise.config.load import load
from herdwise.config.tree import CandidateNode, Config

if TYPE_CHECKING:
    from herdwise.serving.service import Service


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A config file and the flags that go before it; None = as the file says.

    Args:
        file: the config's path.
        host, port, workers: instead of the config's ``server``.
        router: instead of the config's ``router``, absolute.
    """

    file: str
    host: str | None = None
    port: int | None = None
    workers: int | None = None
    router: str | None = None

    def text(self) -> str:
        """What the file holds now.

        Raises:
            ConfigError: when it cannot be read.
        """
        return text_of(Path(self.file))

    def read(self, text: str | None = None) -> Config:
        """The config.

        Args:
            text: what the file held when it was read before; None = it is read.

        Raises:
            ConfigError: when it cannot be served.
        """
        config = load(self.file, text=text)
        stated = {name: getattr(self, name) for name in ("host", "port", "workers")}
        server = replace(config.server, **{k: v for k, v in stated.items() if v is not None})
        router = config.router if self.router is None else Path(self.router)
        return replace(config, server=server, router=router)


def share(config: Config, workers: int) -> Config:
    """One worker's share of the limits on what is under way at a time: together they keep the config's.

    A limit smaller than the number of workers lets each do one thing at a time.
    """
    if workers == 1:
        return config
    server = replace(
        config.server,
        max_open_requests=_part(config.server.max_open_requests, workers),
        max_waiting=-(-config.server.max_waiting // workers),
        max_connections=_part(config.server.max_connections, workers),
    )
    candidates = [_shared(node, workers) for node in config.candidates]
    return replace(config, server=server, candidates=candidates)


def _shared(node: CandidateNode, workers: int) -> CandidateNode:
    queue = None if node.max_queue is None else -(-node.max_queue // workers)
    if node.max_concurrency is None:
        return replace(node, max_queue=queue)
    return replace(node, max_concurrency=_part(node.max_concurrency, workers), max_queue=queue)


def _part(limit: int, workers: int) -> int:
    return max(1, limit // workers)


def facts(url: str, service: Service) -> dict[str, Any]:
    """What ``herdwise serve`` tells of an endpoint once it is ready."""
    from herdwise.routing.declared import DeclaredRouter

    return {
        "url": url,
        "base_url": f"{url}/v1",
        "candidates": list(service.ranker.herd.names),
        "policies": service.offered(),
        "trained": not isinstance(service.ranker, DeclaredRouter),
        "key_needed": bool(service.settings.api_keys),
        "workers": service.settings.workers,
    }
