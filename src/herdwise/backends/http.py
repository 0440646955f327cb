"""What all backends that reach their candidate over HTTP share: address, key, limits, timeouts, the probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from yarl import URL

from herdwise.backends.base import Backend, Health
from herdwise.core.errors import BackendError, ConfigError, UpstreamStatusError
from herdwise.transport.client import Call, HttpClient, Timeouts
from herdwise.transport.limits import ConcurrencyLimit

#: Longest wait for a list of models, in seconds: a probe answers "is it there?", not a question.
_PROBE_S = 10.0


class HttpBackend(Backend):
    """One model behind an HTTP API. A subclass names its paths and translates.

    Args:
        candidate: name in the herd, used in errors.
        base_url: what stands before the API's paths; a query, such as ``?api-version=...``, is kept on
            every path.
        model: the upstream's name for the model; None = the candidate's.
        api_key: never shown; ``_key_headers`` says how it is sent.
        headers: sent with every request; never shown.
        timeouts: for every call; None = the client's.
        client: shared by all candidates; None = one of its own, closed with the backend.
        max_concurrency: asks at a time; None = no limit.
        max_queue: how many more may wait; None = no limit.

    Raises:
        ConfigError: when ``base_url`` is not an http(s) URL, or the key cannot stand in a header.
    """

    def __init__(
        self,
        candidate: str,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        client: HttpClient | None = None,
        max_concurrency: int | None = None,
        max_queue: int | None = None,
    ) -> None:
        self.candidate, self.model = candidate, model or candidate
        self._base = _checked_url(candidate, base_url)
        self._timeouts = timeouts
        self._client, self._owns_client = client or HttpClient(), client is None
        self._limit = ConcurrencyLimit(candidate, max_concurrency=max_concurrency, max_queue=max_queue)
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        if api_key:
            self._headers |= self._key_headers(api_key)
        for key, value in self._headers.items():
            if any(c in key + value for c in "\r\n\0"):
                raise ConfigError(
                    f"candidate {candidate!r}: the header {key!r} holds a line break.",
                    remedy="Is there a stray line break at the end of its key?",
                )
        # Where a server is inside is nobody's business either, should its own words name it.
        inside = f"{self._base.host}:{self._base.port}" if self._base.explicit_port is not None else None
        hidden = (api_key, *(headers or {}).values(), *self._base.query.values(), inside)
        self._secrets = tuple(s for s in hidden if s and len(s) >= 8)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.candidate!r}, {self.base_url!r}, {self.model!r})"

    @property
    def base_url(self) -> str:
        """Where it is, without its query, in which some providers put a key."""
        return str(self._base.with_query(None))

    async def close(self) -> None:
        """Close the connections, unless the client is shared."""
        if self._owns_client:
            await self._client.close()

    def _key_headers(self, api_key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {api_key}"}

    def _under(self, *path: str) -> URL:
        return self._base.joinpath(*path).with_query(self._base.query)

    def _call(self, url: URL, sent: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Call:
        return Call(
            "POST",
            url,
            self.candidate,
            data=msgspec.json.encode(sent),
            headers=self._headers if headers is None else {**self._headers, **headers},
            timeouts=self._timeouts,
            secrets=self._secrets,
        )

    async def _listed(self, url: URL, under: str, name: str) -> Health:
        """A probe by the upstream's list of models.

        Args:
            url: of the list.
            under: key of the list in the answer.
            name: key of a model's name in an entry.
        """
        limits = self._timeouts or self._client.timeouts
        call = Call(
            "GET",
            url,
            self.candidate,
            headers=self._headers,
            timeouts=Timeouts(connect_s=limits.connect_s, total_s=_at_most(limits.total_s, _PROBE_S)),
            secrets=self._secrets,
        )
        try:
            answer = await self._client.read_json(call)
        except UpstreamStatusError as error:
            listless = error.status in {404, 405, 501}
            return Health(listless, "reachable; it does not list its models" if listless else str(error))
        except BackendError as error:
            return Health(False, str(error))
        data = answer.get(under)
        if not isinstance(data, list):
            return Health(True, "reachable; its list of models cannot be read")
        models = tuple(str(entry[name]) for entry in data if isinstance(entry, dict) and name in entry)
        known = self.model in models or f"{self.model}:latest" in models
        return Health(
            True,
            f"serves {self.model!r}" if known else f"lists {len(models)} models, but not {self.model!r}",
            models,
        )


def _checked_url(candidate: str, base_url: str) -> URL:
    try:
        url = URL(base_url)
        usable = url.scheme in {"http", "https"} and bool(url.host)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"candidate {candidate!r}: base_url {base_url!r} is not an http or https URL.",
            remedy="It looks like http://127.0.0.1:11434/v1.",
        )
    if url.user or url.password:
        raise ConfigError(
            f"candidate {candidate!r}: base_url holds a user name or password.",
            remedy="Give it as api_key or headers.",
        )
    return url.with_path(url.path.rstrip("/")).with_query(url.query)


def _at_most(limit_s: float | None, most_s: float) -> float:
    return most_s if limit_s is None else min(limit_s, most_s)
