"""The endpoint as an ASGI application, and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from herdwise.core.errors import HerdwiseError, RequestError
from herdwise.serving.admin import AdminEndpoints
from herdwise.serving.admission import Admission
from herdwise.serving.cache import Cache
from herdwise.serving.cache_stores import CacheStores
from herdwise.serving.chat import ChatEndpoint
from herdwise.serving.company import Company
from herdwise.serving.console import console_routes
from herdwise.serving.dispatch import Dispatcher
from herdwise.serving.ending import STEP_S, on_thread, within
from herdwise.serving.endpoints import Endpoints, error_response
from herdwise.serving.exchange import send_error
from herdwise.serving.ledger_retention import NOTHING, Pruned, Retention
from herdwise.serving.listening import listen, url_of
from herdwise.serving.logs import configure_logging
from herdwise.serving.metrics import Metrics, breaker_values
from herdwise.serving.origins import Origins, is_preflight, readable, send_preflight
from herdwise.serving.reloading import Rebuild, Reloading
from herdwise.serving.service import Service, Settings, check_bind
from herdwise.serving.telemetry import Telemetry
from herdwise.serving.wire.anthropic_messages import Messages
from herdwise.serving.wire.api import Api
from herdwise.serving.wire.errors import from_exception, wire_error
from herdwise.serving.wire.openai_completions import Completions
from herdwise.serving.wire.openai_reply import ChatCompletions
from herdwise.serving.wire.openai_responses import Responses
from herdwise.serving.workers_link import Link

logger = logging.getLogger(__name__)

#: How long a connection without a request is kept. Longer than clients and proxies keep theirs (most a minute
#: at most): who sends at the very moment in which we hang up has lost a request.
KEPT_S = 75
#: The APIs in front of the herd. All of them are routed, carried out and recorded alike.
APIS: tuple[type[Api], ...] = (ChatCompletions, Responses, Messages, Completions)
#: In whose shape errors of all else are.
_PLAIN = ChatCompletions()


class App:
    """The ASGI application of a service. Starting it opens the ledger, stopping it closes everything.

    Args:
        service: what to serve.
        rebuild: reads the config anew (see ``reloading``); None = there is nothing to reload.
        on_settings: told of new settings before they hold.
        link: to the process that started this one as one of several workers.
    """

    def __init__(
        self,
        service: Service,
        *,
        rebuild: Rebuild | None = None,
        on_settings: Callable[[Settings], None] | None = None,
        link: Link | None = None,
    ) -> None:
        settings = service.settings
        self._admission = Admission(settings.api_keys, settings.admin_key, settings.state_url)
        self._metrics = Metrics()
        self._stores = CacheStores(settings.cache, settings.cache_url, self._metrics)
        self._telemetry = None if settings.telemetry is None else Telemetry(settings.telemetry)
        self._company = Company(settings, self._metrics, service.ledger, link)
        self._company.on_cleared = self._stores.forget
        self.reloading = Reloading(
            service,
            self._admission,
            self._metrics,
            self._assemble,
            rebuild=rebuild,
            on_settings=on_settings,
        )
        self._ledger = service.ledger
        self._retention = Retention(self._prune)
        self._lifespan = Starlette(lifespan=self._running)
        #: Whether something was left undone when it ended.
        self.undone = False
        self._gauges()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the process."""
        await (self._lifespan if scope["type"] == "lifespan" else self.reloading)(scope, receive, send)

    @asynccontextmanager
    async def _running(self, _app: Starlette) -> AsyncIterator[None]:
        if self._ledger is not None:
            self._ledger.start(self.reloading.current.service.ranker.herd)
        company = self._company
        meter = await company.join(self.reloading)
        await self._admission.start(self._ledger, meter, owner=company.owner, heir=company.heir)
        self.reloading.start()
        if self._ledger is not None and self._company.first:
            self._retention.start()
        try:
            yield
        finally:
            self.undone = not await self._end()

    async def _end(self) -> bool:
        """Close everything, whatever hangs; whether it was done."""
        self.reloading.draining = True
        await self.reloading.requests_ended()
        steps = {
            "closing the connections to candidates": self.reloading.stop(),
            "ending the work on old decisions": self._retention.stop(),
            "telling other gateways the last news": self._company.leave(),
            "charging keys, and closing their counters": self._admission.close(),
            "closing the cache": self._stores.close(),
        }
        if self._telemetry is not None:
            steps["sending the last traces"] = on_thread(self._telemetry.close)
        done = await asyncio.gather(*(within(STEP_S, what, step) for what, step in steps.items()))
        if self._ledger is not None:
            ledger, lost = self._ledger, [0]
            closing = on_thread(lambda: lost.append(ledger.close(STEP_S - 0.5)))
            done.append(await within(STEP_S, "closing the ledger", closing))
            if lost[-1]:
                logger.error("%d decisions are lost: the ledger could not be written", lost[-1])
                done.append(False)
        done.append(await within(1.0, "parting from the other workers", self._company.part()))
        return all(done)

    def _assemble(self, service: Service, dispatcher: Dispatcher) -> tuple[ASGIApp, Callable[[], None]]:
        admission, metrics, company = self._admission, self._metrics, self._company
        cache = None if service.settings.cache.kind == "none" else Cache(service, self._stores)
        traces = self._telemetry
        hot = {
            api.path: ChatEndpoint(service, dispatcher, api(), admission, metrics, cache, traces)
            for api in APIS
        }
        cold = Starlette(
            routes=[
                *Endpoints(
                    service, dispatcher, admission, metrics, company, lambda: self.reloading.draining
                ).routes(),
                *AdminEndpoints(admission, self.reload, self._clear_cache).routes(),
                *(console_routes() if service.settings.console else ()),
            ],
            exception_handlers={HTTPException: _http_error, Exception: _any_error},
        )
        cold.router.redirect_slashes = False
        kept = _keeping(cold)
        origins = Origins(service.settings.allowed_origins)

        async def serve_one(scope: Scope, receive: Receive, send: Send) -> None:
            endpoint = hot.get(scope["path"])
            try:
                page = origins.check(scope["headers"], admission.keyless)
            except RequestError as error:
                api = _PLAIN if endpoint is None else endpoint.api
                await send_error(send, api, from_exception(error))
                return
            if page is not None:
                if is_preflight(scope):
                    await send_preflight(scope, send, page)
                    return
                send = readable(send, page)
            await (endpoint or kept)(scope, receive, send)

        def hold() -> None:
            company.watch(dispatcher.health)
            if cache is not None:
                cache.hold()

        return serve_one, hold

    async def reload(self) -> dict[str, Any]:
        """Go by the config as it now stands; where there are several workers, all of them or none.

        Raises:
            RequestError, HerdwiseError: as ``Reloading.reload``.
        """
        return await self._company.reload()

    async def _clear_cache(self) -> None:
        await self._stores.clear()
        self._company.tell_cleared()

    async def _prune(self, stop: threading.Event) -> Pruned:
        settings = self.reloading.current.service.settings
        texts_days, days = settings.keep_texts_days, settings.keep_days
        if self._ledger is None or (texts_days is None and days is None):
            return NOTHING
        return await self._ledger.prune(keep_texts_days=texts_days, keep_days=days, stop=stop)

    def _gauges(self) -> None:
        gauge, reloading, ledger = self._metrics.gauge, self.reloading, self._ledger
        gauge(
            "herdwise_open_requests",
            "Requests that are being carried out.",
            (),
            lambda: {(): len(reloading.current.dispatcher.open)},
        )
        gauge(
            "herdwise_waiting_requests",
            "Requests that wait until fewer are open (server.max_open_requests).",
            (),
            lambda: {(): reloading.current.dispatcher.gate.waiting},
        )
        gauge(
            "herdwise_tasks",
            "Tasks of the event loop.",
            (),
            lambda: {(): len(asyncio.all_tasks())},
        )
        gauge(
            "herdwise_breaker_state",
            "1 for the state in which a candidate's breaker is.",
            ("candidate", "state"),
            lambda: breaker_values(reloading.current.dispatcher.health.states()),
        )
        if ledger is None:
            return
        gauge(
            "herdwise_ledger_pending_decisions",
            "Decisions that are not on the disk yet.",
            (),
            lambda: {(): ledger.pending},
        )
        gauge(
            "herdwise_ledger_lost_decisions",
            "Decisions that could not be kept since the start.",
            (),
            lambda: {(): ledger.lost},
        )


