"""What an answer of a nano model takes: milliseconds to the first token, tokens per second, on one core.

    python benchmarks/bench_embedded.py [--model FOLDER] [--width 96 --layers 4] [--repeats 200]

Asks (1) the forward pass alone, (2) the embedded backend, streamed, as the endpoint asks it, and (3) many
prompts in one batch. In the same run, in turns, and where they are installed: the same model in torch, and in
onnxruntime (which needs torch to be exported), both with a cache of keys and values; checked to say the same.
Without --model the weights are drawn: the time is the same, the answers are babble.

Engines run in one thread, and their processor time is told, which on a quiet machine is the time: of the
faster quartile, as others' work on the core slows the rest. The backend's figures are times of the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.backends.embedded import Embedded
from herdwise.backends.nano.folder import NanoConfig, read_model, write_model
from herdwise.backends.nano.model import NanoModel
from herdwise.backends.nano.tokens import END, PAD
from herdwise.experts.nano_torch import initial_tensors

#: Bytes of the question.
N_PROMPT = 60
N_NEW = 60

Generate = Callable[[list[int], int], Iterator[int]]


def drawn(folder: Path, width: int, layers: int) -> Path:
    """A model with drawn weights."""
    hidden = -(-width * 8 // 3 // 16) * 16
    config = NanoConfig(width, layers, 4, 4, hidden, max_context=192)
    return write_model(folder, config, dict(initial_tensors(config, 0)), {"what": "drawn weights"})


def numpy_engine(folder: Path) -> Generate:
    """herdwise's own."""
    model = NanoModel.load(folder)

    def generate(prompt: list[int], n: int) -> Iterator[int]:
        return (token.token for token in model.generate(prompt, n))

    return generate


