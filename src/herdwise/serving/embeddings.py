"""POST /v1/embeddings: by a candidate whose backend can embed, or by the router's own encoder."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from herdwise.core.errors import BackendError, RequestError
from herdwise.encoding.base import Encoder
from herdwise.serving.service import Service
from herdwise.serving.wire.errors import WireError, from_failures

#: The name by which the router's encoder is asked.
ENCODER_MODEL = "herdwise-encoder"
#: Most texts in one request, as OpenAI has it.
_MOST_TEXTS = 2048


async def embed(body: Mapping[str, Any], service: Service) -> dict[str, Any] | WireError:
    """The answer to a request, in OpenAI's shape; nothing is routed, as models' vectors do not compare.

    Raises:
        RequestError: naming the field at fault.
    """
    model = body.get("model")
    if model == ENCODER_MODEL and service.ranker.encoder is not None:
        return await _by_encoder(body, service.ranker.encoder)
    if not isinstance(model, str) or model not in service.ranker.herd:
        raise _unknown(model, service)
    try:
        told = await service.backends[model].embed({k: v for k, v in body.items() if k != "herdwise"})
    except BackendError as error:
        return from_failures([error], reason="the request named this candidate", timed_out=False)
    return {**told, "model": model}


async def _by_encoder(body: Mapping[str, Any], encoder: Encoder) -> dict[str, Any]:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise _invalid("input", "must be a text or a list of texts, none empty (token ids are no texts)")
    if not 1 <= len(texts) <= _MOST_TEXTS:
        raise _invalid("input", f"must hold 1 to {_MOST_TEXTS} texts")
    if body.get("dimensions") not in (None, encoder.n_features):
        raise _invalid("dimensions", f"must be {encoder.n_features} for this model, or left out")
    form = "float" if body.get("encoding_format") is None else body["encoding_format"]
    if form not in ("float", "base64"):
        raise _invalid("encoding_format", "must be float or base64")
    vectors = await asyncio.to_thread(encoder.encode, texts)
    data = [
        {"object": "embedding", "index": i, "embedding": _coded(vector, form)}
        for i, vector in enumerate(vectors)
    ]
    # Its tokens cost nobody anything, and are not counted.
    usage = {"prompt_tokens": None, "total_tokens": None}
    return {"object": "list", "data": data, "model": ENCODER_MODEL, "usage": usage}


def _coded(vector: np.ndarray, form: str) -> str | list[float]:
    numbers = np.asarray(vector, dtype="<f4")
    if form == "base64":
        return base64.b64encode(numbers.tobytes()).decode()
    told: list[float] = numbers.tolist()
    return told


def _unknown(model: Any, service: Service) -> RequestError:
    own = [ENCODER_MODEL] if service.ranker.encoder is not None else []
    return RequestError(
        f"no model {model!r} makes embeddings here; auto is not routed, as the vectors of different models"
        " do not compare.",
        status=404,
        param="model",
        code="model_not_found",
        remedy=f"Name a candidate whose server can embed, or the router's encoder:"
        f" {', '.join([*own, *service.ranker.herd.names])}.",
    )


def _invalid(param: str, what: str) -> RequestError:
    return RequestError(f"{param} {what}.", param=param, code="invalid_value")
