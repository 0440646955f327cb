"""all-MiniLM-L6-v2 as an int8 ONNX graph, written node by node from its weights: no torch, no exporter."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from herdwise.core.errors import MissingExtraError

N_LAYERS, N_HEADS, WIDTH = 6, 12, 384
#: The model was trained on texts of at most this many tokens.
MAX_TOKENS = 256
_EPSILON = 1e-12
#: 17 is the first opset with LayerNormalization.
_OPSET, _IR_VERSION = 17, 8


class _Graph:
    """Collects nodes and constants; each method returns the name of what it computes."""

    def __init__(self, make_node: Callable[..., Any], weights: dict[str, np.ndarray]) -> None:
        self.make_node, self.weights = make_node, weights
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def linear(self, x: str, *names: str, scales: Sequence[float] = (1.0,)) -> str:
        """Dense layers side by side, as one product."""
        weight = np.concatenate(
            [self.weights[f"{name}.weight"].T * s for name, s in zip(names, scales, strict=True)], axis=1
        )
        bias = np.concatenate(
            [self.weights[f"{name}.bias"] * s for name, s in zip(names, scales, strict=True)]
        )
        product = self.node("MatMul", [x, self.constant(np.ascontiguousarray(weight, dtype=np.float32))])
        return self.node("Add", [product, self.constant(bias.astype(np.float32))])

    def norm(self, x: str, name: str) -> str:
        scale, bias = (self.constant(self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.node("LayerNormalization", [x, scale, bias], axis=-1, epsilon=_EPSILON)

    def gelu(self, x: str) -> str:
        """The exact form, with erf; onnxruntime fuses the five nodes."""
        scaled = self.node("Div", [x, self.constant(np.array(math.sqrt(2), dtype=np.float32))])
        one_more = self.node(
            "Add", [self.node("Erf", [scaled]), self.constant(np.array(1, dtype=np.float32))]
        )
        return self.node(
            "Mul", [self.node("Mul", [x, one_more]), self.constant(np.array(0.5, dtype=np.float32))]
        )

    def attention(self, x: str, prefix: str) -> str:
        head = WIDTH // N_HEADS
        names = [f"{prefix}.self.{part}" for part in ("query", "key", "value")]
        together = self.linear(x, *names, scales=(1 / math.sqrt(head), 1.0, 1.0))
        shape = self.constant(np.array([-1, 3, N_HEADS, head]))
        apart = self.node("Reshape", [together, shape])
        query, key, value = (
            self.node("Gather", [apart, self.constant(np.array(i))], axis=1) for i in range(3)
        )
        scores = self.node(
            "MatMul",
            [
                self.node("Transpose", [query], perm=[1, 0, 2]),
                self.node("Transpose", [key], perm=[1, 2, 0]),
            ],
        )
        mixed = self.node(
            "MatMul",
            [self.node("Softmax", [scores], axis=-1), self.node("Transpose", [value], perm=[1, 0, 2])],
        )
        joined = self.node("Transpose", [mixed], perm=[1, 0, 2])
        flat = self.node("Reshape", [joined, self.constant(np.array([-1, WIDTH]))])
        return self.linear(flat, f"{prefix}.output.dense")

    def layer(self, x: str, prefix: str) -> str:
        attended = self.node("Add", [self.attention(x, f"{prefix}.attention"), x])
        attended = self.norm(attended, f"{prefix}.attention.output.LayerNorm")
        inner = self.gelu(self.linear(attended, f"{prefix}.intermediate.dense"))
        outer = self.node("Add", [self.linear(inner, f"{prefix}.output.dense"), attended])
        return self.norm(outer, f"{prefix}.output.LayerNorm")


def build_graph(weights: Path, *, int8: bool = True) -> bytes:
    """The graph: token ids of one text, (n_tokens,) int64 -> their mean vector, (384,) float32.

    One text at a time, hence without padding or mask: with dynamic quantisation the padding, and even the
    neighbours, of a batch would change a text's vector, and a batch is no faster on a CPU. Products with
    weights and the embedding table are int8, per channel where that is a product.

    Args:
        weights: ``model.safetensors`` of all-MiniLM-L6-v2.
        int8: ``False`` leaves the weights in float32, four times the size: what int8 is measured against.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    try:
        onnx: Any = import_module("onnx")
        quantization: Any = import_module("onnxruntime.quantization")
    except ImportError as error:
        raise MissingExtraError("building the int8 encoder", extra="onnx") from error

    arrays = load_file(weights)
    helper = onnx.helper
    graph = _Graph(helper.make_node, arrays)
    ids = "token_ids"
    # Every token is of type 0, so its embedding can go into the positions'.
    positions = arrays["embeddings.position_embeddings.weight"][:MAX_TOKENS]
    positions = positions + arrays["embeddings.token_type_embeddings.weight"][0]
    zero, axes = (graph.constant(np.array([0])) for _ in range(2))
    placed = graph.node("Slice", [graph.constant(positions), zero, graph.node("Shape", [ids]), axes])
    table = graph.constant(arrays["embeddings.word_embeddings.weight"])
    x = graph.norm(graph.node("Add", [graph.node("Gather", [table, ids]), placed]), "embeddings.LayerNorm")
    for layer in range(N_LAYERS):
        x = graph.layer(x, f"encoder.layer.{layer}")
    vector = graph.node("ReduceMean", [x], axes=[0], keepdims=0)
    made = helper.make_graph(
        graph.nodes,
        "all-MiniLM-L6-v2",
        [helper.make_tensor_value_info(ids, onnx.TensorProto.INT64, ["n_tokens"])],
        [helper.make_tensor_value_info(vector, onnx.TensorProto.FLOAT, [WIDTH])],
        [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    if not int8:
        plain_bytes: bytes = model.SerializeToString()
        return plain_bytes
    # Shapes are known and nothing is to fold: without this mark onnxruntime advises its preprocessing, aloud.
    helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        plain, quantised = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, plain)
        quantization.quantize_dynamic(
            plain,
            quantised,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gather"],
        )
        return quantised.read_bytes()
