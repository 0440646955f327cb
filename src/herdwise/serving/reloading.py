"""From one config to the next without losing a request: each ends with the parts that it began with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from herdwise.backends.base import Backend
from herdwise.core.errors import ConfigError, HerdwiseError, RequestError
from herdwise.serving.admission import Admission
from herdwise.serving.allocating import clear_away
from herdwise.serving.dispatch import Dispatcher
from herdwise.serving.ending import end
from herdwise.serving.metrics import Metrics
from herdwise.serving.service import Service, Settings, check_bind

logger = logging.getLogger(__name__)

#: Builds a service anew, given the one that runs; it may take over backends of that one. Called on a
#: thread; raises HerdwiseError where the new config cannot be served.
Rebuild = Callable[[Service], Service]

#: After a generation has retired, until it is looked for: connections hold their last request for a moment.
_CLEAR_AFTER_S = 1.0
#: How long requests may take to end once they have been cancelled.
_END_S = 2.0
#: Pause before the ledger is told again of a new herd that it could not take.
_NOTE_AGAIN_S = 5.0
#: Settings that hold until the process ends: key of the config -> field of Settings.
_FIXED = {
    "server.host": "host",
    "server.port": "port",
    "server.workers": "workers",
    "state.breakers": "share_breakers",
    "state.url": "state_url",
    "cache.url": "cache_url",
    "telemetry": "telemetry",
}


@dataclass(slots=True, eq=False)
class Generation:
    """A service and all that serves it, between two reloads.

    Args:
        service: what is served.
        dispatcher: carries its requests out.
        serve: answers a request.
        hold: has what it shares with others go by its settings.
        n_open: requests that it is answering.
        watching: probes its backends.
    """

    service: Service
    dispatcher: Dispatcher
    serve: ASGIApp
    hold: Callable[[], None]
    n_open: int = 0
    watching: asyncio.Task[None] | None = None


class Reloading:
    """Serves by the service of the moment. Belongs to one event loop.

    Ledger, keyring, meters, conversations and open decisions live through a reload; so do the backends
    that the new service takes over, with their connections, limits and breakers. The others are closed
    when the last request that might ask them has ended.

    Args:
        service: the first.
        admission: whose keys change with the config.
        metrics: counts reloads.
        assemble: what serves a service, and what makes its settings hold; before that nothing has changed.
        rebuild: reads the config anew; None = nothing can be reloaded.
        on_settings: told of the new settings before they hold, such as how to log.
    """

    def __init__(
        self,
        service: Service,
        admission: Admission,
        metrics: Metrics,
        assemble: Callable[[Service, Dispatcher], tuple[ASGIApp, Callable[[], None]]],
        *,
        rebuild: Rebuild | None = None,
        on_settings: Callable[[Settings], None] | None = None,
    ) -> None:
        self._admission, self._metrics, self._assemble = admission, metrics, assemble
        self._rebuild, self._on_settings = rebuild, on_settings
        dispatcher = Dispatcher(service)
        self.current = Generation(service, dispatcher, *assemble(service, dispatcher))
        self.current.hold()
        self.draining = False
        self._retired: list[Generation] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._prepared: tuple[Generation, list[str]] | None = None
        self._all_ended: asyncio.Event | None = None
        self._noting: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, by what holds when it comes."""
        generation = self.current
        generation.n_open += 1
        try:
            await generation.serve(scope, receive, _closing(send) if self.draining else send)
        finally:
            generation.n_open -= 1
            if not generation.n_open:
                if generation is not self.current:
                    self._retire(generation)
                if self._all_ended is not None and not self._n_open():
                    self._all_ended.set()

    def start(self) -> None:
        """Watch over the backends."""
        self._watch(self.current)

    async def requests_ended(self) -> None:
        """Wait for the requests that have been cancelled, for a moment."""
        if self._n_open():
            self._all_ended = asyncio.Event()
            try:
                async with asyncio.timeout(_END_S):
                    await self._all_ended.wait()
            except TimeoutError:
                logger.error("%d requests did not end", self._n_open())

    async def stop(self) -> None:
        """Close all backends."""
        await end(self._noting)
        self.abandon()
        for generation in (*self._retired, self.current):
            self._retire(generation)
        await asyncio.gather(*self._closing)

    async def reload(self) -> dict[str, Any]:
        """Read the config anew and go by it; what came of it, as JSON values.

        Raises:
            RequestError: as ``prepare``.
            HerdwiseError: as ``prepare``.
        """
        async with self._lock:
            await self.prepare()
            return self.commit()

    async def prepare(self) -> None:
        """Read the config anew and build all that it takes; ``commit`` goes by it, ``abandon`` drops it.

        Raises:
            RequestError: 422 when the new config cannot be served (the old one goes on), 501 when there
                is nothing to read, 503 when the process is about to end.
            HerdwiseError: when it could not be read for a reason of ours; the old one goes on.
        """
        if self._rebuild is None:
            raise RequestError(
                "this endpoint was not started from a config file.", status=501, code="no_config"
            )
        self.abandon()
        self._check_staying()
        try:
            self._prepared = await self._build(self._rebuild)
        except RequestError:
            raise
        except Exception as error:
            self._metrics.reloads.add(("refused",))
            if isinstance(error, HerdwiseError):
                logger.error("the new config is refused, the old one goes on: %s", error)
                raise RequestError(str(error), status=422, code="config_refused") from error
            logger.exception("the new config could not be read, the old one goes on")
            raise HerdwiseError("the new config could not be read; the server's log says more.") from error

    def abandon(self) -> None:
        """Drop what was prepared, if anything was."""
        if self._prepared is not None:
            generation, self._prepared = self._prepared[0], None
            self._retire(generation)

    def commit(self) -> dict[str, Any]:
        """Go by what was prepared; what came of it, as JSON values."""
        if self._prepared is None:
            raise HerdwiseError("nothing is prepared to be gone by.")
        (generation, needs_restart), self._prepared = self._prepared, None
        service, before = generation.service, self.current
        if self._on_settings is not None:
            self._on_settings(service.settings)
        # Nothing is awaited here, so that every request sees one of the two as a whole.
        self._admission.change(service.settings.api_keys, service.settings.admin_key)
        self.current = generation
        generation.dispatcher.widen()
        generation.hold()
        self._note(service)
        self._retired.append(before)
        if before.watching is not None:
            before.watching.cancel()
            self._watch(generation)
        if not before.n_open:
            self._retire(before)
        told = {
            "object": "reload",
            "candidates": list(service.ranker.herd.names),
            "policies": service.offered(),
            "backends_kept": sum(b is before.service.backends.get(n) for n, b in service.backends.items()),
            "needs_restart": needs_restart,
        }
        self._metrics.reloads.add(("done",))
        logger.info("reloaded: %d candidates", len(service.ranker.herd))
        for key in needs_restart:
            logger.warning("%s has changed; that takes effect after a restart", key)
        return told

    async def _build(self, rebuild: Rebuild) -> tuple[Generation, list[str]]:
        before = self.current
        built = await asyncio.to_thread(rebuild, before.service)
        service, needs_restart = carried(built, before.service)
        dispatcher = Dispatcher(service, before.dispatcher)
        generation = Generation(service, dispatcher, *self._assemble(service, dispatcher))
        if self.draining:
            self._retire(generation)
            self._check_staying()
        return generation, needs_restart

    def _check_staying(self) -> None:
        if self.draining:
            raise RequestError("the endpoint is about to end.", status=503, code="draining")

    def _note(self, service: Service) -> None:
        """Have the ledger know the herd that is served from now on, as soon as it can be written."""

        async def note(before: asyncio.Task[None] | None) -> None:
            if before is not None:  # what was known before is not to be noted last
                await asyncio.wait({before})
            while service is self.current.service and service.ledger is not None:
                try:
                    await asyncio.to_thread(service.ledger.note, service.ranker.herd)
                except HerdwiseError as error:
                    logger.warning("the herd is not noted in the ledger yet: %s", error)
                    await asyncio.sleep(_NOTE_AGAIN_S)
                else:
                    return

        self._noting = asyncio.create_task(note(self._noting))

    def _watch(self, generation: Generation) -> None:
        watching = generation.dispatcher.health.watch(generation.service.backends)
        generation.watching = asyncio.create_task(watching)

    def _n_open(self) -> int:
        return self.current.n_open + sum(one.n_open for one in self._retired)

    def _retire(self, generation: Generation) -> None:
        """Nobody is asked for it any more: close the backends that no other generation uses."""
        alive = [one for one in (*self._retired, self.current) if one is not generation]
        if generation in self._retired:
            self._retired.remove(generation)
            self.current.dispatcher.health.outlive(generation.dispatcher.health)
        used = {id(backend) for one in alive for backend in one.service.backends.values()}
        unused = {n: b for n, b in generation.service.backends.items() if id(b) not in used}
        closing = asyncio.create_task(_close(unused, generation.watching))
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: asyncio.Task[None]) -> None:
        self._closing.discard(closing)
        if not self.draining:
            asyncio.get_running_loop().call_later(_CLEAR_AFTER_S, clear_away)


