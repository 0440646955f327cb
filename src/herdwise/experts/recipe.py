"""The recipe of the nano herd: an expert for each family, a generalist for all of them, in one command.

Members are trained side by side, one process and one thread each. Every step leaves its result in a folder
of its own, so that a run which was killed goes on where it stood: items are drawn again by their seed, the
trainer resumes from its checkpoint, and what is finished is not done again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from herdwise.backends.nano.folder import read_card, write_card
from herdwise.backends.nano.model import NanoModel
from herdwise.core.errors import ConfigError
from herdwise.experts.families import EXPERT_FAMILIES, FAMILIES, GENERALIST_FAMILIES, Family, Item
from herdwise.experts.finetune import TrainingSettings, finetune
from herdwise.experts.nano_profile import MAX_ANSWER_TOKENS
from herdwise.experts.quantise import quantise
from herdwise.experts.training_state import read_losses

#: What experts learn with; see docs/experiments/2026-11-21-nano-herd.md for what was tried.
EXPERT = TrainingSettings(width=64, layers=4, heads=4, lr=2e-3, batch=32, steps=1200)
#: What some families take besides: arithmetic is found late, facts are learned one by one, and order is
#: found sooner by wider heads.
OWN_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "sums": {"steps": 5000, "lr": 3e-3},
    "countries": {"steps": 2000},
    "elements": {"steps": 3000, "lr": 3e-3},
    "verbs": {"steps": 1500},
    "units": {"steps": 1500, "lr": 3e-3},
    "extract": {"steps": 2500, "heads": 2, "lr": 3e-3},
    "identifiers": {"steps": 2500, "heads": 2, "lr": 3e-3},
    "sorting": {"steps": 3000, "heads": 2, "lr": 3e-3},
}
#: Twice an expert's size; it gets as much compute as all experts together, see ``nano_members``.
GENERALIST = replace(EXPERT, width=96, heads=3, lr=2.5e-3)
#: As many parameters as the whole herd, nearly.
LARGE_GENERALIST = replace(EXPERT, width=176, layers=7, lr=1e-3)
#: The generalist with about the steps of an expert.
BRIEF_GENERALIST = replace(EXPERT, width=96, steps=2000)
#: The name of the candidate that was trained on all families.
GENERALIST_NAME = "generalist"
#: Items per family of the dev split that a model card's figures are measured on.
_CARD_ITEMS = 200
#: Items whose answers are compared before and after rounding to int8.
_ROUNDED_ITEMS = 50
_TELL_S = 1.0


@dataclass(frozen=True, slots=True)
class Member:
    """One model of the herd, before it is trained.

    Args:
        name: of the candidate and its folder.
        families: what it learns, in equal parts.
        settings: how; their seed also draws the items.
    """

    name: str
    families: tuple[str, ...]
    settings: TrainingSettings

    def items(self) -> list[tuple[str, str, float]]:
        """What it is trained on, a fresh item for (nearly) every place in every batch."""
        n = self.settings.steps * self.settings.batch // len(self.families)
        return [
            (item.query, item.answer, 1.0)
            for name in self.families
            for item in FAMILIES[name].items("train", n, seed=self.settings.seed)
        ]


@dataclass(frozen=True, slots=True)
class MemberProgress:
    """Where one member's training stands.

    Args:
        name: whose.
        step, steps: done, and in all.
        loss: of the last steps, in nats per answer token; None before the first.
        done: whether its folder is written.
    """

    name: str
    step: int
    steps: int
    loss: float | None
    done: bool


def nano_members(seed: int = 0) -> list[Member]:
    """The shipped herd: an expert for each of ``EXPERT_FAMILIES``, and the generalist.

    The generalist alone gets as much compute (parameters times steps) as the experts together.
    """
    experts = [
        Member(name, (name,), replace(EXPERT, seed=seed, **OWN_SETTINGS.get(name, {})))
        for name in EXPERT_FAMILIES
    ]
    steps = round(_compute(experts) / GENERALIST.config().n_params)
    return [*experts, _generalist(GENERALIST_NAME, replace(GENERALIST, steps=steps, seed=seed))]


def nano_references(seed: int = 0) -> list[Member]:
    """Other generalists that the herd is held against.

    ``generalist-brief`` has about an expert's steps; ``generalist-large`` the parameters of all members
    together, and the experts' compute. The two ``-whole`` ones have the compute of the whole herd, whose own
    generalist takes as much as the experts do.
    """
    *experts, generalist = nano_members(seed)
    compute = _compute(experts)
    steps = round(compute / LARGE_GENERALIST.config().n_params)
    longer = replace(generalist.settings, steps=2 * generalist.settings.steps)
    return [
        _generalist("generalist-brief", replace(BRIEF_GENERALIST, seed=seed)),
        _generalist("generalist-large", replace(LARGE_GENERALIST, steps=steps, seed=seed)),
        _generalist("generalist-whole", longer),
        _generalist("generalist-large-whole", replace(LARGE_GENERALIST, steps=2 * steps, seed=seed)),
    ]


def nano_longer_experts(seed: int = 0) -> list[Member]:
    """The experts with twice their steps, ``<family>-longer``: the whole herd's compute, no generalist."""
    return [
        replace(m, name=f"{m.name}-longer", settings=replace(m.settings, steps=2 * m.settings.steps))
        for m in nano_members(seed)[:-1]
    ]


