"""A nano model as a GGUF file, for llama.cpp and what is built on it. Needs the package ``gguf``."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from herdwise.backends.nano.folder import read_model
from herdwise.backends.nano.tokens import ANSWER, END, FIRST_WORD, PAD, QUESTION
from herdwise.core.errors import MissingExtraError

_MARKS = {PAD: "<|pad|>", QUESTION: "<|question|>", ANSWER: "<|answer|>", END: "<|end|>"}
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
#: Like ``ByteTokens.encode_prompt`` of the last message.
_TEMPLATE = "{{ '<|question|>' + (messages[-1]['content'] | trim) + '<|answer|>' }}"


def write_gguf(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: Literal["float32", "float16"] = "float16",
) -> Path:
    """Write a model folder as one GGUF file.

    The alphabet is written as that of a byte-level BPE without merges, but for one that no UTF-8 text holds,
    since readers refuse an empty list. Norms stay float32, as llama.cpp wants them.

    Args:
        model: folder.
        out: the file.
        dtype: of the matrices.

    Raises:
        ArtefactError: a damaged model.
        MissingExtraError: the package gguf is not installed.
    """
    try:
        gguf: Any = import_module("gguf")
    except ImportError as error:
        raise MissingExtraError("writing GGUF", extra="train") from error
    config, tensors = read_model(model)
    path = Path(out)
    part = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(part, "llama")
    writer.add_name(Path(model).name)
    writer.add_context_length(config.max_context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.n_tokens)
    letters = _letters()
    words = ["".join(letters[byte] for byte in word.encode()) for word in config.words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*letters, *_MARKS.values(), *words])
    normal, control, own = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED
    writer.add_token_types([normal] * PAD + [control] * (FIRST_WORD - PAD) + [own] * len(words))
    writer.add_token_merges([f"{letters[0xFE]} {letters[0xFF]}"])
    writer.add_bos_token_id(QUESTION)
    writer.add_eos_token_id(END)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(False)
    writer.add_chat_template(_TEMPLATE)
    for name, tensor in tensors.items():
        kept: NDArray[Any] = tensor
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            kept = _interleaved(tensor, config.head_dim)
        writer.add_tensor(_name(name), np.ascontiguousarray(kept if tensor.ndim == 1 else kept.astype(dtype)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(path)
    return path


def _interleaved(matrix: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """llama.cpp turns neighbours where Hugging Face's layout turns halves."""
    halves = matrix.reshape(-1, 2, head_dim // 2, matrix.shape[1])
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def _name(name: str) -> str:
    own = name.removesuffix(".weight")
    if own == "model.embed_tokens":
        return "token_embd.weight"
    if own == "model.norm":
        return "output_norm.weight"
    _, _, layer, *rest = own.split(".")
    return f"blk.{layer}.{_NAMES['.'.join(rest)]}.weight"


def _letters() -> list[str]:
    """GPT-2's printable letter for each byte: its own where that prints, else the next from U+0100."""
    printing = {
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    }
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in printing else next(spare)) for byte in range(256)]
