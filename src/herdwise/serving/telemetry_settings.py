"""How requests are traced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Where traces go, and what they hold.

    Args:
        endpoint: an OTLP/HTTP receiver's base URL, such as ``http://127.0.0.1:4318``; spans go to
            ``/v1/traces`` under it.
        headers: sent with them, such as a key; never shown.
        sample_ratio: share of requests that are traced, where the client does not say.
        service_name: ``service.name`` of the spans.
        record_texts: whether prompts and answers stand in them.
    """

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sample_ratio: float = 1.0
    service_name: str = "herdwise"
    record_texts: bool = False
