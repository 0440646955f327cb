"""The same config file, wired again: what is still reached the same way keeps its backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from herdwise.backends.base import Backend
from herdwise.config.identity import folder_state
from herdwise.config.tree import CandidateNode, Config
from herdwise.config.wiring import build_service, reach

if TYPE_CHECKING:
    from herdwise.serving.service import Service


FolderState = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """A backend, and what it was made from."""

    node: CandidateNode
    state: FolderState
    backend: Backend


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
        self._made: list[_Made] = []

    def build(self, running: Service | None = None) -> Service:
        """A service of the config as it now stands.

        Args:
            running: what is to be replaced; its backends are taken over for candidates that are reached
                as before, with their connections, limits and breakers. A model whose folder has changed is
                read anew.

        Raises:
            InputError: as ``wiring.build_service``; nothing has changed then.
        """
        self.config = config = self._read()
        # Looked at before a backend reads them: what changes meanwhile is seen by the next build.
        states = {node.name: folder_state(node) for node in config.candidates}
        kept = {} if running is None else self._kept(config, running, states)
        service = build_service(config, kept)
        still = [] if running is None else [made for made in self._made if _serves(running, made.backend)]
        new = [node for node in config.candidates if node.name not in kept]
        # A service that is refused later on leaves some behind, which no running one has: dropped here.
        self._made = [*still, *(_Made(n, states[n.name], service.backends[n.name]) for n in new)]
        return service

    def _kept(
        self, config: Config, running: Service, states: Mapping[str, FolderState]
    ) -> dict[str, Backend]:
        made = {each.node.name: each for each in self._made if _serves(running, each.backend)}
        return {
            node.name: made[node.name].backend
            for node in config.candidates
            if node.name in made
            and _same_way(node, made[node.name].node)
            and states[node.name] == made[node.name].state
        }


def _serves(running: Service, backend: Backend) -> bool:
    return any(one is backend for one in running.backends.values())


def _same_way(one: CandidateNode, other: CandidateNode) -> bool:
    return (one.backend, one.options, reach(one)) == (other.backend, other.options, reach(other))
