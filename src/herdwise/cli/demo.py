"""``herdwise demo``: the whole story on what ships with the package; ``make run`` calls it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.evaluation.tables import Table

OUTCOMES = "mmlu_pro"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def demo(
        folder: Path = typer.Option(Path("run"), "--dir", help="Where the router, config and ledger go."),
        port: int = typer.Option(
            8484, min=0, max=65535, help="Port of the endpoint; 0 lets the system choose one."
        ),
        seed: int = typer.Option(0, min=0, help="Seed of every random choice."),
        serve: bool = typer.Option(True, help="Serve at the end; --no-serve stops after the figures."),
    ) -> None:
        """Train on the shipped outcomes, show held-out figures, serve the candidates with recorded texts.

        No key, no network and no GPU: the candidates answer with what they wrote when they were recorded.
        """
        from herdwise.core.decision import Constraints, Goals
        from herdwise.evaluation.evaluate import evaluate
        from herdwise.evaluation.tables import economy, headline
        from herdwise.routing.router import Router
        from herdwise.storage.outcomes import read_outcomes

        if serve:
            _check_free(port)
        folder.mkdir(parents=True, exist_ok=True)  # what cannot be written is said before the training
        console.show(f"1. Train a router on the shipped outcomes ({OUTCOMES}: real results of 33 models)\n")
        table = read_outcomes(OUTCOMES)
        with console.stages() as progress:
            router = Router.fit(table.split("train"), seed=seed, progress=progress)
        console.show("\n2. Measure it on questions that it has not seen\n")
        test = table.split("test")
        with console.stages() as progress:
            evaluation = evaluate(test, router=router, seed=seed, progress=progress)
            open_only = Goals(constraints=Constraints(open_weights_only=True))
            # Over calls there is no curve to sweep, which would take longer than all the rest.
            consulted = evaluate(
                test,
                router=router,
                policy="consult",
                goals=open_only,
                cost="calls",
                seed=seed,
                progress=progress,
            )
        for warning in evaluation.warnings:
            console.warn(warning)
        console.show("\nThe whole herd, three proprietary models among them:")
        _draw(headline(evaluation))
        console.show(
            "\nIts open-weights candidates alone, a few of them asked and their answers fused (auto/consult):"
        )
        _draw(headline(consulted))
        _draw(economy(consulted))
        console.show(
            f"\nAll of it: herdwise evaluate --outcomes {OUTCOMES} (or report, for a page with curves)"
        )
        router.save(folder / "router", figures=evaluation.as_json()["router"])
        config = folder / "herdwise.yaml"
        config.write_text(_config(port), encoding="utf-8")
        if serve:
            _serve(config)


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


def _draw(table: Table) -> None:
    console.table(table.title, table.columns, table.rows, left=table.left)


def _serve(config: Path) -> None:
    from herdwise.backends.recorded import sample_questions
    from herdwise.config.load import load
    from herdwise.config.wiring import build_service
    from herdwise.serving.app import serve

    loaded = load(config)
    service = build_service(loaded)
    # A question with an apostrophe would need escapes in the shell that hide what is being sent.
    questions = [q.strip() for q in sample_questions(40, OUTCOMES) if "'" not in q][:4]

    def announce(url: str) -> None:
        console.show(f"\n3. Serving {len(service.ranker.herd)} candidates at {url}/v1  (Ctrl-C stops)\n")
        console.show(
            "Questions that it can answer (the candidates replay what they wrote; others are refused):\n"
        )
        for question in questions:
            first, *options = question.splitlines()
            console.show(f"  {first}\n      " + "   ".join(options))
        console.show("\nAsk one; the answer names the candidate that the router picked:\n")
        console.show(_curl(url, questions[0]))
        console.show("\nThe same with the official client (pip install openai):\n")
        console.show(_python(url, questions[0]))
        console.show(f"\nThe config: {config}. Your own models: herdwise init --discover (see the README).\n")

    serve(service, on_ready=announce)


def _config(port: int) -> str:
    """The demo's config: every candidate that has recorded texts, routed by the router just trained."""
    from herdwise.backends.recorded import read_archive

    lines = [
        "# Written by `herdwise demo`. Sizes and licences come from the router's training data.",
        "router: router",
        "server:",
        f"  port: {port}",
        "ledger:",
        "  url: sqlite:///ledger.db",
        "candidates:",
    ]
    for name in read_archive(OUTCOMES).candidates:
        lines += [f"  - name: {name}", "    backend: recorded", "    context_tokens: 8192"]
    return "\n".join(lines) + "\n"


def _curl(url: str, question: str) -> str:
    import msgspec

    body: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": question}]}
    return (
        f"curl -s {url}/v1/chat/completions -H 'content-type: application/json' "
        f"-d {shlex.quote(msgspec.json.encode(body).decode())}"
    )


def _python(url: str, question: str) -> str:
    return "\n".join(
        [
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{url}/v1", api_key="none")',
            f"question = {question!r}",
            'messages = [{"role": "user", "content": question}]',
            'answer = client.chat.completions.create(model="auto", messages=messages)',
            "print(answer.model, answer.choices[0].message.content)",
        ]
    )
