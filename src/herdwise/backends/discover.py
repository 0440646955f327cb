"""Which model servers run on this machine, and what they serve. Never leaves the loopback address.

A server is told by its answers, not by its port: ``owned_by`` in /v1/models names vLLM and llama.cpp,
/api/v0/models is LM Studio's own, /api/tags (without those) Ollama's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import msgspec
from yarl import URL

from herdwise.core.errors import BackendError, UpstreamStatusError
from herdwise.transport.client import Call, HttpClient, Timeouts

Kind = Literal["ollama", "vllm", "llama_cpp", "lm_studio", "openai_compatible"]

#: Where the four listen unless they are told otherwise.
DEFAULT_PORTS = (11434, 8000, 8080, 1234)

_TIMEOUTS = Timeouts(connect_s=0.3, total_s=3.0)
_OWNERS: Mapping[str, Kind] = {"vllm": "vllm", "llamacpp": "llama_cpp"}
_SIZE = re.compile(r"\s*([\d.]+)\s*([KMBT])\s*", re.IGNORECASE)
_BILLIONS = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}


@dataclass(frozen=True, slots=True)
class FoundModel:
    """One model of a server; None = the server does not say.

    Args:
        name: as requests must name it.
        params_b: total parameters, billions.
        quantisation: such as "Q4_K_M".
        context_tokens: the longest that the server, or else the model, takes.
        tools: whether it can call tools.
        modalities: of the input.
    """

    name: str
    params_b: float | None = None
    quantisation: str | None = None
    context_tokens: int | None = None
    tools: bool | None = None
    modalities: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One server.

    Args:
        kind: what it is; "openai_compatible" for one that is none of the four.
        base_url: for ``OpenAICompatible``.
        models: that can chat; models that only embed are left out.
        needs_key: whether it would not list its models without a key.
    """

    kind: Kind
    base_url: str
    models: tuple[FoundModel, ...] = ()
    needs_key: bool = False


async def discover(ports: Iterable[int] = DEFAULT_PORTS, *, client: HttpClient | None = None) -> list[Found]:
    """The servers on these ports of 127.0.0.1, in the order of the ports; all are asked at once.

    A port where nothing listens, or something that is not a model server, gives nothing.

    Args:
        ports: where to look.
        client: to ask with; None = one of its own.
    """
    used = client or HttpClient()
    try:
        found = await asyncio.gather(*(_Server(used, port).identify() for port in dict.fromkeys(ports)))
    finally:
        if client is None:
            await used.close()
    return [server for server in found if server is not None]


class _Server:
    def __init__(self, client: HttpClient, port: int) -> None:
        self._client = client
        self._root = URL.build(scheme="http", host="127.0.0.1", port=port)
        self._name = f"127.0.0.1:{port}"

    async def identify(self) -> Found | None:
        base_url = str(self._root / "v1")
        try:
            listed = await self._ask("v1/models")
        except UpstreamStatusError as error:
            if error.status in {401, 403}:
                return Found("openai_compatible", base_url, needs_key=True)
            return None
        except BackendError:  # nobody there, or nobody who speaks this API
            return None
        data = listed.get("data")
        # Ollama without a model writes null for its empty list.
        if not isinstance(data, list) and not (data is None and listed.get("object") == "list"):
            return None
        entries = _objects(data)
        # The policies of an endpoint like ours are no models: asking them from a herd would go in circles.
        entries = [e for e in entries if e.get("owned_by") != "herdwise"]
        kind = next((_OWNERS[o] for e in entries if (o := str(e.get("owned_by"))) in _OWNERS), None)
        if kind is not None:
            return Found(kind, base_url, tuple(_plain(e) for e in entries if "id" in e))
        studio = await self._try("api/v0/models")
        if studio is not None:
            chatting = (e for e in _objects(studio.get("data")) if e.get("type") != "embeddings")
            return Found("lm_studio", base_url, tuple(_studio(e) for e in chatting if "id" in e))
        tags = await self._try("api/tags")
        if tags is not None:
            asked = (self._ollama(e) for e in _objects(tags.get("models")) if "name" in e)
            known = await asyncio.gather(*asked)
            return Found("ollama", base_url, tuple(m for m in known if m is not None))
        return Found("openai_compatible", base_url, tuple(_plain(e) for e in entries if "id" in e))

    async def _ollama(self, entry: Mapping[str, Any]) -> FoundModel | None:
        """A model of Ollama's; None for one that only embeds."""
        name = str(entry["name"])
        shown = await self._try("api/show", {"model": name}) or {}
        details = {**_object(entry.get("details")), **_object(shown.get("details"))}
        info = _object(shown.get("model_info"))
        count = info.get("general.parameter_count")
        context = next((v for k, v in info.items() if k.endswith(".context_length")), None)
        abilities = shown.get("capabilities")
        tools, modalities = None, None
        if isinstance(abilities, list):
            if "completion" not in abilities:
                return None
            tools = "tools" in abilities
            modalities = frozenset({"text", "image"} if "vision" in abilities else {"text"})
        return FoundModel(
            name,
            params_b=round(count / 1e9, 6) if _is_count(count) else size_b(details.get("parameter_size")),
            quantisation=_text(details.get("quantization_level")),
            context_tokens=context if _is_count(context) else None,
            tools=tools,
            modalities=modalities,
        )

    async def _try(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The answer, or None where the server has no such path (others than its owner answer errors)."""
        try:
            answer = await self._ask(path, body)
        except BackendError:
            return None
        return None if "error" in answer else answer

    async def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return await self._client.read_json(
            Call(
                "GET" if body is None else "POST",
                self._root / path,
                self._name,
                data=None if body is None else msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
                timeouts=_TIMEOUTS,
            )
        )


def size_b(text: object) -> float | None:
    """Billions of parameters from a size such as "7.6B" or "494.03M"; None for anything else.

    >>> size_b("494.03M")
    0.49403
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[1].count(".") > 1 or match[1] == ".":
        return None
    return round(float(match[1]) * _BILLIONS[match[2].upper()], 6)


def _plain(entry: Mapping[str, Any]) -> FoundModel:
    meta = _object(entry.get("meta"))
    count, context = meta.get("n_params"), entry.get("max_model_len", meta.get("n_ctx_train"))
    return FoundModel(
        str(entry["id"]),
        params_b=round(count / 1e9, 6) if _is_count(count) else None,
        context_tokens=context if _is_count(context) else None,
    )


def _studio(entry: Mapping[str, Any]) -> FoundModel:
    context = entry.get("loaded_context_length", entry.get("max_context_length"))
    abilities = entry.get("capabilities")
    sees = {"vlm": frozenset({"text", "image"}), "llm": frozenset({"text"})}
    return FoundModel(
        str(entry["id"]),
        quantisation=_text(entry.get("quantization")),
        context_tokens=context if _is_count(context) else None,
        tools="tool_use" in abilities if isinstance(abilities, list) else None,
        modalities=sees.get(str(entry.get("type"))),
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
