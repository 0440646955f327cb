"""What a request's ``model`` may be: auto, auto/<policy>, or a candidate's own name."""

from __future__ import annotations

from typing import Any

from herdwise.core.errors import RequestError
from herdwise.serving.service import Service


def read_model(model: Any, named: str | None, service: Service) -> tuple[str, str | None, str]:
    """The model as named, the candidate where it names one, and the policy.

    Args:
        model: as the request gives it.
        named: the policy that the request's ``herdwise`` object names.
        service: whose herd and policies hold.

    Raises:
        RequestError: 400 or 404, when there is no such model or policy, or the two contradict each other.
    """
    if not isinstance(model, str) or not model:
        raise RequestError("model must be given, such as auto.", param="model", code="invalid_value")
    if model in service.ranker.herd:
        if named is not None:
            raise _contradiction("does not go with a candidate's own name as model")
        return model, model, "direct"
    if model == "auto":
        policy = named or service.default_policy
    elif model.startswith("auto/"):
        policy = model.removeprefix("auto/")
        if named is not None and named != policy:
            raise _contradiction(f"contradicts the model {model!r}")
    else:
        raise _unknown_model(model, service)
    if policy not in service.policies:
        if policy == named:
            raise RequestError(
                f"herdwise.policy: there is no policy {policy!r}.",
                param="herdwise.policy",
                code="unknown_policy",
                remedy=f"Known: {', '.join(sorted(service.policies))}.",
            )
        raise _unknown_model(model, service)
    return model, None, policy


def model_names(service: Service) -> list[str]:
    """What ``model`` may be: auto, auto/<policy> for those whose needs are met, and every candidate."""
    return ["auto", *(f"auto/{name}" for name in service.offered()), *service.ranker.herd.names]


def _contradiction(what: str) -> RequestError:
    return RequestError(f"herdwise.policy {what}.", param="herdwise.policy", code="invalid_value")


def _unknown_model(model: str, service: Service) -> RequestError:
    return RequestError(
        f"there is no model {model!r}.",
        status=404,
        param="model",
        code="model_not_found",
        remedy=f"Known: {', '.join(model_names(service))}.",
    )
