"""The same config file, wired again: what is still reached the same way keeps its backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from herdwise.backends.base import Backend
from herdwise.config.tree import CandidateNode, Config
from herdwise.config.wiring import build_service, reach

if TYPE_CHECKING:
    from herdwise.serving.service import Service


class Rewiring:
    """Builds services of one config file, one after the other.

    Args:
        read: reads the file.

    Attributes:
        config: as last read, once there was a build.
    """

    def __init__(self, read: Callable[[], Config]) -> None:
        self._read = read
        self.config: Config
        self._made: list[tuple[CandidateNode, Backend]] = []

    def build(self, running: Service | None = None) -> Service:
        """A service of the config as it now stands.

        Args:
            running: what is to be replaced; its backends are taken over for candidates that are reached
                as before, with their connections, limits and breakers.

        Raises:
            InputError: as ``wiring.build_service``; nothing has changed then.
        """
        self.config = config = self._read()
        kept = {} if running is None else self._kept(config, running)
        service = build_service(config, kept)
        still = [] if running is None else [pair for pair in self._made if _serves(running, pair[1])]
        new = [node for node in config.candidates if node.name not in kept]
        # A service that is refused later on leaves pairs behind, which no running one has: dropped here.
        self._made = [*still, *((node, service.backends[node.name]) for node in new)]
        return service

    def _kept(self, config: Config, running: Service) -> dict[str, Backend]:
        made = {node.name: (node, backend) for node, backend in self._made if _serves(running, backend)}
        return {
            node.name: made[node.name][1]
            for node in config.candidates
            if node.name in made and _same_way(node, made[node.name][0])
        }


def _serves(running: Service, backend: Backend) -> bool:
    return any(one is backend for one in running.backends.values())


def _same_way(one: CandidateNode, other: CandidateNode) -> bool:
    return (one.backend, one.options, reach(one)) == (other.backend, other.options, reach(other))