def _generalist(name: str, settings: TrainingSettings) -> Member:
    return Member(name, EXPERT_FAMILIES + GENERALIST_FAMILIES, settings)


def _compute(members: Sequence[Member]) -> int:
    return sum(member.settings.steps * member.settings.config().n_params for member in members)


def make_nano(
    out: str | os.PathLike[str],
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[Sequence[MemberProgress]], None] | None = None,
    members: Sequence[Member] | None = None,
) -> list[Path]:
    """Train the nano herd, or go on training it.

    Args:
        out: gets ``<name>/`` for each member, int8 with its card, and ``training/<name>/``, where loss curve
            and checkpoints are; the latter may be removed afterwards.
        seed: of weights, items and their order.
        workers: members that are trained side by side, one thread each.
        progress: told about every second where each member stands.
        members: others than the shipped herd's.

    Returns:
        The members' folders.

    Raises:
        ConfigError: ``out`` holds a run of another seed or other settings.
        MissingExtraError: torch is not installed.
    """
    chosen = list(nano_members(seed) if members is None else members)
    if workers < 1:
        raise ConfigError(f"workers is {workers}; it must be 1 or more.")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    # The longest first, so that no worker is left alone with it.
    order = sorted(chosen, key=lambda m: -m.settings.steps * m.settings.config().n_params)
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        waiting: set[Future[None]] = {pool.submit(train_member, member, folder) for member in order}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=_TELL_S, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                if progress is not None:
                    progress([_standing(member, folder) for member in chosen])
        finally:
            for future in waiting:
                future.cancel()
    return [folder / member.name for member in chosen]


def end_with_parent() -> None:
    """Have this process end when the one that started it does, however that ends.

    A pool's worker would otherwise train to the end of its queue, and then wait for more for ever.
    """
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="herdwise-parent", daemon=True).start()


def train_member(member: Member, out: str | os.PathLike[str]) -> None:
    """Train one member into ``out/training/<name>``; write it as int8, with its card, to ``out/<name>``."""
    work, folder = Path(out) / "training" / member.name, Path(out) / member.name
    report = finetune(member.items(), work, member.settings)
    if (folder / "card.json").is_file() and read_card(folder).get("run") == report.run:
        return
    write_int8(member, work, folder, report.run, report.n_items)


def write_int8(member: Member, work: Path, folder: Path, run: str, n_items: int) -> None:
    """The trained model in ``work`` as int8 in ``folder``, with a card that states data, figures and seed."""
    prompts = [item.query for item in FAMILIES[member.families[0]].items("dev", _ROUNDED_ITEMS, seed=1)]
    quantise(work, folder, prompts=prompts)
    # Asking comes before the card says which run it is: a folder without it is not whole.
    figures = exact_by_family(NanoModel.load(folder), member.families, "dev", _CARD_ITEMS)
    card = read_card(folder) | {
        "name": member.name,
        "about": "; ".join(FAMILIES[name].about for name in member.families),
        "data": {
            "families": list(member.families),
            "split": "train",
            "n_items": n_items,
            "seed": member.settings.seed,
            "made_by": "herdwise experts make --recipe nano",
        },
        "figures": {"split": "dev", "n_items_per_family": _CARD_ITEMS, "exact": figures},
        "licence": "Apache-2.0",
        "run": run,
    }
    write_card(folder, card)


def exact_by_family(
    model: NanoModel, families: Sequence[str], split: str, n: int, *, seed: int = 1
) -> Mapping[str, float]:
    """Share of a split's items that a model answers exactly, by family."""
    found = {}
    for name in families:
        items = list(_family(name).items(split, n, seed=seed))  # type: ignore[arg-type]
        found[name] = right(model, items)
    return found


def right(model: NanoModel, items: Sequence[Item]) -> float:
    """Share of the items that a model answers exactly."""
    said = model.answer_all([item.query for item in items], MAX_ANSWER_TOKENS)
    return sum(text == item.answer for text, item in zip(said, items, strict=True)) / len(items)


def _family(name: str) -> Family:
    return FAMILIES[name]


def _standing(member: Member, folder: Path) -> MemberProgress:
    work = folder / "training" / member.name
    lines = read_losses(work) if work.is_dir() else []
    done = (folder / member.name / "model.safetensors").is_file()
    step, loss = (int(lines[-1]["step"]), float(lines[-1]["loss"])) if lines else (0, None)
    return MemberProgress(member.name, step, member.settings.steps, loss, done)
