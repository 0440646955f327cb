"""A candidate as the JSON of a router's manifest."""

from __future__ import annotations

import datetime as dt
from typing import Any

from herdwise.core.candidate import Candidate
from herdwise.core.money import Price


def candidate_to_json(candidate: Candidate) -> dict[str, Any]:
    """JSON values of a candidate; what is unknown is left out."""
    value: dict[str, Any] = {
        "name": candidate.name,
        "params_b": candidate.params_b,
        "active_params_b": candidate.active_params_b,
        "open_weights": candidate.open_weights,
        "input_usd_per_mtok": candidate.price.input_usd_per_mtok,
        "output_usd_per_mtok": candidate.price.output_usd_per_mtok,
        "context_tokens": candidate.context_tokens,
        "modalities": None if candidate.modalities is None else sorted(candidate.modalities),
        "tools": candidate.tools,
        "json_schema": candidate.json_schema,
        "licence": candidate.licence,
        "released": None if candidate.released is None else candidate.released.isoformat(),
        "tags": sorted(candidate.tags) or None,
        "quality": candidate.quality,
        "like": candidate.like,
        "latency_s": candidate.latency_s,
    }
    return {k: v for k, v in value.items() if v is not None}


def candidate_from_json(value: dict[str, Any]) -> Candidate:
    """Rebuild from ``candidate_to_json``.

    Raises:
        TypeError, ValueError, KeyError: when the value is not one of a candidate.
    """
    fields = dict(value)
    price = Price(fields.pop("input_usd_per_mtok", None), fields.pop("output_usd_per_mtok", None))
    if "modalities" in fields:
        fields["modalities"] = frozenset(fields["modalities"])
    if "released" in fields:
        fields["released"] = dt.date.fromisoformat(fields["released"])
    fields["tags"] = frozenset(fields.get("tags", ()))
    return Candidate(price=price, **fields)
