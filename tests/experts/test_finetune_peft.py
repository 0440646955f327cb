from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from herdwise.core.errors import ConfigError, InputError
from herdwise.experts.finetune import TrainingSettings, finetune
from herdwise.experts.training_state import read_losses

reason = "the extra `train` is not installed"
torch: Any = pytest.importorskip("torch", reason=reason)
transformers: Any = pytest.importorskip("transformers", reason=reason)
peft: Any = pytest.importorskip("peft", reason=reason)

#: peft asks transformers by names that the latter has renamed.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

ITEMS = [(f"say {letter}", letter * 2, 1.0) for letter in "abcdefgh"]
LORA = TrainingSettings(
    kind="lora",
    steps=40,
    batch=8,
    lr=2e-2,
    max_context=32,
    lora_rank=8,
    lora_targets=("q_proj", "v_proj", "up_proj"),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a tokenizer of letters and a chat template, its weights drawn."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("base")
    letters = {letter: i for i, letter in enumerate("_abcdefghijklmnopqrstuvwxyz <>")}
    tokenizer = Tokenizer(models.WordLevel(letters | {"</s>": len(letters)}, unk_token="_"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="_")
    fast.chat_template = "<{{ messages[0]['content'] }}>"
    fast.save_pretrained(folder)
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(letters) + 1,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_an_adapter_learns_and_peft_loads_it_onto_the_base(base: Path, tmp_path: Path) -> None:
    report = finetune(ITEMS, tmp_path, LORA, base=base, held_out=ITEMS[:2])
    losses = [line["loss"] for line in read_losses(tmp_path)]
    assert losses[-1] < losses[0]
    assert 0 < report.n_learned < report.n_params
    assert report.held_out_exact in {0.0, 0.5, 1.0}
    llama = transformers.AutoModelForCausalLM.from_pretrained(base)
    loaded = peft.PeftModel.from_pretrained(llama, tmp_path / "adapter")
    moved = [p for name, p in loaded.named_parameters() if "lora_B" in name]
    assert moved
    assert all(p.abs().max() > 0 for p in moved)
    assert finetune(ITEMS, tmp_path, LORA, base=base, held_out=ITEMS[:2]) == report


def test_a_run_that_was_cut_off_goes_on_to_the_same_adapter(base: Path, tmp_path: Path) -> None:
    class CutOff(Exception):  # noqa: N818
        pass

    def cut(_: object) -> None:
        raise CutOff

    settings = replace(LORA, steps=12, checkpoint_s=1e-9)
    with pytest.raises(CutOff):
        # Progress is told at the last step, after its checkpoint.
        finetune(ITEMS, tmp_path / "cut", settings, base=base, progress=cut)
    assert (tmp_path / "cut/checkpoint/state.safetensors").exists()
    for name in ("cut", "whole"):
        finetune(ITEMS, tmp_path / name, settings, base=base)
    one, other = (
        (tmp_path / name / "adapter/adapter_model.safetensors").read_bytes() for name in ("cut", "whole")
    )
    assert one == other


def test_only_lora_and_only_what_fits_is_taken(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no nano model"):
        finetune(ITEMS, tmp_path, replace(LORA, kind="full"), base=base)
    with pytest.raises(InputError, match="item 0 has"):
        finetune([("a" * 40, "b", 1.0)], tmp_path, LORA, base=base)
    with pytest.raises(ConfigError, match="no LoRA on nowhere"):
        finetune(ITEMS, tmp_path, replace(LORA, lora_targets=("nowhere",)), base=base)
