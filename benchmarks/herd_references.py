"""What the nano herd is held against, trained on demand: larger training runs, an adapter, a newcomer.

    python benchmarks/bench_herd.py --train-references DIR

trains into DIR, resumes there when it was killed, and records the answers in DIR/outcomes:

generalist-brief  the shipped generalist's size, about an expert's steps
generalist-large  the size of all the herd's models together, the compute of all experts together
generalist-whole  the shipped generalist's size, the compute of the whole herd: twice the shipped one's
generalist-large-whole  the size and the compute of the whole herd
<family>-longer   each expert with twice its steps: the compute of the whole herd, without a generalist
plurals           a new expert for the family that nobody in the herd knows
generalist-lora   the shipped generalist with a LoRA adapter for that family

The shipped generalist itself has the compute (parameters times steps) of all experts together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from herdwise.core.outcomes import OutcomeTable
from herdwise.experts.families import HELD_OUT_FAMILY
from herdwise.experts.finetune import TrainingSettings, finetune
from herdwise.experts.nano_profile import ask_all, herd_items, joined, questions
from herdwise.experts.recipe import (
    EXPERT,
    GENERALIST_NAME,
    Member,
    MemberProgress,
    make_nano,
    nano_longer_experts,
    nano_references,
)
from herdwise.storage.write_outcomes import write_outcomes

#: Names under which the two ways to a new skill are recorded.
NEWCOMER, ADAPTED = HELD_OUT_FAMILY, f"{GENERALIST_NAME}-lora"
_STEPS = 2000
#: The adapter learns as long as the new expert, from the same items.
ADAPTER = TrainingSettings(kind="lora", lr=4e-3, batch=EXPERT.batch, steps=_STEPS, lora_rank=8)
#: Queries of the new family, to learn routing from and to measure on.
_NEW_TRAIN, _NEW_TEST = 240, 240
_TELL_S = 30
_SOURCE = """# References of the nano herd
Answers of what the herd is held against, made by `python benchmarks/bench_herd.py --train-references DIR`.
Queries and models are herdwise's own, licence Apache-2.0.
"""


def train_references(out: Path, shipped: Path, table: OutcomeTable) -> OutcomeTable:
    """Train all references and record their answers.

    Args:
        out: gets the models and ``outcomes``.
        shipped: folder of the herd's models.
        table: the herd's recorded outcomes; the references answer its test split.

    Returns:
        What was recorded, of the herd on the new family's queries too.
    """
    newcomer = Member(NEWCOMER, (HELD_OUT_FAMILY,), replace(EXPERT, steps=_STEPS, lr=3e-3))
    references, longer = nano_references(), nano_longer_experts()
    make_nano(out, members=[*references, *longer, newcomer], progress=_Teller())
    report = finetune(newcomer.items(), out / ADAPTED, ADAPTER, base=shipped / GENERALIST_NAME)
    print(f"adapter: {report.n_learned} numbers learned in {report.cpu_s:.0f} CPU seconds", flush=True)
    new = questions(herd_items([HELD_OUT_FAMILY], _NEW_TRAIN, _NEW_TEST))
    test, new_test = table.split("test"), new.split("test")
    both = joined([ask_all({NEWCOMER: out / NEWCOMER}, asked) for asked in (table, new)])
    adapted = joined([ask_all({ADAPTED: out / ADAPTED}, asked) for asked in (test, new_test)])
    parts = [
        both,
        adapted,
        ask_all({name: shipped / name for name in table.herd.names}, new),
        ask_all({m.name: out / m.name for m in references}, test),
        ask_all({m.name: out / m.name for m in longer}, table),
    ]
    recorded = replace(joined(parts), source=_SOURCE, name="references of the nano herd")
    write_outcomes(recorded, out / "outcomes")
    return recorded


class _Teller:
    """Prints now and then where training stands."""

    def __init__(self) -> None:
        self._began, self._next = time.monotonic(), 0.0

    def __call__(self, standing: Sequence[MemberProgress]) -> None:
        passed = time.monotonic() - self._began
        if passed < self._next:
            return
        self._next = passed + _TELL_S
        told = ", ".join(
            f"{m.name} {m.step}/{m.steps}" + ("" if m.loss is None else f" ({m.loss:.2f})") for m in standing
        )
        print(f"{passed:5.0f} s  {told}", flush=True)


def skill_rows(table: OutcomeTable) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the new family's queries, and of the others."""
    new = np.array([benchmark == HELD_OUT_FAMILY for benchmark in table.benchmarks])
    return np.flatnonzero(new), np.flatnonzero(~new)
