"""LoRA on any local causal language model, by transformers and peft, in the nano trainer's loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from herdwise.backends.nano.folder import write_card
from herdwise.core.errors import ConfigError, InputError, MissingExtraError
from herdwise.experts.nano_torch import Examples, torch_module
from herdwise.experts.training_loop import finish, finished, last_loss, train
from herdwise.experts.training_settings import Item, TrainingProgress, TrainingReport, TrainingSettings
from herdwise.experts.training_state import fingerprint

#: Tokens of an answer to a held-out query at most.
_MOST_NEW = 256


class PeftModel:
    """A language model with low-rank additions that learn.

    Args:
        base: folder of the model and its tokenizer; nothing is downloaded.
        settings: ``lora_*``, ``seed``, ``device`` and ``max_context`` of them.

    Raises:
        ConfigError: a folder that transformers cannot load, or targets that it does not have.
        MissingExtraError: torch, transformers or peft is not installed.
    """

    def __init__(self, base: str | os.PathLike[str], settings: TrainingSettings) -> None:
        self._torch = torch_module()
        try:
            transformers: Any = import_module("transformers")
            peft: Any = import_module("peft")
        except ImportError as error:
            raise MissingExtraError("LoRA on a model that is not a nano model", extra="train") from error
        self._device, self._most = settings.device, settings.max_context
        try:
            self._tokens: Any = transformers.AutoTokenizer.from_pretrained(base, local_files_only=True)
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(base, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{base}: transformers cannot load it ({error}).") from error
        if self._tokens.eos_token_id is None:
            raise ConfigError(f"{base}: its tokenizer has no token that ends a text.")
        lora = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=0.0,
            target_modules=list(settings.lora_targets),
        )
        with self._torch.random.fork_rng(devices=[]):
            self._torch.manual_seed(settings.seed)
            try:
                self.model = peft.get_peft_model(model.float(), lora).to(self._device)
            except ValueError as error:
                raise ConfigError(
                    f"{base}: no LoRA on {', '.join(settings.lora_targets)} ({error})."
                ) from error
        self.model.train()
        #: What learns, by name.
        self.learning: Mapping[str, Any] = {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    @property
    def n_params(self) -> int:
        """Numbers of the model, the additions not counted."""
        return sum(p.numel() for p in self.model.parameters() if not p.requires_grad)

    def prompt(self, query: str) -> list[int]:
        """As the model's chat template puts it; where it has none, the query and a line break."""
        if self._tokens.chat_template is None:
            return list(self._tokens(query + "\n")["input_ids"])
        asked = [{"role": "user", "content": query}]
        text = self._tokens.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        return list(self._tokens(text, add_special_tokens=False)["input_ids"])

    def encoded(self, items: Sequence[Item]) -> list[tuple[list[int], list[int], float]]:
        """(prompt, answer, weight) in tokens.

        Raises:
            InputError: no items, or one that is longer than ``max_context``.
        """
        parts = []
        for i, (query, answer, weight) in enumerate(items):
            said = [*self._tokens(answer, add_special_tokens=False)["input_ids"], self._tokens.eos_token_id]
            prompt = self.prompt(query)
            if len(prompt) + len(said) > self._most:
                raise InputError(
                    f"item {i} has {len(prompt) + len(said)} tokens, and max_context is {self._most}.",
                    remedy="Leave it out, or set a larger max_context.",
                )
            parts.append((prompt, said, weight))
        if not parts:
            raise InputError("there are no items to train on.")
        return parts

    def loss(self, batch: Examples) -> Any:
        """Cross-entropy of the answers' tokens, weighted, in nats per token: a scalar tensor."""
        torch = self._torch
        rows, targets, weights = (
            torch.from_numpy(part).to(self._device) for part in (batch.rows, batch.targets, batch.weights)
        )
        # Padding stands on the right, where nothing that counts can see it; any token will do.
        tokens = torch.from_numpy(batch.tokens).clamp_max(self._tokens.vocab_size - 1).to(self._device)
        logits = self.model(input_ids=tokens, use_cache=False).logits.flatten(0, 1)[rows].float()
        each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return (each * weights).sum() / weights.sum()

    def answer(self, query: str) -> str:
        """Greedily."""
        torch = self._torch
        tokens = torch.tensor([self.prompt(query)], device=self._device)
        with torch.inference_mode():
            said = self.model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=_MOST_NEW,
                do_sample=False,
                pad_token_id=self._tokens.eos_token_id,
            )
        return str(self._tokens.decode(said[0, tokens.shape[1] :], skip_special_tokens=True))


def finetune_peft(
    items: Sequence[Item],
    folder: Path,
    settings: TrainingSettings,
    *,
    base: str | os.PathLike[str],
    held_out: Sequence[Item] = (),
    progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingReport:
    """Train an adapter and write ``folder/adapter``; can be killed and goes on, as ``finetune``.

    Args:
        items: (query, answer, weight above 0).
        folder: of the run.
        settings: how; ``kind`` must be "lora".
        base: folder of a model that transformers loads.
        held_out: items that are asked at the end, for the report alone.
        progress: told about every second.

    Raises:
        ConfigError: settings or a base that do not fit, or a folder that holds another run.
        InputError: no items, or one that is too long.
        MissingExtraError: torch, transformers or peft is not installed.
    """
    if settings.kind != "lora":
        raise ConfigError(
            f"{base} is no nano model, and training kind {settings.kind!r} is for those.", remedy="Take lora."
        )
    files = sorted(path for path in Path(base).glob("*") if path.is_file())
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    run = fingerprint(
        {**asdict(settings), "checkpoint_s": 0}, [list(i) for i in items], [list(i) for i in held_out], state
    )
    done = finished(folder, run)
    if done is not None:
        return done
    model = PeftModel(base, settings)
    parts = model.encoded(items)
    folder.mkdir(parents=True, exist_ok=True)
    cpu_s = train(model, parts, folder, run, settings, progress)
    model.model.eval()
    model.model.save_pretrained(folder / "adapter")
    exact = [model.answer(query).strip() == answer.strip() for query, answer, _ in held_out]
    report = TrainingReport(
        folder=str(folder),
        run=run,
        kind=settings.kind,
        steps=settings.steps,
        seed=settings.seed,
        precision="float32",
        n_items=len(items),
        n_params=model.n_params,
        n_learned=sum(tensor.numel() for tensor in model.learning.values()),
        loss=last_loss(folder, settings.steps),
        cpu_s=cpu_s,
        n_held_out=len(held_out),
        held_out_exact=sum(exact) / len(exact) if exact else None,
    )
    stated = {**msgspec.to_builtins(report), "folder": folder.name}
    write_card(folder, {"base": Path(base).name, "training": {**asdict(settings), **stated}})
    finish(folder, report)
    return report
