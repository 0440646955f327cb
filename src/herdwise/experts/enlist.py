"""Bring an admitted expert into a running endpoint: config, router, reload; all of it, or nothing.

A new router folder is written beside the old one, then the config is replaced at once by one that names
both, then the endpoint is asked to read it anew, over its admin API. Where it refuses, the config is put
back as it was: the endpoint goes on by what it had read.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yarl import URL

from herdwise.core.errors import (
    BackendError,
    ConfigError,
    HerdwiseError,
    UnreachableError,
    UpstreamStatusError,
)
from herdwise.experts.config_edit import with_candidate, with_router
from herdwise.storage.whole_files import write_whole
from herdwise.transport.client import Call, HttpClient, Timeouts

#: A reload reads a router and builds the herd anew.
_RELOAD_S = 120.0


class RefusedError(HerdwiseError):
    """The running endpoint does not go by the new config; everything is as it was."""


@dataclass(frozen=True, slots=True)
class Running:
    """An endpoint that serves the config.

    Args:
        url: such as http://127.0.0.1:8484.
        admin_key: the config's server.admin_key.
    """

    url: str
    admin_key: str


@dataclass(frozen=True, slots=True)
class Enlisted:
    """What was changed.

    Args:
        expert: who joined.
        config: the file that names it now.
        backup: what the file was before.
        router: the folder that the config names now.
        reloaded: candidates that the running endpoint serves now; None = none was asked.
        needs_restart: keys whose change the endpoint takes up only after a restart.
    """

    expert: str
    config: str
    backup: str
    router: str
    reloaded: list[str] | None
    needs_restart: list[str]


def enlist(
    config: Path,
    entry: Mapping[str, Any],
    router: Path,
    *,
    check: Callable[[Path], None],
    running: Running | None = None,
) -> Enlisted:
    """Write a candidate and its router into a config, and have the running endpoint go by it.

    Args:
        config: the YAML file that the endpoint was started from.
        entry: the candidate's keys, as JSON values.
        router: a saved router that knows the candidate; copied beside the config.
        check: raises ``HerdwiseError`` where a config file cannot be served.
        running: the endpoint; None = nobody is asked, the next start goes by it.

    Raises:
        ConfigError: when the config cannot be changed or would not be served; nothing has changed then.
        RefusedError: when the endpoint could not be reached or did not take it; nothing has changed then.
    """
    name = str(entry["name"])
    config = config.resolve()  # a link to it stays one
    before = _text(config)
    place = _place(config.parent / f"router-with-{name}")
    after = with_router(with_candidate(before, entry), place.name)
    backup = config.with_name(f"{config.name}.before-{name}")
    trial = config.with_name(f".{config.name}.trial.yaml")
    shutil.copytree(router, place)
    try:
        # A config may hold keys: who may not read it may not read its copies.
        write_whole(trial, after.encode(), like=config)
        try:
            check(trial)
        finally:
            trial.unlink(missing_ok=True)
        if _text(config) != before:
            raise ConfigError(f"{config} was changed meanwhile.", remedy="Enlist again.")
        write_whole(backup, before.encode(), like=config)
        write_whole(config, after.encode())
        try:
            told = {} if running is None else _reload(running)
            served = told.get("candidates")
            if running is not None and name not in (served or []):
                raise RefusedError(
                    f"the endpoint at {running.url} reloaded, but does not serve {name!r}.",
                    remedy=f"Was it started from {config}?",
                )
        except BaseException as error:
            write_whole(config, before.encode())
            backup.unlink(missing_ok=True)
            if running is not None and not _surely_refused(error):
                with contextlib.suppress(RefusedError):  # as good as can be done; the first error is told
                    _reload(running)
            raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return Enlisted(
        expert=name,
        config=str(config),
        backup=str(backup),
        router=str(place),
        reloaded=served,
        needs_restart=list(told.get("needs_restart", ())),
    )


def _place(folder: Path) -> Path:
    """A folder that is not there yet: the one of that name may be what is served."""
    return folder if not folder.exists() else folder.with_name(f"{folder.name}-{time.time_ns():x}")


def _text(config: Path) -> str:
    try:
        return config.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config} cannot be read: {error}.") from None


def _surely_refused(error: BaseException) -> bool:
    """Whether the endpoint certainly goes by what it had: it said so, or was never reached."""
    return isinstance(error.__cause__, UpstreamStatusError | UnreachableError)


def _reload(running: Running) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        client = HttpClient()
        call = Call(
            method="POST",
            url=URL(running.url.rstrip("/") + "/admin/v1/reload"),
            candidate="the endpoint",
            headers={"authorization": f"Bearer {running.admin_key}"},
            timeouts=Timeouts(total_s=_RELOAD_S),
            secrets=(running.admin_key,),
        )
        try:
            return await client.read_json(call)
        finally:
            await client.close()

    try:
        return asyncio.run(ask())
    except BackendError as error:
        raise RefusedError(
            f"the endpoint at {running.url} did not reload: {error.message} Config and router are as before.",
            remedy="Mend that, or enlist without a running endpoint (--no-reload).",
        ) from error
