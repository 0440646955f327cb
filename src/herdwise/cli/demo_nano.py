"""The demo over the nano herd: experts of a fifth of a million parameters each, and a generalist, live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from herdwise.cli import console
from herdwise.cli.demo import curl, draw, python

if TYPE_CHECKING:
    from herdwise.core.decision import Goals
    from herdwise.core.outcomes import OutcomeTable
    from herdwise.evaluation.figures import Evaluation, RouterFigures
    from herdwise.evaluation.tables import Table
    from herdwise.routing.router import Router

ABOUT = "answers of the nano herd, models of 0.2 to 0.5 million parameters"
GENERALIST = "generalist"
#: Below it for every expert the generalist answers. On folds of the training split 0.1 and 0.2 cost nothing;
#: 0.5 cost half a point to a point.
MIN_QUALITY = 0.1
#: Where an answer is doubtful, the next best are asked too. Best on folds of the training split.
CASCADE = {"threshold": 0.9, "order": "utility", "most": 3}
#: What the console offers: a query for each expert ...
EXAMPLES = {
    "dates": "write 14.02.2021 in words",
    "units": "how many grams are 2.5 kg?",
    "roman": "what is 1984 in roman numerals",
    "sums": "I have 60 euros and get 25 more, how much is it",
    "sorting": "sort winter, camera, filter",
    "extract": "find the email in this: $131.67 were sent by Liam Rossi (liam.rossi@mail.com)",
    "identifiers": "convert yellowWindowHistory to snake_case",
    "elements": "atomic number of iron",
    "countries": "capital of Norway and Peru",
    "verbs": "past tense of write and sing",
}
#: ... and some for none: small talk, two kinds at once, and a kind that nobody learned.
OTHERS = ("hi, i am Maria Garcia", "symbol of gold; capital of Peru", "plural of mouse")


def figures(table: OutcomeTable, router: Router, seed: int) -> Evaluation:
    """Show what the herd, its members and the oracle reach; the figures of routing."""
    from herdwise.evaluation.evaluate import evaluate
    from herdwise.routing.base import POLICIES

    test = table.split("test")
    with console.stages() as progress:
        routed, cascade = (
            evaluate(
                test, router=router, policy=policy, goals=_goals(), cost="usd", seed=seed, progress=progress
            )
            for policy in ("single", POLICIES.create("cascade", **CASCADE))
        )
    console.show()
    draw(_systems(test, routed, cascade))
    draw(_families(test, routed))
    console.show(
        "\nThe same beside larger generalists, with intervals: python benchmarks/bench_herd.py\n"
        "Figures of large models (33 of them on MMLU-Pro): herdwise evaluate --outcomes mmlu_pro,\n"
        "or as a page with curves: herdwise report --outcomes mmlu_pro"
    )
    return routed


def _goals() -> Goals:
    """As the config states them."""
    from herdwise.core.decision import Goals

    return Goals(min_quality=MIN_QUALITY, generalist=GENERALIST)


def _systems(test: OutcomeTable, routed: Evaluation, cascade: Evaluation) -> Table:
    """Ways to answer: one model always, the herd, hindsight."""
    from herdwise.evaluation.tables import Table, percent, span

    best, always = routed.best_single, {c.candidate: c.quality for c in routed.candidates}
    active_b = {c.name: c.active_params_b for c in test.herd}
    rows: list[tuple[str | None, ...]] = []
    if best.candidate != GENERALIST:
        rows.append(
            (f"{GENERALIST} always", percent(always[GENERALIST]), None, None, _millions(active_b[GENERALIST]))
        )
    rows += [
        (
            f"best single: {best.candidate}",
            percent(best.quality),
            span(best.low, best.high),
            None,
            _millions(active_b[best.candidate]),
        ),
        ("herd, routed (single)", *_herd(routed.router)),
        ("herd, cascade", *_herd(cascade.router)),
        ("oracle (hindsight)", percent(routed.oracle.quality), None, None, None),
    ]
    return Table(
        f"Exactly right on {routed.n_test:,} held-out queries of {len(routed.benchmarks)} kinds",
        ("", "right", "95% interval", "points over best single", "active parameters per query"),
        rows,
    )


def _herd(router: RouterFigures) -> tuple[str | None, ...]:
    from herdwise.evaluation.tables import percent, span

    return (
        percent(router.quality),
        span(router.low, router.high),
        f"{100 * router.gain:+.1f} ({100 * router.gain_low:+.1f} to {100 * router.gain_high:+.1f})",
        _millions(router.effective_params_b),
    )


def _millions(params_b: float | None) -> str | None:
    return None if params_b is None else f"{1e3 * params_b:.2f}M"


def _families(test: OutcomeTable, routed: Evaluation) -> Table:
    """Each kind of query: its own expert, where it has one, beside the generalist and the routed herd."""
    import numpy as np

    from herdwise.evaluation.tables import Table, percent

    quality, kinds, names = test.matrix(), np.array(test.benchmarks), list(test.herd.names)

    def mean(kind: str, name: str) -> str | None:
        return percent(float(quality[kinds == kind, names.index(name)].mean())) if name in names else None

    rows = [
        (kind, f"{b.n:,}", mean(kind, kind), mean(kind, GENERALIST), percent(b.router), percent(b.oracle))
        for kind, b in sorted(routed.benchmarks.items(), key=lambda found: (found[0] not in names, found[0]))
    ]
    columns = ("kind of query", "queries", "its expert", GENERALIST, "herd, routed", "oracle")
    return Table("By kind; for the last ones nobody but the generalist was trained", columns, rows)


def config(table: OutcomeTable, port: int) -> str:
    """The demo's config, for people to read and to change."""
    experts = "\n".join(_candidate(name) for name in table.herd.names)
    examples = "\n".join(f'    - "{query}"' for query in (*EXAMPLES.values(), *OTHERS))
    return _CONFIG.format(
        candidates=experts,
        min_quality=MIN_QUALITY,
        generalist=GENERALIST,
        cascade=", ".join(f"{name}: {value}" for name, value in CASCADE.items()),
        port=port,
        examples=examples,
    )


