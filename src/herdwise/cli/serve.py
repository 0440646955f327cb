"""``herdwise serve``: one OpenAI-compatible endpoint over a config's herd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.config.served import Served
    from herdwise.config.tree import Config


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
        workers: int | None = typer.Option(
            None, "--workers", min=1, help="Processes that share the port, instead of server.workers."
        ),
        as_json: bool = typer.Option(False, "--json", help="Once ready, print one JSON object."),
    ) -> None:
        """Serve one OpenAI-compatible endpoint over a config's herd, until Ctrl-C or SIGTERM.

        SIGHUP reads the config and the router anew; requests under way end as they began.
        """
        from herdwise.config.served import Served

        served = Served(
            file=str(config),
            host=host,
            port=port,
            workers=workers,
            router=None if router is None else str(router.absolute()),
        )
        text = served.text()
        read = served.read(text)

        def on_ready(facts: Mapping[str, Any]) -> None:
            if as_json:
                console.emit_json(facts)
            else:
                _announce(facts, read, config)

        if read.server.workers == 1:
            _serve_alone(served, on_ready)
        else:
            _serve_by_workers(served, text, read, on_ready)


def _serve_alone(served: Served, on_ready: Callable[[Mapping[str, Any]], None]) -> None:
    from herdwise.config.rewiring import Rewiring
    from herdwise.config.served import facts
    from herdwise.serving.app import serve as serve_until_stopped

    rewiring = Rewiring(served.read)
    service = rewiring.build()
    serve_until_stopped(service, rebuild=rewiring.build, on_ready=lambda url: on_ready(facts(url, service)))


def _serve_by_workers(
    served: Served, text: str, read: Config, on_ready: Callable[[Mapping[str, Any]], None]
) -> None:
    import msgspec

    from herdwise.config.wiring import build_settings
    from herdwise.serving.logs import configure_logging
    from herdwise.serving.workers import Supervisor, worker_command

    def again() -> tuple[str, Any]:
        new = served.text()
        return new, build_settings(served.read(new))

    settings = build_settings(read)
    configure_logging(settings)
    told = msgspec.to_builtins(served)
    Supervisor(settings, text, again, worker_command("herdwise.config.worker"), told, on_ready).run()


def _announce(facts: Mapping[str, Any], config: Config, path: Path) -> None:
    from herdwise.core.version import __version__

    names = facts["candidates"]
    herd = f"{len(names)} candidate{'s' if len(names) > 1 else ''}"
    by = f" by {facts['workers']} workers" if facts["workers"] > 1 else ""
    console.show(f"herdwise {__version__} at {facts['base_url']}{by}, over {herd}: {', '.join(names)}")
    if facts["trained"]:
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
        f" ({', '.join(f'auto/{name}' for name in facts['policies'])} name a policy),"
        " or for a candidate by its name."
    )
