"""``herdwise init``: write a commented config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.backends.discover import Found


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def init(
        out: Path = typer.Option(Path("herdwise.yaml"), "--out", help="Where the config goes."),
        discover: bool = typer.Option(
            False, "--discover", help="List the models of the servers that run on this machine."
        ),
        port: list[int] = typer.Option(
            [],
            "--port",
            min=1,
            max=65535,
            help="With --discover: look on this port instead of the usual ones (11434, 8000, 8080, 1234);"
            " may be given again.",
        ),
        force: bool = typer.Option(False, "--force", help="Overwrite an existing file."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Write a commented config, with --discover for the models that run on this machine."""
        from herdwise.config.init import chat_models, render
        from herdwise.core.errors import ConfigError
        from herdwise.routing.declared import known_quality
        from herdwise.storage.whole_files import write_whole

        if out.exists() and not force:
            raise ConfigError(
                f"{out} exists already.",
                remedy="Choose another name with --out, or overwrite it with --force.",
            )
        if not out.parent.is_dir():
            raise ConfigError(
                f"{out} cannot be written: there is no folder {out.parent}.",
                remedy="Make it, or choose another place with --out.",
            )
        if port and not discover:
            raise ConfigError("--port says where to look for servers.", remedy="Add --discover.")
        found = _look_around(port) if discover else []
        try:
            write_whole(out, render(found, known_quality()).encode())
        except OSError as error:
            raise ConfigError(
                f"{out} cannot be written: {error.strerror}.", remedy="Choose another place with --out."
            ) from error
        models = chat_models(found)
        for server in found:
            if server.needs_key:
                console.note(f"{server.base_url} wants a key before it lists its models: add it by hand.")
        if discover and not models:
            console.note(
                "No model was found on this machine (looked for Ollama, vLLM, llama.cpp server and"
                f" LM Studio). {out} holds an example instead."
            )
        if as_json:
            console.emit_json({"config": str(out), "candidates": models, "found": found})
            return
        for server in found:
            names = ", ".join(model.name for model in server.models)
            console.show(f"{server.kind} at {server.base_url}: {names or 'no model'}")
        console.show(f"Wrote {out}. Check it: herdwise doctor --config {out}")


def _look_around(ports: list[int]) -> list[Found]:
    import asyncio

    from herdwise.backends.discover import DEFAULT_PORTS
    from herdwise.backends.discover import discover as servers

    return asyncio.run(servers(ports or DEFAULT_PORTS))
