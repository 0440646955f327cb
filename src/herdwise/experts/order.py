"""What expert is to be made, of what, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from herdwise.backends.base import Backend
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.outcomes import OutcomeTable
from herdwise.experts.curate import CurateSettings
from herdwise.experts.examples import Example
from herdwise.experts.finetune import TrainingSettings
from herdwise.experts.gate import Verdict
from herdwise.experts.proving import ProofSettings
from herdwise.experts.weakness import Target

#: Called with (stage, done, total).
Progress = Callable[[str, int, int], None]
#: Gives examples for a weakness, written into a folder of its own: a teacher, a file, a generator.
Source = Callable[[Target, OutcomeTable, Path], list[Example]]
Status = Literal["nothing to gain", "refused", "admitted"]


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be made, and of what.

    Args:
        name: of the new candidate.
        out: its folder; an interrupted run in it is resumed.
        table: the herd's recorded outcomes that may be learned from; the gate holds some back.
        herd: as it is served now.
        source: gives examples.
        source_inputs: JSON values that decide what the source gives.
        reach: a backend of the herd, by name; asked where a pick of the gate has no recorded answer.
        reach_expert: a backend for a model folder.
        identify: what stands behind a name of the herd, such as the upstream's model; another model's answers
            are never taken for this one's.
        weak_in: benchmarks that the weakness is looked for in, such as "served"; empty = all.
        proof: how the gate tries the expert.
        training: how the expert is trained.
        base: model folder that it starts from; needed for LoRA and full fine-tuning.
        curation: how examples are chosen.
        voters: candidates of the herd that answer the queries too; see ``CurateSettings.min_votes``.
        judge: how a model is trained that doubts examples (see ``experts.supervise``); None = nobody does.
        merge_with: model folders or adapters of the same base that are folded into the expert.
        merge_method: "linear", "task_arithmetic" or "ties".
        quantised: store int8 weights.
        reasoning: learn the steps to the answers too, where the examples have them.
        clusters, cluster: see ``choose_target``.
        seed: of every random choice.
    """

    name: str
    out: Path
    table: OutcomeTable
    herd: Herd
    source: Source
    source_inputs: dict[str, Any]
    reach: Callable[[str], Backend]
    reach_expert: Callable[[Path], Backend]
    identify: Callable[[str], str] = str
    weak_in: tuple[str, ...] = ()
    proof: ProofSettings = field(default_factory=ProofSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    base: Path | None = None
    curation: CurateSettings = field(default_factory=CurateSettings)
    voters: tuple[str, ...] = ()
    judge: TrainingSettings | None = None
    merge_with: tuple[Path, ...] = ()
    merge_method: Literal["linear", "task_arithmetic", "ties"] = "ties"
    quantised: bool = True
    reasoning: bool = False
    clusters: int | None = None
    cluster: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """What came of an order.

    Args:
        status: "admitted" (may be enlisted), "refused" by the gate, or "nothing to gain" at ``step``.
        step: the last that was done.
        words: in a sentence.
        target, verdict: None where the chain ended before.
        entry: the candidate as a config has it; None unless admitted.
        router: a router of the herd with the expert; None unless admitted.
        done, kept: steps done now, and those that an earlier run had done.
    """

    status: Status
    step: str
    words: str
    target: Target | None
    verdict: Verdict | None
    entry: dict[str, Any] | None
    router: Path | None
    done: list[str]
    kept: list[str]


def entry_of(expert: Candidate, model: Path) -> dict[str, Any]:
    """An expert as a config's candidate: an embedded model, by its folder."""
    entry: dict[str, Any] = {"name": expert.name, "backend": "embedded"}
    entry["options"] = {"folder": str(model.resolve())}
    if expert.params_b is not None:
        entry |= {"params_b": expert.params_b, "active_params_b": expert.active_params_b}
    if expert.context_tokens is not None:
        entry["context_tokens"] = expert.context_tokens
    price = {"input_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0}
    return {**entry, "open_weights": True, "price": price, "tags": sorted(expert.tags)}