def carried(built: Service, before: Service) -> tuple[Service, list[str]]:
    """A new service with what cannot change while the process runs, and the keys that would have changed.

    Raises:
        ConfigError: when the new settings cannot hold without a restart.
    """
    needs_restart = [
        key
        for key, field in _FIXED.items()
        if getattr(built.settings, field) != getattr(before.settings, field)
    ]
    if _url(built) != _url(before):
        needs_restart.append("ledger.url" if built.ledger and before.ledger else "ledger.enabled")
    if before.ledger is None and built.settings.admin_key is not None:
        raise ConfigError(
            "server.admin_key needs the ledger, which cannot be switched on while the endpoint runs.",
            remedy="Restart it.",
        )
    kept = {field: getattr(before.settings, field) for field in _FIXED.values()}
    settings = replace(built.settings, **kept)
    check_bind(settings.host, settings.keys)
    return replace(built, ledger=before.ledger, settings=settings), needs_restart


def _closing(send: Send) -> Send:
    """Tells the client not to send another request on this connection."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return sent


def _url(service: Service) -> str | None:
    return None if service.ledger is None else service.ledger.url


async def _close(backends: Mapping[str, Backend], watching: asyncio.Task[None] | None) -> None:
    await end(watching)
    ended = await asyncio.gather(*(one.close() for one in backends.values()), return_exceptions=True)
    for name, outcome in zip(backends, ended, strict=True):
        if isinstance(outcome, BaseException):
            logger.error("the backend of %r could not be closed", name, exc_info=outcome)
