"""What a service needs, where it may listen, what it logs."""

from __future__ import annotations

import io
import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import serve
from herdwise.serving.logs import JsonFormatter, TextFormatter, configure_logging
from herdwise.serving.service import Service, Settings, check_bind

RANKER = DeclaredRouter(Herd([Candidate("a"), Candidate("b")]))
NOBODY: Any = {"a": None, "b": None}


def test_a_candidate_without_a_backend_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'b'"):
        Service(RANKER, {"a": NOBODY["a"]}, {"single": Single()})


def test_a_candidate_must_not_take_the_name_of_a_policy() -> None:
    for name in ("auto", "auto/single"):
        backends: Any = {name: None}
        with pytest.raises(ConfigError, match="lets a policy decide"):
            Service(DeclaredRouter(Herd([Candidate(name)])), backends, {"single": Single()})


def test_a_default_policy_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'vote'.*single"):
        Service(RANKER, NOBODY, {"single": Single()}, default_policy="vote")


def test_without_a_key_only_this_machine_may_connect() -> None:
    for host in ("127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"):
        check_bind(host, ())
    for host in ("0.0.0.0", "::", "", "192.168.1.5", "example.org"):  # noqa: S104
        with pytest.raises(ConfigError, match="no API key"):
            check_bind(host, ())
        check_bind(host, ("a-key",))


def test_an_empty_key_is_no_key() -> None:
    for keys in (("",), ("good", "  ")):
        with pytest.raises(ConfigError, match="empty"):
            check_bind("0.0.0.0", keys)  # noqa: S104


@pytest.fixture
def quiet_logs() -> Iterator[None]:
    """Loggers as they were."""
    kept = [
        (log, log.handlers[:], log.propagate, log.level)
        for log in (logging.getLogger(name) for name in ("herdwise", "uvicorn"))
    ]
    yield
    for log, handlers, propagate, level in kept:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.mark.usefixtures("quiet_logs")
def test_serving_refuses_a_foreign_address_without_a_key_and_a_port_in_use() -> None:
    service = Service(RANKER, NOBODY, {"single": Single()}, settings=Settings(host="0.0.0.0"))  # noqa: S104
    with pytest.raises(ConfigError, match="no API key"):
        serve(service)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service.settings = Settings(port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match="cannot be listened on"):
            serve(service)


@pytest.mark.usefixtures("quiet_logs")
def test_an_unknown_log_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="LOUD"):
        configure_logging(Settings(log_level="LOUD"))


def test_a_log_line_carries_its_fields_in_either_form() -> None:
    def line(formatter: logging.Formatter) -> str:
        written = io.StringIO()
        handler = logging.StreamHandler(written)
        handler.setFormatter(formatter)
        log = logging.Logger("herdwise.test")
        log.addHandler(handler)
        log.info("chat %s", "done", extra={"decision_id": "d1", "attempts": 2, "prompt": "secret"})
        return written.getvalue()

    told = json.loads(line(JsonFormatter()))
    assert (told["message"], told["decision_id"], told["attempts"]) == ("chat done", "d1", 2)
    assert "secret" not in line(JsonFormatter()) + line(TextFormatter())
    assert "chat done decision_id=d1 attempts=2" in line(TextFormatter())


async def test_neither_prompts_nor_answers_nor_keys_are_logged(
    endpoint: Any, caplog: pytest.LogCaptureFixture
) -> None:
    e = await endpoint(api_keys=("our-secret-key",))
    e.upstreams["large"].behave("server_error")
    with caplog.at_level(logging.DEBUG, logger="herdwise"):
        reply = await e.chat("my private question", headers={"Authorization": "Bearer our-secret-key"})
        await e.chat("my private question", headers={"Authorization": "Bearer wrong-secret-key"})
    assert reply.status == 200
    lines = [r for r in caplog.records if r.name.startswith("herdwise")]
    assert [getattr(r, "decision_id", None) for r in lines] == [reply.headers["x-herdwise-decision-id"]]
    told = "".join(JsonFormatter().format(r) for r in lines)
    assert "small" in told
    assert "private" not in told
    assert "secret" not in told
