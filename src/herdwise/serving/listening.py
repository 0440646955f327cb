"""The socket that connections come in by."""

from __future__ import annotations

import socket

from herdwise.core.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 lets the system choose.

    Raises:
        ConfigError: when the address cannot be listened on.
    """
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


def url_of(host: str, listening: socket.socket) -> str:
    """The endpoint's URL."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}"
