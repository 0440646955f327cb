"""One request's own goals: the body's ``herdwise`` object and the ``x-herdwise-*`` headers.

The body wins over a header, both win over the config. ``null`` lifts a limit that the config sets.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdwise.core.candidate import Herd
from herdwise.core.decision import (
    LEAST_PROBABILITY,
    MOST_PROBABILITY,
    Constraints,
    CostKind,
    Goals,
    Preferences,
)
from herdwise.core.errors import RequestError

_Weight = Annotated[float, Meta(ge=0, le=1e12)]
_Limit = Annotated[float, Meta(gt=0)] | None | UnsetType
_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Probability = Annotated[float, Meta(ge=LEAST_PROBABILITY, le=MOST_PROBABILITY)]
#: Of the cache: use it; ask anew and keep the answer; take an answer but keep none; leave it out.
_CacheUse = Literal["use", "refresh", "read", "off"]


class Prefer(msgspec.Struct, forbid_unknown_fields=True):
    """Soft goals, a weight each (``herdwise.core.decision.Preferences``)."""

    quality: _Weight | UnsetType = UNSET
    cost: _Weight | UnsetType = UNSET
    size: _Weight | UnsetType = UNSET
    latency: _Weight | UnsetType = UNSET
    recency: _Weight | UnsetType = UNSET
    brevity: _Weight | UnsetType = UNSET


class RequestGoals(msgspec.Struct, forbid_unknown_fields=True):
    """The ``herdwise`` object of a request."""

    cost_weight: _Weight | UnsetType = UNSET
    cost_kind: CostKind | UnsetType = UNSET
    min_quality: _Fraction | UnsetType | None = UNSET
    min_quality_probability: _Probability | UnsetType | None = UNSET
    generalist: str | UnsetType | None = UNSET
    limit_probability: _Probability | UnsetType | None = UNSET
    leave_margin: _Weight | UnsetType = UNSET
    switch_margin: _Weight | UnsetType = UNSET
    max_calls: Annotated[int, Meta(ge=1)] | UnsetType | None = UNSET
    max_seconds: _Limit = UNSET
    max_total_usd: _Limit = UNSET
    max_cost_usd: _Limit = UNSET
    max_params_b: _Limit = UNSET
    max_active_params_b: _Limit = UNSET
    max_latency_s: _Limit = UNSET
    max_output_tokens: _Limit = UNSET
    open_weights_only: bool | UnsetType = UNSET
    licences: list[str] | UnsetType = UNSET
    released_after: dt.date | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    candidates: list[str] | UnsetType | None = UNSET
    prefer: Prefer | UnsetType = UNSET
    policy: str | UnsetType = UNSET
    cache: _CacheUse | UnsetType = UNSET


_GOALS = (
    "cost_weight",
    "cost_kind",
    "min_quality",
    "min_quality_probability",
    "generalist",
    "limit_probability",
    "leave_margin",
    "switch_margin",
    "max_calls",
    "max_seconds",
    "max_total_usd",
)
_CONSTRAINTS = (
    "max_cost_usd",
    "max_params_b",
    "max_active_params_b",
    "max_latency_s",
    "max_output_tokens",
    "open_weights_only",
    "released_after",
)
_SETS = ("licences", "tags", "candidates")
_WISHES = ("quality", "cost", "size", "latency", "recency", "brevity")
_LISTS = frozenset(_SETS)
_FIELD = re.compile(r"field `([^`]+)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`")


def read_goals(value: Any) -> RequestGoals:
    """The ``herdwise`` object.

    Raises:
        RequestError: 400, naming the field that is unknown or out of range.
    """
    try:
        return msgspec.convert(value, RequestGoals)
    except msgspec.ValidationError as error:
        raise _refused(str(error), "herdwise") from None


def read_headers(headers: Mapping[str, str]) -> RequestGoals:
    """Goals from headers; lists are separated by commas, ``prefer`` is like ``cost=1, latency=0.5``.

    Args:
        headers: name without ``x-herdwise-`` -> value.

    Raises:
        RequestError: 400, naming the header.
    """
    values: dict[str, Any] = {}
    for header, text in headers.items():
        name = header.replace("-", "_")
        if name in _LISTS:
            values[name] = [part.strip() for part in text.split(",") if part.strip()]
        elif name == "prefer":
            pairs = (part.partition("=") for part in text.split(",") if part.strip())
            values[name] = {key.strip(): weight.strip() for key, _, weight in pairs}
        else:
            values[name] = text.strip()
    try:
        return msgspec.convert(values, RequestGoals, strict=False)
    except msgspec.ValidationError as error:
        raise _refused(str(error), "x-herdwise-*") from None


def merged(base: Goals, herd: Herd, *given: RequestGoals) -> tuple[Goals, dict[str, Any], str | None]:
    """The config's goals, overridden in turn by what the request gives.

    Returns:
        The goals; what was overridden, as JSON values; the policy that was named, if one was.

    Raises:
        RequestError: 400, when a candidate is named that is not in the herd.
    """
    told: dict[str, Any] = {}
    wishes: dict[str, Any] = {}
    for goals in given:
        for name in (*_GOALS, *_CONSTRAINTS, *_SETS, "policy", "cache"):
            value = getattr(goals, name)
            if value is not UNSET:
                told[name] = value
        if isinstance(goals.prefer, Prefer):
            for wish in _WISHES:
                value = getattr(goals.prefer, wish)
                if value is not UNSET:
                    wishes[wish] = value
    policy = told.pop("policy", None)
    if not wishes and told.keys() <= {"cache"}:
        return base, told, policy
    for name in (*(told.get("candidates") or ()), *([told["generalist"]] if told.get("generalist") else ())):
        if name not in herd:
            field = "generalist" if name == told.get("generalist") else "candidates"
            raise RequestError(
                f"herdwise.{field}: {name!r} is not in the herd.",
                param=f"herdwise.{field}",
                code="unknown_candidate",
                remedy=f"Known: {', '.join(herd.names)}.",
            )
    constraints: dict[str, Any] = {name: told[name] for name in _CONSTRAINTS if name in told}
    constraints |= {
        name: None if told[name] is None else frozenset(told[name]) for name in _SETS if name in told
    }
    changes: dict[str, Any] = {name: told[name] for name in _GOALS if name in told}
    if constraints:
        changes["constraints"] = _changed(base.constraints, constraints)
    if wishes:
        changes["preferences"] = _changed(base.preferences, wishes)
        told["prefer"] = wishes
    return base.replace(**changes), told, policy


def _changed(value: Any, changes: Mapping[str, Any]) -> Any:
    kind = Constraints if isinstance(value, Constraints) else Preferences
    return kind(**{name: getattr(value, name) for name in kind.__dataclass_fields__} | dict(changes))


def _refused(problem: str, where: str) -> RequestError:
    field, path = _FIELD.search(problem), _PATH.search(problem)
    names = [n for n in (path.group(1) if path else "", field.group(1) if field else "") if n]
    param = ".".join(["herdwise", *names])
    what = _PATH.sub("", problem)
    remedy = f"Known: {', '.join(RequestGoals.__struct_fields__)}." if field and not path else ""
    return RequestError(f"{where}: {param}: {what}.", param=param, code="invalid_goal", remedy=remedy)