def _keeping(cold: ASGIApp) -> ASGIApp:
    """Starlette answers an unexpected error with 500 and raises it again; uvicorn then closes the connection.

    Once the error is answered (and logged), the connection is as good as any; only where an answer broke
    off in its midst, it has to go.
    """

    async def kept(scope: Scope, receive: Receive, send: Send) -> None:
        whole = False

        async def noted(message: Message) -> None:
            nonlocal whole
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await cold(scope, receive, noted)
        except Exception:
            if not whole:
                raise

    return kept


def create_app(service: Service) -> ASGIApp:
    """The ASGI application of a service that nothing reloads."""
    return App(service)


def serve(
    service: Service,
    *,
    rebuild: Rebuild | None = None,
    on_ready: Callable[[str], None] | None = None,
    link: Link | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; open requests may end within ``settings.drain_s``.

    Args:
        service: what to serve.
        rebuild: what SIGHUP and POST /admin/v1/reload build the next service with.
        on_ready: called with the endpoint's URL once it listens.
        link: to the process that started this one as one of several workers, and accepts for all.

    Raises:
        ConfigError: when the address may not or cannot be listened on, or the ledger can't be opened.
        HerdwiseError: when something was left undone at the end.
    """
    import uvicorn
    from threadpoolctl import threadpool_limits

    from herdwise.serving.connections import Protocol, raise_open_files
    from herdwise.serving.process import Server

    settings = service.settings
    check_bind(settings.host, settings.keys)
    raise_open_files()
    configure_logging(settings)
    # One decision is too small to share between cores; waiting for a second one costs milliseconds.
    threadpool_limits(1, user_api="blas")
    if service.ledger is not None:
        service.ledger.start(service.ranker.herd)
    if link is None:
        listening = [listen(settings.host, settings.port)]
        url = url_of(settings.host, listening[0])
    else:
        listening, url = [], link.hello.url

    def settle(new: Settings) -> None:
        configure_logging(new)
        threadpool_limits(1, user_api="blas")  # a new router may have brought a library of its own

    app = App(service, rebuild=rebuild, on_settings=settle, link=link)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody looks at a client's address
        timeout_keep_alive=KEPT_S,
    )
    ready = (lambda: on_ready(url)) if on_ready else (lambda: None)
    try:
        Server(config, app, ready, link).run(sockets=listening)
    finally:
        for one in listening:
            one.close()
    if app.undone and link is None:
        raise HerdwiseError("the endpoint has ended, but not all was done.", remedy="The log says what.")


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        told = wire_error(f"there is no {request.url.path}.", status=404, code="not_found")
    elif status == 405:
        allow = dict(getattr(error, "headers", None) or {})
        message = f"{request.method} is not possible on {request.url.path}."
        told = wire_error(message, status=405, code="method_not_allowed", headers=allow)
    else:
        told = wire_error(str(getattr(error, "detail", error)), status=status)
    return error_response(told)


async def _any_error(request: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error, extra={"path": request.url.path})
    return error_response(from_exception(error))
