"""Model folders: a Hugging Face Llama checkpoint with its bytes' alphabet and a card, read and written.

    config.json         LlamaConfig's keys, and "herdwise": format, words, seed
    model.safetensors   Hugging Face's names; float32, float16, or int8 with float32 "<name>.scale" per row
    card.json           data, figures and seed, for people

In its float forms transformers and peft load the folder as it stands.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from herdwise.backends.nano.tokens import END, PAD, QUESTION, ByteTokens
from herdwise.core.errors import ArtefactError

FORMAT = 1
#: The largest weights file that is read; a nano model has a few MB.
MAX_BYTES = 2**30
SCALE = ".scale"
#: A folder may be a stranger's: what costs memory without standing in the weights file is bounded too.
_MOST_LAYERS, _MOST_CONTEXT, _MOST_JSON_BYTES = 256, 2**16, 2**24

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class NanoConfig:
    """Shape and alphabet of a model.

    Args:
        width: of the residual stream.
        layers, heads: how many.
        kv_heads: heads of keys and values; divides ``heads``.
        hidden: width of the feed-forward part.
        max_context: tokens of question and answer together.
        words: word tokens beside the bytes.
        seed: of the training, kept for the record.
        rope_theta, norm_eps: as in Llama.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    max_context: int
    words: tuple[str, ...] = ()
    seed: int = 0
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        counts = (self.width, self.layers, self.heads, self.kv_heads, self.hidden, self.max_context)
        if min(counts) < 1:
            raise ArtefactError("a model's width, layers, heads, hidden and max_context must be 1 or more.")
        if self.layers > _MOST_LAYERS or self.max_context > _MOST_CONTEXT:
            raise ArtefactError(
                f"{self.layers} layers and a context of {self.max_context}: no nano model has as many.",
                remedy=f"At most {_MOST_LAYERS} and {_MOST_CONTEXT} can be run.",
            )
        if not (0 < self.rope_theta < math.inf and 0 <= self.norm_eps < math.inf):
            raise ArtefactError(
                f"rope_theta {self.rope_theta} or norm_eps {self.norm_eps} is out of range.",
                remedy="rope_theta must be above 0, rms_norm_eps 0 or more.",
            )
        if self.width % (2 * self.heads) or self.heads % self.kv_heads:
            raise ArtefactError(
                f"width {self.width}, {self.heads} heads and {self.kv_heads} heads of keys do not divide.",
                remedy="The width must be an even multiple of the heads, and these a multiple of kv_heads.",
            )

    @property
    def head_dim(self) -> int:
        """Numbers of one head."""
        return self.width // self.heads

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        return len(ByteTokens(self.words))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's name and shape; embeddings are tied, so there is no ``lm_head``."""
        d, kv = self.width, self.kv_heads * self.head_dim
        own = {
            "self_attn.q_proj": (d, d),
            "self_attn.k_proj": (kv, d),
            "self_attn.v_proj": (kv, d),
            "self_attn.o_proj": (d, d),
            "mlp.gate_proj": (self.hidden, d),
            "mlp.up_proj": (self.hidden, d),
            "mlp.down_proj": (d, self.hidden),
            "input_layernorm": (d,),
            "post_attention_layernorm": (d,),
        }
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.n_tokens, d)}
        for i in range(self.layers):
            shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in own.items()}
        return {**shapes, "model.norm.weight": (d,)}

    @property
    def n_params(self) -> int:
        """Numbers that are learned."""
        return sum(int(np.prod(shape)) for shape in self.shapes().values())

    def to_json(self, dtype: str) -> dict[str, Any]:
        """What config.json holds."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_context,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "vocab_size": self.n_tokens,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "pad_token_id": PAD,
            "bos_token_id": QUESTION,
            "eos_token_id": END,
            "dtype": dtype,
            "herdwise": {"format": FORMAT, "words": list(self.words), "seed": self.seed},
        }


def is_nano(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder's config.json says that it holds a nano model.

    Raises:
        ArtefactError: when there is no config.json, or it is not a JSON object.
    """
    return isinstance(_read_json(Path(folder) / "config.json").get("herdwise"), Mapping)


