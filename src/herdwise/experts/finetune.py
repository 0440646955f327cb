"""Train a nano model: from scratch, all weights of a base, or LoRA on a base. Can be killed and goes on.

A base with another tokenizer than bytes is trained by transformers and peft (``finetune_peft``), LoRA alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors.numpy import save

from herdwise.backends.nano.folder import NanoConfig, is_nano, read_card, read_model, write_model
from herdwise.backends.nano.model import NanoModel
from herdwise.backends.nano.tokens import ByteTokens
from herdwise.core.errors import ConfigError, InputError
from herdwise.experts.finetune_peft import finetune_peft
from herdwise.experts.nano_torch import Tensors, TorchNano, best_precision, initial_tensors
from herdwise.experts.training_loop import finish, finished, last_loss, train
from herdwise.experts.training_settings import Item, TrainingProgress, TrainingReport, TrainingSettings
from herdwise.experts.training_state import fingerprint

__all__ = ["Item", "TrainingProgress", "TrainingReport", "TrainingSettings", "finetune"]


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
        base: model folder to start from; needed unless from scratch. With LoRA it may be any causal language
            model that transformers loads, see ``finetune_peft``.
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
    if base is not None and not is_nano(base):
        return finetune_peft(items, folder, settings, base=base, held_out=held_out or (), progress=progress)
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
    done = finished(folder, run)
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
    cpu_s = train(model, parts, folder, run, settings, progress)
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
        loss=last_loss(folder, settings.steps),
        cpu_s=cpu_s,
        n_held_out=len(held_out or ()),
        held_out_exact=exact,
    )
    if settings.kind == "lora":
        _write_adapter(folder / "adapter", model, settings, base)
    card = {} if base is None else {"base": read_card(base)}
    stated = {**msgspec.to_builtins(report), "folder": folder.name}
    write_model(folder, config, tensors, {**card, "training": {**asdict(settings), **stated}})
    finish(folder, report)
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
    (folder / "adapter_model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))


def _check_finite(tensors: Tensors) -> None:
    broken = [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
    if broken:
        raise InputError(
            f"training went astray: {broken[0]} holds numbers that are not finite.",
            remedy="Take a lower lr, or float32 for dtype.",
        )
