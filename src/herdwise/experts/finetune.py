"""Train a nano model: from scratch, all weights of a base, or LoRA on a base. Can be killed and goes on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from safetensors.numpy import save_file

from herdwise.backends.nano.folder import NanoConfig, read_card, read_model, write_model
from herdwise.backends.nano.model import NanoModel
from herdwise.backends.nano.tokens import ByteTokens
from herdwise.core.errors import ArtefactError, ConfigError, InputError
from herdwise.experts.adamw import AdamW
from herdwise.experts.nano_torch import (
    Tensors,
    TorchNano,
    best_precision,
    examples,
    initial_tensors,
    torch_module,
)
from herdwise.experts.training_state import (
    LossCurve,
    State,
    drop_state,
    fingerprint,
    load_state,
    read_losses,
    save_state,
)

#: (query, answer, weight).
Item = tuple[str, str, float]

#: Batches that are cut from one stretch of the shuffled items, so that texts of like length stand together.
_STRETCH = 16
#: Steps that a line of the loss curve is the mean of.
_CURVE_STEPS = 20
_TELL_S = 1.0
_REPORT = "report.json"
_BETAS = (0.9, 0.98)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a model is trained.

    Args:
        kind: "scratch", "full" (all weights of a base) or "lora" (low-rank additions to a base).
        width, layers, heads, kv_heads, hidden, max_context, words: of a model from scratch, see
            ``NanoConfig``; a base states its own. kv_heads None = heads; hidden None = 8/3 of the width.
        lr: highest learning rate, of AdamW.
        schedule: how it falls to ``lr_end`` times that, after the warm-up.
        lr_end: share of ``lr`` at the last step.
        warmup: share of the steps in which it rises.
        weight_decay, clip: of AdamW, and the gradient's longest norm.
        batch: examples per step.
        steps: in all.
        seed: of weights and order.
        threads: that torch uses; another number may give other last digits.
        device: such as "cpu" or "cuda".
        precision: of the products while training, "float32", "bfloat16", or "auto": whichever is faster
            on this machine. The same on every machine of a kind; the report says which it was.
        dtype: in which the weights are stored.
        lora_rank, lora_alpha, lora_targets: see ``TorchNano``.
        checkpoint_s: seconds between checkpoints.
    """

    kind: Literal["scratch", "full", "lora"] = "scratch"
    width: int = 96
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None
    hidden: int | None = None
    max_context: int = 192
    words: tuple[str, ...] = ()
    lr: float = 2e-3
    schedule: Literal["cosine", "linear"] = "cosine"
    lr_end: float = 0.02
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    batch: int = 32
    steps: int = 2000
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    dtype: Literal["float32", "float16"] = "float16"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    checkpoint_s: float = 5.0

    def __post_init__(self) -> None:
        if self.kind not in {"scratch", "full", "lora"} or self.schedule not in {"cosine", "linear"}:
            raise ConfigError(f"training kind {self.kind!r} or schedule {self.schedule!r} is not known.")
        if min(self.batch, self.steps, self.threads, self.lora_rank) < 1:
            raise ConfigError("batch, steps, threads and lora_rank must be 1 or more.")
        if not (0 < self.lr < math.inf and 0 <= self.lr_end <= 1 and 0 <= self.warmup < 1):
            raise ConfigError("lr must be above 0, lr_end from 0 to 1, warmup from 0 to below 1.")

    def config(self) -> NanoConfig:
        """Shape of a model from scratch."""
        hidden = self.hidden or -(-self.width * 8 // 3 // 16) * 16
        return NanoConfig(
            self.width,
            self.layers,
            self.heads,
            self.kv_heads or self.heads,
            hidden,
            self.max_context,
            tuple(self.words),
            self.seed,
        )

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.lr * (step + 1) / rising
        done = (step - rising + 1) / max(1, self.steps - rising)
        left = 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.lr * (self.lr_end + (1 - self.lr_end) * left)


class TrainingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    Args:
        folder: of the model.
        run: fingerprint of settings, data and base.
        kind, steps, seed, precision: as set.
        n_items, n_params, n_learned: examples, numbers of the model, and those that learned.
        loss: mean over the last tenth of the steps, in nats per answer token.
        cpu_s: processor seconds of all parts of the run.
        n_held_out: items that were held out.
        held_out_exact: share of them that the stored model answers word for word; None without any.
    """

    folder: str
    run: str
    kind: str
    steps: int
    seed: int
    precision: str
    n_items: int
    n_params: int
    n_learned: int
    loss: float
    cpu_s: float
    n_held_out: int
    held_out_exact: float | None


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a run stands.

    Args:
        step, steps: done, and in all.
        loss: mean since the last report.
        left_s: seconds that the rest will take at this pace.
    """

    step: int
    steps: int
    loss: float
    left_s: float


def finetune(
    items: Sequence[Item],
    out: str | os.PathLike[str],
    settings: TrainingSettings,
    *,
    base: str | os.PathLike[str] | None = None,
    held_out: Sequence[Item] | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingReport:
    """Train a model on questions and answers and write its folder.

    Only the answers' tokens count in the loss. A checkpoint is written every few seconds; called again with
    the same arguments after a kill, the run goes on from it to the same weights, and a finished run is
    reported without training. Same seed, threads and machine: same weights.

    Args:
        items: (query, answer, weight above 0).
        out: folder of the model; with LoRA it gets the whole model, and ``adapter/`` in peft's format.
        settings: how.
        base: model folder to start from; needed unless from scratch.
        held_out: items that are asked at the end, for the report alone.
        progress: told about every second.

    Raises:
        ConfigError: settings that do not fit, or a folder that holds another run.
        InputError: no items, or one that is longer than the context.
        ArtefactError: a damaged base or checkpoint.
        MissingExtraError: torch is not installed.
    """
    folder = Path(out)
    if (base is None) != (settings.kind == "scratch"):
        raise ConfigError(
            f"training kind {settings.kind!r} {'needs' if base is None else 'takes no'} base model.",
            remedy="scratch starts from nothing; full and lora start from a base.",
        )
    if base is None:
        config, start = settings.config(), initial_tensors(settings.config(), settings.seed)
    else:
        config, start = read_model(base)
    parts = _encoded(items, config)
    if settings.precision == "auto":
        settings = replace(settings, precision=best_precision(settings.device))
    run = fingerprint(
        {**asdict(settings), "checkpoint_s": 0},
        [(*item,) for item in items],
        [(*item,) for item in held_out or ()],
        {name: fingerprint(tensor.tobytes()) for name, tensor in start.items()} if base is not None else None,
    )
    done = _finished(folder, run)
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    lora = {"lora_rank": settings.lora_rank, "lora_alpha": settings.lora_alpha}
    model = TorchNano(
        config,
        start,
        device=settings.device,
        **(lora if settings.kind == "lora" else {}),  # type: ignore[arg-type]
        lora_targets=settings.lora_targets,
        seed=settings.seed,
        precision=settings.precision,
    )
    cpu_s = _train(model, parts, folder, run, settings, progress)
    tensors = {name: tensor.astype(settings.dtype) for name, tensor in model.tensors().items()}
    _check_finite(tensors)
    whole = NanoModel(config, {name: tensor.astype(np.float32) for name, tensor in tensors.items()})
    exact = None
    if held_out:
        said = whole.answer_all([query for query, _, _ in held_out])
        exact = float(np.mean([a == b for a, (_, b, _) in zip(said, held_out, strict=True)]))
    report = TrainingReport(
        folder=str(folder),
        run=run,
        kind=settings.kind,
        steps=settings.steps,
        seed=settings.seed,
        precision=settings.precision,
        n_items=len(items),
        n_params=config.n_params,
        n_learned=sum(tensor.numel() for tensor in model.learning.values()),
        loss=_last_loss(folder, settings.steps),
        cpu_s=cpu_s,
        n_held_out=len(held_out or ()),
        held_out_exact=exact,
    )
    if settings.kind == "lora":
        _write_adapter(folder / "adapter", model, settings, base)
    card = {} if base is None else {"base": read_card(base)}
    stated = {**msgspec.to_builtins(report), "folder": folder.name}
    write_model(folder, config, tensors, {**card, "training": {**asdict(settings), **stated}})
    (folder / _REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    drop_state(folder)
    return report


def _encoded(items: Sequence[Item], config: NanoConfig) -> list[tuple[list[int], list[int], float]]:
    """(prompt, answer, weight) of each item, in tokens."""
    if not items:
        raise InputError("there are no items to train on.")
    tokens = ByteTokens(config.words)
    parts = []
    for i, (query, answer, weight) in enumerate(items):
        prompt, said = tokens.encode_prompt(query), tokens.encode_answer(answer)
        if len(prompt) + len(said) > config.max_context:
            raise InputError(
                f"item {i} has {len(prompt) + len(said)} tokens, and the context {config.max_context}.",
                remedy="Leave it out, or set a larger max_context.",
            )
        if not 0 < weight < math.inf:
            raise InputError(f"item {i} has the weight {weight}; it must be above 0.")
        parts.append((prompt, said, weight))
    return parts


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


def _train(
    model: TorchNano,
    parts: Sequence[tuple[list[int], list[int], float]],
    folder: Path,
    run: str,
    settings: TrainingSettings,
    progress: Callable[[TrainingProgress], None] | None,
) -> float:
    """All steps that are left; returns the processor seconds of the whole run."""
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


def _finished(folder: Path, run: str) -> TrainingReport | None:
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


def _write_adapter(folder: Path, model: TorchNano, settings: TrainingSettings, base: Any) -> None:
    """In peft's format, so that peft can load it onto the base."""
    folder.mkdir(exist_ok=True)
    stated = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": settings.lora_rank,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": list(settings.lora_targets),
        "bias": "none",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_bytes(msgspec.json.format(msgspec.json.encode(stated), indent=2))
    tensors = {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.learning.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _check_finite(tensors: Tensors) -> None:
    broken = [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
    if broken:
        raise InputError(
            f"training went astray: {broken[0]} holds numbers that are not finite.",
            remedy="Take a lower lr, or float32 for dtype.",
        )


def _last_loss(folder: Path, steps: int) -> float:
    lines = read_losses(folder)
    late = [line["loss"] for line in lines if line["step"] > 0.9 * steps] or [lines[-1]["loss"]]
    return float(np.mean(late))
