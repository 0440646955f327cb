"""``herdwise serve``: one OpenAI-compatible endpoint over a config's herd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.config.tree import Config
    from herdwise.serving.service import Service


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def serve(
        config: Path = typer.Option(Path("herdwise.yaml"), "--config", help="The config to serve."),
        host: str | None = typer.Option(None, help="Address to listen on, instead of server.host."),
        port: int | None = typer.Option(
            None, min=0, max=65535, help="Port, instead of server.port; 0 lets the system choose."
        ),
        router: Path | None = typer.Option(None, "--router", help="Saved router, instead of `router:`."),
        as_json: bool = typer.Option(False, "--json", help="Once ready, print one JSON object."),
    ) -> None:
        """Serve one OpenAI-compatible endpoint over a config's herd, until Ctrl-C or SIGTERM.

        SIGHUP reads the config and the router anew; requests under way end as they began.
        """
        from herdwise.config.load import load
        from herdwise.config.rewiring import Rewiring
        from herdwise.serving.app import serve as serve_until_stopped

        rewiring = Rewiring(lambda: _overridden(load(config), host, port, router))
        service = rewiring.build()
        read = rewiring.config

        def on_ready(url: str) -> None:
            if as_json:
                console.emit_json(_facts(url, service))
            else:
                _announce(url, read, service, config)

        serve_until_stopped(service, rebuild=rewiring.build, on_ready=on_ready)


def _overridden(config: Config, host: str | None, port: int | None, router: Path | None) -> Config:
    from msgspec.structs import replace

    server = config.server
    server = replace(
        server, host=server.host if host is None else host, port=server.port if port is None else port
    )
    return replace(config, server=server, router=config.router if router is None else router.absolute())


def _trained(service: Service) -> bool:
    from herdwise.routing.declared import DeclaredRouter

    return not isinstance(service.ranker, DeclaredRouter)


def _facts(url: str, service: Service) -> dict[str, object]:
    return {
        "url": url,
        "base_url": f"{url}/v1",
        "candidates": service.ranker.herd.names,
        "policies": service.offered(),
        "trained": _trained(service),
        "key_needed": bool(service.settings.api_keys),
    }


def _announce(url: str, config: Config, service: Service, path: Path) -> None:
    from herdwise.core.version import __version__

    names = service.ranker.herd.names
    herd = f"{len(names)} candidate{'s' if len(names) > 1 else ''}"
    console.show(f"herdwise {__version__} at {url}/v1, over {herd}: {', '.join(names)}")
    if _trained(service):
        console.show(f"Routed by {config.router}.")
    else:
        console.show(
            "Routed by declared qualities (no trained router). To train one:\n"
            f"  herdwise profile --config {path} --items FILE.jsonl --out outcomes\n"
            "  herdwise train --outcomes outcomes --out router\n"
            f"  herdwise serve --config {path} --router router"
        )
    console.show(
        "Ask for the model 'auto' to be routed"
        f" ({', '.join(f'auto/{name}' for name in service.offered())} name a policy),"
        " or for a candidate by its name."
    )
