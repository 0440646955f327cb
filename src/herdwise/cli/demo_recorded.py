"""The demo over recorded outcomes of large models, who replay what they wrote when they were recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from herdwise.cli import console
from herdwise.cli.demo import curl, draw, python

if TYPE_CHECKING:
    from herdwise.core.outcomes import OutcomeTable
    from herdwise.evaluation.figures import Evaluation
    from herdwise.routing.router import Router

OUTCOMES = "mmlu_pro"
ABOUT = "real results of 33 models"


def figures(table: OutcomeTable, router: Router, seed: int) -> Evaluation:
    """Show what routing and consulting bring; the former's figures."""
    from herdwise.core.decision import Constraints, Goals
    from herdwise.evaluation.evaluate import evaluate
    from herdwise.evaluation.tables import economy, headline

    test = table.split("test")
    with console.stages() as progress:
        evaluation = evaluate(test, router=router, seed=seed, progress=progress)
        open_only = Goals(constraints=Constraints(open_weights_only=True))
        # Over calls there is no curve to sweep, which would take longer than all the rest.
        consulted = evaluate(
            test, router=router, policy="consult", goals=open_only, cost="calls", seed=seed, progress=progress
        )
    console.show("\nThe whole herd, three proprietary models among them:")
    draw(headline(evaluation))
    console.show(
        "\nIts open-weights candidates alone, a few of them asked and their answers fused (auto/consult):"
    )
    draw(headline(consulted))
    draw(economy(consulted))
    console.show(f"\nAll of it: herdwise evaluate --outcomes {OUTCOMES} (or report, for a page with curves)")
    return evaluation


def config(_table: OutcomeTable, port: int) -> str:
    """The demo's config: every candidate that has recorded texts."""
    from herdwise.backends.recorded import read_archive

    lines = [
        f"# Written by `herdwise demo --outcomes {OUTCOMES}`.",
        "# Sizes and licences come from the router's training data.",
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


def announcement(url: str, n_candidates: int) -> str:
    """What is said once the endpoint answers."""
    from herdwise.backends.recorded import sample_questions

    # A question with an apostrophe would need escapes in the shell that hide what is being sent.
    questions = [q.strip() for q in sample_questions(40, OUTCOMES) if "'" not in q][:4]
    lines = [
        f"\n3. Serving {n_candidates} candidates at {url}/v1  (Ctrl-C stops)\n",
        "Questions that it can answer (the candidates replay what they wrote; others are refused):\n",
    ]
    for question in questions:
        first, *options = question.splitlines()
        lines.append(f"  {first}\n      " + "   ".join(options))
    lines += [
        "\nAsk one; the answer names the candidate that the router picked:\n",
        curl(url, questions[0]),
        "\nThe same with the official client (pip install openai):\n",
        python(url, questions[0]),
        "",
    ]
    return "\n".join(lines)