def torch_step(folder: Path) -> Any:
    """The model as a torch module: (tokens, keys, values, turns) -> (logits, keys, values)."""
    torch = import_module("torch")
    config, tensors = read_model(folder)
    given = {name: torch.from_numpy(t) for name, t in tensors.items()}
    heads, hd = config.heads, config.head_dim

    class Step(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, tokens: Any, keys: Any, values: Any, cos: Any, sin: Any, hidden: Any) -> Any:
            def normed(x: Any, name: str) -> Any:
                return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + config.norm_eps) * given[name]

            def turned(x: Any) -> Any:
                a, b = x[..., : hd // 2], x[..., hd // 2 :]
                return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

            x = given["model.embed_tokens.weight"][tokens]
            all_keys, all_values = [], []
            for i in range(config.layers):
                at = f"model.layers.{i}"
                h = normed(x, f"{at}.input_layernorm.weight")
                q, k, v = (
                    (h @ given[f"{at}.self_attn.{p}_proj.weight"].T).view(-1, n, hd).transpose(0, 1)
                    for p, n in (("q", heads), ("k", config.kv_heads), ("v", config.kv_heads))
                )
                k, v = torch.cat([keys[i], turned(k)], 1), torch.cat([values[i], v], 1)
                all_keys.append(k)
                all_values.append(v)
                scores = turned(q) @ k.transpose(1, 2) * hd**-0.5 + hidden
                seen = (scores.softmax(-1) @ v).transpose(0, 1).reshape(-1, config.width)
                x = x + seen @ given[f"{at}.self_attn.o_proj.weight"].T
                h = normed(x, f"{at}.post_attention_layernorm.weight")
                gate = h @ given[f"{at}.mlp.gate_proj.weight"].T
                wide = gate * torch.sigmoid(gate) * (h @ given[f"{at}.mlp.up_proj.weight"].T)
                x = x + wide @ given[f"{at}.mlp.down_proj.weight"].T
            logits = normed(x[-1], "model.norm.weight") @ given["model.embed_tokens.weight"].T
            return logits, torch.stack(all_keys), torch.stack(all_values)

    if config.heads != config.kv_heads:
        raise SystemExit("the references are written for models with as many heads of keys as of queries")
    return Step().eval()


def stepped(folder: Path, step: Callable[..., tuple[Any, Any, Any]]) -> Generate:
    """An engine around a step that takes and gives numpy arrays."""
    config = NanoModel.load(folder).config
    half = config.head_dim // 2
    angle = np.arange(config.max_context)[:, None] * config.rope_theta ** -(np.arange(half) / half)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def generate(prompt: list[int], n: int) -> Iterator[int]:
        keys = values = np.zeros((config.layers, config.kv_heads, 0, config.head_dim), np.float32)
        tokens, at = np.array(prompt), 0
        for _ in range(n):
            end = at + len(tokens)
            hidden = np.where(np.arange(end) > np.arange(at, end)[:, None], -1e30, 0).astype(np.float32)
            logits, keys, values = step(tokens, keys, values, cos[at:end], sin[at:end], hidden)
            logits = np.array(logits)
            logits[PAD:END] = -np.inf
            token = int(logits.argmax())
            yield token
            if token == END:
                return
            tokens, at = np.array([token]), end

    return generate


def torch_engine(folder: Path) -> Generate:
    """torch, eager."""
    torch = import_module("torch")
    torch.set_num_threads(1)
    module = torch_step(folder)

    def step(*given: Any) -> tuple[Any, Any, Any]:
        with torch.inference_mode():
            logits, keys, values = module(*(torch.from_numpy(np.ascontiguousarray(part)) for part in given))
        return logits.numpy(), keys.numpy(), values.numpy()

    return stepped(folder, step)


def onnx_engine(folder: Path) -> Generate:
    """onnxruntime, its graph exported from torch."""
    torch, onnxruntime = import_module("torch"), import_module("onnxruntime")
    config = NanoModel.load(folder).config
    past = torch.zeros(config.layers, config.kv_heads, 3, config.head_dim)
    turn = torch.zeros(2, config.head_dim // 2)
    names = ["tokens", "keys", "values", "cos", "sin", "hidden"]
    axes = {
        "tokens": {0: "new"},
        "keys": {2: "past"},
        "values": {2: "past"},
        "cos": {0: "new"},
        "sin": {0: "new"},
        "hidden": {0: "new", 1: "all"},
    }
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "step.onnx"
        torch.onnx.export(
            torch_step(folder),
            (torch.zeros(2, dtype=torch.int64), past, past, turn, turn, torch.zeros(2, 5)),
            path,
            input_names=names,
            output_names=["logits", "all_keys", "all_values"],
            dynamic_axes=axes,
            dynamo=False,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])

    def step(*given: Any) -> tuple[Any, Any, Any]:
        logits, keys, values = session.run(None, dict(zip(names, given, strict=True)))
        return logits, keys, values

    return stepped(folder, step)


def timed(generate: Generate, prompt: list[int]) -> tuple[float, float, list[int]]:
    """Milliseconds to the first token, tokens per second after it, and the tokens."""
    started = time.thread_time()
    said = generate(prompt, N_NEW)
    tokens = [next(said)]
    first = time.thread_time()
    tokens += said
    after_s = time.thread_time() - first
    return (first - started) * 1e3, (len(tokens) - 1) / after_s if len(tokens) > 1 else float("nan"), tokens


async def backend(folder: Path, question: str, repeats: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the first text and of the whole answer, streamed by the backend."""
    one = Embedded("bench", folder=folder)
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": N_NEW}
    firsts, wholes = [], []
    for _ in range(repeats):
        started, first = time.perf_counter(), 0.0
        async for chunk in one.stream(body):
            if chunk.text and not first:
                first = time.perf_counter() - started
        firsts.append(first * 1e3)
        wholes.append((time.perf_counter() - started) * 1e3)
    await one.close()
    return firsts, wholes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=100)
    given = parser.parse_args()
    threadpool_limits(1, user_api="blas")
    with tempfile.TemporaryDirectory() as made:
        folder = given.model or drawn(Path(made), given.width, given.layers)
        model = NanoModel.load(folder)
        question = ("what is the date of " * 9)[:N_PROMPT]
        prompt = model.tokens.encode_prompt(question)
        engines: dict[str, Generate] = {"numpy (herdwise)": numpy_engine(folder)}
        for name, make in (("torch, eager", torch_engine), ("onnxruntime", onnx_engine)):
            try:
                engines[name] = make(folder)
            except ImportError as error:
                print(f"{name}: not measured, {error.name} is not installed")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
        expected = timed(engines["numpy (herdwise)"], prompt)[2]
        for name, engine in engines.items():
            if timed(engine, prompt)[2] != expected:
                raise SystemExit(f"{name} does not say what numpy does")
        for _ in range(given.repeats):
            for name, engine in engines.items():
                found[name].append(timed(engine, prompt)[:2])
        print(
            f"{model.config.n_params / 1e6:.2f}M parameters, a prompt of {N_PROMPT} bytes,"
            f" an answer of {len(expected)} tokens; {given.repeats} repeats"
        )
        for name, pairs in found.items():
            firsts, paces = zip(*pairs, strict=True)
            first = statistics.quantiles(firsts, n=4)[0]
            pace = statistics.quantiles(paces, n=4)[-1]
            print(f"  {name:18} first token {first:6.2f} ms, then {pace:7.0f} tokens/s")
        texts, wholes = asyncio.run(backend(folder, question, given.repeats))
        for name, took in (("first text", texts), ("whole answer", wholes)):
            p50 = statistics.median(took)
            print(f"  embedded backend   {name:12} {min(took):6.2f} ms at best, p50 {p50:.2f}")
        prompts = [f"{i} {question}"[:N_PROMPT] for i in range(256)]
        started = time.thread_time()
        answers = model.answers(prompts, N_NEW)
        spent_s = time.thread_time() - started
        n = sum(len(answer.logprobs) for answer in answers)
        print(f"  batch of 256       {256 / spent_s:.0f} answers/s, {n / spent_s:.0f} tokens/s")


if __name__ == "__main__":
    main()
