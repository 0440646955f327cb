"""Any endpoint that speaks OpenAI's ``/v1/embeddings``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import local
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
import numpy as np

from herdwise.core.errors import (
    BackendError,
    BadResponseError,
    ConfigError,
    ConnectError,
    RateLimitError,
    TimeoutError_,
    UpstreamStatusError,
)
from herdwise.encoding.base import Encoder, Progress
from herdwise.encoding.unicode import well_formed

#: Waits are doubled from the first one and never longer than the longest, whatever the server asks for.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0


class _Row(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]


_DECODER = msgspec.json.Decoder(_Answer)


class _Kept:
    """One thread's connection; closed when the thread or the encoder goes."""

    def __init__(self, connection: HTTPConnection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class RemoteEncoder(Encoder):
    """Asks an embeddings endpoint (OpenAI, vLLM, Ollama, llama.cpp ...); vectors are brought to length one.

    Synchronous, with one kept-alive connection per thread. 429 and 5xx are asked again, after ``Retry-After``
    where it is given, and so are lost connections. An empty text, which such servers refuse, is the zero
    vector and is not sent. Redirects are not followed, so that the key goes nowhere else.

    Args:
        base_url: such as ``https://api.openai.com/v1``; without credentials or a query.
        model: the model's name at that endpoint.
        api_key: sent as a bearer token; neither in ``state`` nor in messages. Set the attribute after loading
            a saved router.
        n_features: length of a vector; ``None`` learns it from the first answer.
        batch_size: texts per request.
        timeout_s: for connecting, and for each wait for bytes.
        attempts: how often one request is tried in all.

    Raises:
        ConfigError: ``base_url`` is not an http(s) address, or carries credentials or a query.
        BackendError: the endpoint is unreachable, refuses, or answers what its API does not promise; the
            message names the address and the status.
    """

    name = "remote"
    local_options = ("api_key", "timeout_s")
    blocking = True

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None = None,
        n_features: int | None = None,
        batch_size: int = 64,
        timeout_s: float = 30.0,
        attempts: int = 4,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not _port_is_valid(parts):
            raise ConfigError("base_url must be an http:// or https:// address.")
        if parts.username or parts.password or parts.query:
            # The text is not repeated: it holds what looks like a secret.
            raise ConfigError(
                f"the base_url for {parts.hostname} carries credentials or a query.",
                remedy="Give the key as api_key.",
            )
        if batch_size < 1 or attempts < 1:
            raise ConfigError(f"batch_size and attempts must be 1 or more, not {batch_size}, {attempts}.")
        self.base_url, self.model, self.api_key = base_url.rstrip("/"), model, api_key
        self.batch_size, self.timeout_s, self.attempts = batch_size, timeout_s, attempts
        self._n_features = n_features
        self._url = f"{self.base_url}/embeddings"
        self._connections = local()

    @property
    def n_features(self) -> int:
        """Length of a vector; where neither given nor seen yet, one word is sent to find out."""
        if self._n_features is None:
            self._ask(["dimension"])
        assert self._n_features is not None  # noqa: S101 - _ask sets it or raises
        return self._n_features

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options without the key."""
        options = {
            "base_url": self.base_url,
            "model": self.model,
            "n_features": self._n_features,
            "batch_size": self.batch_size,
            "timeout_s": self.timeout_s,
            "attempts": self.attempts,
        }
        return options, {}

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
        asked = [i for i, text in enumerate(texts) if text.strip()]
        parts = []
        for start in range(0, len(asked), self.batch_size):
            batch = asked[start : start + self.batch_size]
            parts.append(self._ask([well_formed(texts[i]) for i in batch]))
            if progress is not None:
                progress(batch[-1] + 1, len(texts))
        vectors = np.zeros((len(texts), self.n_features), dtype=np.float32)
        if parts:
            vectors[asked] = np.concatenate(parts)
        return vectors

    def _ask(self, texts: list[str]) -> np.ndarray:
        body = msgspec.json.encode({"model": self.model, "input": texts, "encoding_format": "float"})
        answer = self._post_until_answered(body)
        try:
            rows = sorted(_DECODER.decode(answer).data, key=lambda row: row.index)
            with np.errstate(over="ignore"):  # an infinity is refused below
                vectors = np.array([row.embedding for row in rows], dtype=np.float32)
        except (msgspec.DecodeError, ValueError) as error:
            raise BadResponseError(f"{self._url} did not answer with embeddings: {error}.") from error
        if [row.index for row in rows] != list(range(len(texts))):
            raise BadResponseError(f"{self._url} answered {len(rows)} embeddings for {len(texts)} texts.")
        width = self._n_features or vectors.shape[1]
        if vectors.shape[1] != width or width == 0:
            raise BadResponseError(
                f"{self._url} answered vectors of {vectors.shape[1]} features, not {width}.",
                remedy="Another model answers there, or n_features is wrong.",
            )
        if not np.isfinite(vectors).all():
            raise BadResponseError(f"{self._url} answered numbers that are not finite.")
        self._n_features = width
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(lengths > 0, lengths, np.float32(1))
        return vectors

    def _post_until_answered(self, body: bytes) -> bytes:
        wait_s = _FIRST_WAIT_S
        for attempt in range(1, self.attempts + 1):
            try:
                return self._post(body)
            except BackendError as error:
                passing = error.retryable or (error.status or 0) >= 500
                if not passing or attempt == self.attempts:
                    raise
                asked_s = error.retry_after_s
                time.sleep(min(wait_s if asked_s is None else asked_s, _LONGEST_WAIT_S))
                wait_s *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _post(self, body: bytes) -> bytes:
        parts = urlsplit(self._url)
        headers = {"content-type": "application/json"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        kept: _Kept | None = getattr(self._connections, "kept", None)
        if kept is None:
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            kept = _Kept(kind(parts.hostname or "", parts.port, timeout=self.timeout_s))
            self._connections.kept = kept
        connection = kept.connection
        try:
            connection.request("POST", parts.path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            # Also a kept-alive connection that the server closed meanwhile: the next attempt opens another.
            connection.close()
            self._connections.kept = None
            reason = str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                raise TimeoutError_(f"{self._url} did not answer within {self.timeout_s} s.") from error
            raise ConnectError(
                f"{self._url} cannot be reached: {reason}.", remedy="Is the address right, and is it running?"
            ) from error
        if response.status == 200:
            return answer
        raise self._refusal(response.status, response.getheader("retry-after"), answer)

    def _refusal(self, status: int, retry_after: str | None, answer: bytes) -> BackendError:
        said = answer[:300].decode("utf-8", "replace").strip()
        if self.api_key:
            said = said.replace(self.api_key, "***")
        kind = RateLimitError if status == 429 else UpstreamStatusError
        remedies = {401: "Check api_key.", 403: "Check api_key.", 404: "Check base_url and model."}
        return kind(
            f"{self._url} answered with status {status}: {said or 'no text'}.",
            status=status,
            retry_after_s=_seconds(retry_after),
            remedy=remedies.get(status, ""),
        )


def _port_is_valid(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header; ``None`` for a date, which leaves the wait to us."""
    try:
        return max(0.0, float(retry_after)) if retry_after is not None else None
    except ValueError:
        return None
