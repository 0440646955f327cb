"""Structured logs: one line per event, with the decision's id. Neither secrets nor prompts are logged."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from contextvars import ContextVar

import msgspec

from herdwise.core.errors import ConfigError
from herdwise.serving.service import Settings

#: The decision's id, and the trace's where there is one, of the request that the running task serves.
REQUEST: ContextVar[tuple[str, str | None] | None] = ContextVar("herdwise_request", default=None)

#: What a log call may say beside its message (``extra=``); anything else is left out.
FIELDS = (
    "decision_id",
    "trace_id",
    "policy",
    "candidate",
    "status",
    "attempts",
    "latency_s",
    "overhead_ms",
    "cost_usd",
    "error_kind",
    "path",
)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter.format``."""
        line: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextFormatter(logging.Formatter):
    """One line for people: the message, then ``field=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """See ``logging.Formatter.formatMessage``."""
        told = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return super().formatMessage(record) + told


def _fields(record: logging.LogRecord) -> dict[str, object]:
    values = {name: getattr(record, name, None) for name in FIELDS}
    request = REQUEST.get()
    if request is not None and values["decision_id"] in (None, request[0]):
        values["decision_id"], values["trace_id"] = request
    return {name: value for name, value in values.items() if value is not None}


def configure_logging(settings: Settings) -> None:
    """Send the endpoint's and the HTTP server's logs to stderr in the configured form.

    Raises:
        ConfigError: when there is no such level.
    """
    level = settings.log_level.upper()
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"there is no log level {settings.log_level!r}.", remedy="Such as INFO or WARNING.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    for name in ("herdwise", "uvicorn", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        # The HTTP server's own lines (started, stopped) repeat what ours say.
        logger.setLevel(level if name == "herdwise" else max(logging.WARNING, logging.getLevelName(level)))
