"""How the ledger's database is reached."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text

from herdwise.core.errors import ConfigError
from herdwise.serving.ledger_engine import open_engine


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(20)
    for one in held:
        one.close()


def test_a_postgres_that_is_cut_off_is_given_up_soon_unless_the_url_says_otherwise(postgres_url: str) -> None:
    name = f"t_{uuid.uuid4().hex}"
    server = create_engine(f"{postgres_url}/postgres", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    server.dispose()
    engine = open_engine(f"{postgres_url}/{name}?keepalives_idle=77", create=True)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        told = driver.info.get_parameters()
    engine.dispose()
    assert (told["keepalives_idle"], told["tcp_user_timeout"]) == ("77", "30000")


def test_a_postgres_that_says_nothing_is_not_waited_for_for_long(mute: int) -> None:
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    url = f"postgresql+psycopg://postgres@127.0.0.1:{mute}/x?connect_timeout=2"
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_engine(url, create=True)