def _candidate(name: str) -> str:
    from importlib.resources import as_file, files

    from herdwise.backends.nano.folder import read_card

    about = "all of the above, small talk, and two kinds in one query"
    if name != GENERALIST:
        with as_file(files("herdwise") / "data" / "nano" / name) as folder:
            about = read_card(folder)["about"]
    return f"  # {about}\n  - name: {name}\n    backend: embedded\n    model: nano/{name}\n"


_CONFIG = """\
# The nano herd, live: written by `herdwise demo`. Change it: `make run` then leaves it as you left it, and a
# running endpoint reads it anew on SIGHUP (kill -HUP). `herdwise init` shows every key there is, and
# docs/configuration.md explains them. Remove this file to get a fresh one.

# Trained by `herdwise train --outcomes nano --out router`. What it knows of the candidates (sizes, licences,
# prices, context) need not be stated below; what is stated counts instead.
router: router

# Each runs in this process. Models of your own come with `base_url: http://127.0.0.1:11434/v1` and the like;
# `herdwise profile` and `herdwise train` make a router that knows them all, `herdwise enlist` adds one.
candidates:
{candidates}
# The model `auto` asks whoever is predicted best; `auto/vote`, `auto/consult`, ... work as well.
policy:
  name: single
  # Instead: where the first answer is doubtful, up to two more are asked.
  #name: cascade
  #options: {{{cascade}}}

goals:
  # Where every expert is predicted to be right less often than that, the generalist answers.
  min_quality: {min_quality}
  generalist: {generalist}
  # Smaller models for some quality: a million active parameters are worth a point.
  #cost_kind: active_params      # in billions
  #cost_weight: 10

server:
  port: {port}
  # The page at / offers these: one for each expert, then some for none.
  console_examples:
{examples}

# Decisions, answers and thumbs are kept here; `herdwise experts select --ledger sqlite:///ledger.db` tells
# where the herd is weak.
ledger:
  url: sqlite:///ledger.db
"""


def announcement(url: str, n_candidates: int) -> str:
    """What is said once the endpoint answers."""
    query = EXAMPLES["identifiers"]
    return "\n".join(
        [
            f"\n3. Serving {n_candidates} models live at {url}/v1  (Ctrl-C stops)\n",
            f"Open {url}/ in a browser: ask, and see who was predicted good, who was asked and why.\n",
            "Or ask it from a shell; the headers tell who answered and what it took:\n",
            curl(url, query, headers=True),
            "\nOr with the official client (pip install openai):\n",
            python(url, query),
            "",
        ]
    )
