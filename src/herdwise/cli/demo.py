"""``herdwise demo``: the whole story on what ships with the package; ``make run`` calls it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.evaluation.tables import Table

#: Outcome folder -> the module that tells its story.
STORIES = {"nano": "herdwise.cli.demo_nano", "mmlu_pro": "herdwise.cli.demo_recorded"}
CONFIG, DIGEST = "herdwise.yaml", ".herdwise.yaml.sha256"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def demo(
        folder: Path = typer.Option(Path("run"), "--dir", help="Where the router, config and ledger go."),
        port: int = typer.Option(
            8484, min=0, max=65535, help="Port of the endpoint; 0 lets the system choose one."
        ),
        outcomes: str = typer.Option(
            "nano",
            "--outcomes",
            help="nano: a live herd of very small models. mmlu_pro: large models replay recorded answers.",
        ),
        seed: int = typer.Option(0, min=0, help="Seed of every random choice."),
        serve: bool = typer.Option(True, help="Serve at the end; --no-serve stops after the figures."),
    ) -> None:
        """Train on shipped outcomes, show held-out figures, serve a herd with a page to ask it on.

        No key, no network and no GPU: the models of the nano herd run in this process.
        """
        import importlib

        from herdwise.core.errors import ConfigError
        from herdwise.routing.router import Router
        from herdwise.storage.outcomes import read_outcomes

        if outcomes not in STORIES:
            raise ConfigError(
                f"there is no demo over {outcomes!r}.", remedy=f"--outcomes takes {' or '.join(STORIES)}."
            )
        story = importlib.import_module(STORIES[outcomes])
        if serve:
            _check_free(port)
        folder.mkdir(parents=True, exist_ok=True)  # what cannot be written is said before the training
        console.show(f"1. Train a router on the shipped outcomes ({outcomes}: {story.ABOUT})\n")
        table = read_outcomes(outcomes)
        with console.stages() as progress:
            router = Router.fit(table.split("train"), seed=seed, progress=progress)
        console.show("\n2. Measure it on queries that it has not seen\n")
        evaluation = story.figures(table, router, seed)
        for warning in evaluation.warnings:
            console.warn(warning)
        config = folder / CONFIG
        if _is_theirs(config):
            console.show(f"\n{config} was edited: it and its router stay. For a fresh demo, remove {folder}.")
        else:
            router.save(folder / "router", figures=evaluation.as_json()["router"])
            _write(config, story.config(table, port))
        if serve:
            _serve(config, port, story.announcement)


def _check_free(port: int) -> None:
    import socket

    from herdwise.core.errors import ConfigError

    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be listened on: {error.strerror}.",
            remedy=f"Choose another: make run PORT={port + 1}, or herdwise demo --port {port + 1}.",
        ) from error


def _write(config: Path, text: str) -> None:
    config.write_text(text, encoding="utf-8")
    (config.parent / DIGEST).write_text(sha256(text.encode()).hexdigest() + "\n", encoding="utf-8")


def _is_theirs(config: Path) -> bool:
    """Whether there is a config that somebody changed since the demo wrote it, or that it never wrote."""
    if not config.exists():
        return False
    digest = config.parent / DIGEST
    return not digest.exists() or sha256(config.read_bytes()).hexdigest() != digest.read_text("utf-8").strip()


def _serve(config: Path, port: int, announcement: Callable[[str, int], str]) -> None:
    from herdwise.config.rewiring import Rewiring
    from herdwise.config.served import Served
    from herdwise.serving.app import serve

    rewiring = Rewiring(Served(file=str(config), port=port).read)
    service = rewiring.build()

    def announce(url: str) -> None:
        console.show(announcement(url, len(service.ranker.herd)))
        console.show(f"The config: {config}. Your own models: herdwise init --discover (see the README).\n")

    serve(service, rebuild=rewiring.build, on_ready=announce)


def draw(table: Table) -> None:
    """A table of an evaluation on stdout."""
    console.table(table.title, table.columns, table.rows, left=table.left)


def curl(url: str, query: str, *, headers: bool = False) -> str:
    """A line for a shell that asks a query; with ``headers``, those of the answer are shown too."""
    import shlex

    import msgspec

    body: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": query}]}
    return (
        f"curl -s{'i' if headers else ''} {url}/v1/chat/completions -H 'content-type: application/json' "
        f"-d {shlex.quote(msgspec.json.encode(body).decode())}"
    )


def python(url: str, query: str) -> str:
    """The same with the official client."""
    return "\n".join(
        [
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{url}/v1", api_key="none")',
            f"query = {query!r}",
            'messages = [{"role": "user", "content": query}]',
            'answer = client.chat.completions.create(model="auto", messages=messages)',
            "print(answer.model, answer.choices[0].message.content)",
        ]
    )
