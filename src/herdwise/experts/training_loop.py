"""The steps of a training run, whatever the model: order, schedule, checkpoints, the loss curve."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from herdwise.core.errors import ArtefactError, ConfigError
from herdwise.experts.adamw import AdamW
from herdwise.experts.examples import pretty
from herdwise.experts.nano_torch import Examples, examples, torch_module
from herdwise.experts.training_settings import TrainingProgress, TrainingReport, TrainingSettings
from herdwise.experts.training_state import LossCurve, State, drop_state, load_state, read_losses, save_state
from herdwise.storage.whole_files import write_whole

#: Batches that are cut from one stretch of the shuffled items, so that texts of like length stand together.
_STRETCH = 16
#: Steps that a line of the loss curve is the mean of.
_CURVE_STEPS = 20
_TELL_S = 1.0
_BETAS = (0.9, 0.98)
_REPORT = "report.json"


class Trainable(Protocol):
    """A model that the loop trains."""

    @property
    def learning(self) -> Mapping[str, Any]:
        """The tensors that learn, by name."""

    def loss(self, batch: Examples) -> Any:
        """A scalar tensor."""


def batches(lengths: Sequence[int], n: int, seed: int, start: int = 0) -> Iterator[list[int]]:
    """Without end, the items of each step from ``start`` on; a function of its arguments alone.

    Each epoch is shuffled anew. A stretch of some batches is sorted by length before it is cut, since padding
    is read like anything else; the batches' own order is shuffled once more.
    """
    per_epoch = -(-len(lengths) // n)
    epoch = start // per_epoch
    while True:
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(lengths)).tolist()
        cut: list[list[int]] = []
        for at in range(0, len(order), n * _STRETCH):
            stretch = sorted(order[at : at + n * _STRETCH], key=lambda i: lengths[i])
            cut += [stretch[i : i + n] for i in range(0, len(stretch), n)]
        chosen = [cut[i] for i in rng.permutation(len(cut))]
        yield from chosen[start - epoch * per_epoch :] if epoch == start // per_epoch else chosen
        epoch += 1


def train(
    model: Trainable,
    parts: Sequence[tuple[list[int], list[int], float]],
    folder: Path,
    run: str,
    settings: TrainingSettings,
    progress: Callable[[TrainingProgress], None] | None,
) -> float:
    """Do all steps that are left.

    Args:
        model: who learns.
        parts: (prompt, answer, weight) of each item, in tokens.
        folder: of the run.
        run: its fingerprint.
        settings: how.
        progress: told about every second.

    Returns:
        Processor seconds of the whole run, its earlier parts included.
    """
    torch = torch_module()
    threads_before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    optimiser = AdamW(model.learning, betas=_BETAS, weight_decay=settings.weight_decay, clip=settings.clip)
    found = load_state(folder, run)
    step, spent_s = 0, 0.0
    if found is not None:
        step, spent_s = found.step, found.cpu_s
        optimiser.restore(step, found.weights, found.first, found.second)
    curve = LossCurve(folder, step)
    started, cpu_started = time.monotonic(), time.process_time()
    saved = told = started
    first, losses = step, []
    order = batches(
        [len(prompt) + len(answer) for prompt, answer, _ in parts], settings.batch, settings.seed, step
    )
    try:
        while step < settings.steps:
            batch = examples([parts[i] for i in next(order)])
            loss = model.loss(batch)
            loss.backward()
            optimiser.step(settings.lr_at(step))
            step += 1
            losses.append(loss.item())
            if step % _CURVE_STEPS == 0 or step == settings.steps:
                curve.add(step=step, loss=float(np.mean(losses[-_CURVE_STEPS:])), lr=settings.lr_at(step - 1))
            now = time.monotonic()
            if now - saved >= settings.checkpoint_s or step == settings.steps:
                cpu_s = spent_s + time.process_time() - cpu_started
                save_state(folder, run, State(step, cpu_s, *optimiser.state()))
                saved = time.monotonic()
            if progress is not None and (now - told >= _TELL_S or step == settings.steps):
                left_s = (now - started) / (step - first) * (settings.steps - step)
                progress(
                    TrainingProgress(step, settings.steps, float(np.mean(losses[-_CURVE_STEPS:])), left_s)
                )
                told = now
    finally:
        torch.set_num_threads(threads_before)
    return spent_s + time.process_time() - cpu_started


def finished(folder: Path, run: str) -> TrainingReport | None:
    """The report of a run that is done; None = it is not.

    Raises:
        ConfigError: when the folder holds another run.
        ArtefactError: when the report is damaged.
    """
    path = folder / _REPORT
    if not path.is_file():
        return None
    try:
        report = msgspec.json.decode(path.read_bytes(), type=TrainingReport)
    except msgspec.DecodeError as error:
        raise ArtefactError(f"{path}: not a training report ({error}).", remedy="Remove it.") from error
    if report.run != run:
        raise ConfigError(
            f"{folder} holds a model of other settings or data.",
            remedy="Choose another folder, or remove this one.",
        )
    return report


def finish(folder: Path, report: TrainingReport) -> None:
    """Write the report, which marks the run as done, and let go of its checkpoint."""
    write_whole(folder / _REPORT, pretty(report))
    drop_state(folder)


def last_loss(folder: Path, steps: int) -> float:
    """Mean over the last tenth of the steps."""
    lines = read_losses(folder)
    late = [line["loss"] for line in lines if line["step"] > 0.9 * steps] or [lines[-1]["loss"]]
    return float(np.mean(late))
