"""The endpoint as an ASGI application, and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from herdwise.core.errors import ConfigError
from herdwise.serving.admin import AdminEndpoints
from herdwise.serving.admission import Admission
from herdwise.serving.chat import ChatEndpoint
from herdwise.serving.dispatch import Dispatcher
from herdwise.serving.endpoints import Endpoints, error_response
from herdwise.serving.logs import configure_logging
from herdwise.serving.service import Service, check_bind
from herdwise.serving.wire.anthropic_messages import Messages
from herdwise.serving.wire.api import Api
from herdwise.serving.wire.errors import from_exception, wire_error
from herdwise.serving.wire.openai_completions import Completions
from herdwise.serving.wire.openai_reply import ChatCompletions
from herdwise.serving.wire.openai_responses import Responses

logger = logging.getLogger(__name__)

#: The APIs in front of the herd. All of them are routed, carried out and recorded alike.
APIS: tuple[type[Api], ...] = (ChatCompletions, Responses, Messages, Completions)


def create_app(service: Service) -> ASGIApp:
    """The ASGI application of a service. Starting it opens the ledger, stopping it closes everything."""
    dispatcher, settings = Dispatcher(service), service.settings
    admission = Admission(settings.api_keys, settings.admin_key, settings.state_url)
    hot = {api.path: ChatEndpoint(service, dispatcher, api(), admission) for api in APIS}

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if service.ledger is not None:
            service.ledger.start(service.ranker.herd)
        await admission.start(service.ledger)
        watching = asyncio.create_task(dispatcher.health.watch(service.backends))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await admission.close()
            await _close(service)

    cold = Starlette(
        routes=[*Endpoints(service, dispatcher, admission).routes(), *AdminEndpoints(admission).routes()],
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error, Exception: _any_error},
    )
    cold.router.redirect_slashes = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = hot.get(scope["path"]) if scope["type"] == "http" else None
        await (endpoint or cold)(scope, receive, send)

    return app


def serve(service: Service, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; open requests may end within ``settings.drain_s``.

    Args:
        service: what to serve.
        on_ready: called with the endpoint's URL once it listens.

    Raises:
        ConfigError: when the address may not or cannot be listened on, or the ledger can't be opened.
    """
    import uvicorn
    from threadpoolctl import threadpool_limits

    settings = service.settings
    check_bind(settings.host, settings.keys)
    configure_logging(settings)
    # One decision is too small to share between cores; waiting for a second one costs milliseconds.
    threadpool_limits(1, user_api="blas")
    if service.ledger is not None:
        service.ledger.start(service.ranker.herd)
    listening = _listen(settings.host, settings.port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listening.getsockname()[1]}"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started and on_ready is not None:
                on_ready(url)

    config = uvicorn.Config(
        create_app(service),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    with listening:
        Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # Inherited by every connection. Without it an answer's second packet may wait 40 ms for the
        # client's acknowledgement of the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} cannot be listened on: {error.strerror}.",
            remedy="Is another process using the port? Choose another with server.port.",
        ) from error
    return listening


async def _close(service: Service) -> None:
    closing = [backend.close() for backend in service.backends.values()]
    ended = await asyncio.gather(*closing, return_exceptions=True)
    for name, outcome in zip(service.backends, ended, strict=True):
        if isinstance(outcome, BaseException):
            logger.error("the backend of %r could not be closed", name, exc_info=outcome)
    if service.ledger is not None:
        await asyncio.to_thread(service.ledger.close)


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