def read_config(folder: str | os.PathLike[str]) -> NanoConfig:
    """Shape and alphabet from config.json.

    Raises:
        ArtefactError: when it is missing, not a nano model's, or of a later format.
    """
    path = Path(folder) / "config.json"
    stated = _read_json(path)
    own = stated.get("herdwise")
    if not isinstance(own, Mapping) or stated.get("model_type") != "llama":
        raise ArtefactError(f"{path}: not a nano model: it lacks the object 'herdwise', or is no Llama.")
    if own.get("format") != FORMAT:
        raise ArtefactError(
            f"{path}: format {own.get('format')!r}, and {FORMAT} can be read.", remedy="Upgrade herdwise."
        )
    try:
        config = NanoConfig(
            width=_count(stated["hidden_size"]),
            layers=_count(stated["num_hidden_layers"]),
            heads=_count(stated["num_attention_heads"]),
            kv_heads=_count(stated["num_key_value_heads"]),
            hidden=_count(stated["intermediate_size"]),
            max_context=_count(stated["max_position_embeddings"]),
            words=tuple(str(word) for word in own["words"]),
            seed=int(own["seed"]),
            rope_theta=float(stated["rope_theta"]),
            norm_eps=float(stated["rms_norm_eps"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, ArtefactError) as error:
        told = error.message if isinstance(error, ArtefactError) else repr(error)
        raise ArtefactError(f"{path}: not a nano model's config ({told}).") from error
    if not stated.get("tie_word_embeddings") or stated.get("attention_bias") or stated.get("mlp_bias"):
        raise ArtefactError(f"{path}: only tied embeddings, and layers without biases, can be run.")
    return config


def read_model(folder: str | os.PathLike[str]) -> tuple[NanoConfig, Tensors]:
    """Config and weights as float32, int8 multiplied out.

    Raises:
        ArtefactError: when a file is missing, too large or damaged, or a tensor is of another shape.
    """
    config = read_config(folder)
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise ArtefactError(f"{path}: there is no such file.")
    if path.stat().st_size > MAX_BYTES:
        raise ArtefactError(f"{path}: larger than {MAX_BYTES} bytes, which no nano model is.")
    try:
        stored = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # numpy has no name for some types that the format knows.
        raise ArtefactError(f"{path}: not a readable safetensors file ({error}).") from error
    return config, {name: _as_float(name, shape, stored, path) for name, shape in config.shapes().items()}


def _as_float(name: str, shape: tuple[int, ...], stored: Tensors, path: Path) -> NDArray[np.float32]:
    tensor = stored.get(name)
    if tensor is None or tensor.shape != shape:
        found = "is missing" if tensor is None else f"has the shape {tensor.shape}"
        raise ArtefactError(f"{path}: {name} {found}; {shape} was expected.")
    whole = np.asarray(tensor, np.float32)
    if tensor.dtype == np.int8:
        scale = stored.get(name + SCALE)
        if scale is None or scale.shape != shape[:1]:
            raise ArtefactError(f"{path}: {name} is int8 without {name}{SCALE} of one scale per row.")
        whole = whole * np.asarray(scale, np.float32).reshape(-1, *(1,) * (len(shape) - 1))
    if not np.isfinite(whole).all():
        raise ArtefactError(f"{path}: {name} holds numbers that are not finite.")
    return whole


def write_model(
    folder: str | os.PathLike[str],
    config: NanoConfig,
    tensors: Mapping[str, NDArray[Any]],
    card: Mapping[str, Any],
) -> Path:
    """Write a model folder; the weights come last, so a folder with weights is whole.

    Args:
        folder: made where it is missing; other files in it stay.
        config: shape and alphabet.
        tensors: by name, in the type that is to be stored; of int8 also the scales.
        card: what people should know.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    kinds = {str(t.dtype) for name, t in tensors.items() if not name.endswith(SCALE) and t.ndim > 1}
    dtype = kinds.pop() if len(kinds) == 1 else "float32"
    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    _replace(path / "config.json", _pretty(config.to_json(dtype)))
    write_card(path, card)
    # Not by save_file, which lets nobody but the owner read it.
    _replace(path / "model.safetensors", save(whole, metadata={"format": "pt"}))
    return path


def read_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The model's card.

    Raises:
        ArtefactError: when it is missing or not a JSON object.
    """
    return _read_json(Path(folder) / "card.json")


def write_card(folder: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
    """Write the model's card anew."""
    _replace(Path(folder) / "card.json", _pretty(card))


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ArtefactError(f"{path}: larger than {_MOST_JSON_BYTES} bytes.")
        value = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror}).") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtefactError(f"{path}: not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: not a JSON object.")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no count")
    return value
