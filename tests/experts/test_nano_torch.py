from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from herdwise.backends.nano.folder import read_model
from herdwise.backends.nano.model import NanoModel
from herdwise.experts.nano_torch import TorchNano, best_precision, examples, initial_tensors

torch: Any = pytest.importorskip("torch", reason="the extra `train` is not installed")


def test_training_computes_what_inference_does(nano_folder: Path) -> None:
    config, tensors = read_model(nano_folder)
    model, trained = NanoModel(config, tensors), TorchNano(config, tensors)
    for question in ("hello there", "a much longer question than that"):
        said = model.tokens.encode_prompt(question)
        for token in model.generate(said, 5, n_top=len(model.tokens)):
            logits = trained.logits(np.array([said]), torch.tensor([len(said) - 1]))[0]
            logits[256:259] = -torch.inf
            expected = torch.log_softmax(logits, 0).detach().numpy()
            found = np.full(len(expected), -np.inf)
            for number, logprob in token.top:
                found[number] = logprob
            np.testing.assert_allclose(found, expected, atol=2e-4)
            said.append(token.token)


def test_transformers_loads_the_folder_and_says_the_same(nano_folder: Path) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    llama = transformers.LlamaForCausalLM.from_pretrained(nano_folder)
    config, tensors = read_model(nano_folder)
    tokens = NanoModel(config, tensors).tokens.encode_prompt("hello there")
    with torch.no_grad():
        expected = llama(torch.tensor([tokens])).logits[0, -1].numpy()
        found = (
            TorchNano(config, tensors).logits(np.array([tokens]), torch.tensor([len(tokens) - 1]))[0].numpy()
        )
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_padding_and_neighbours_in_a_batch_change_no_loss(nano_folder: Path) -> None:
    model = TorchNano(*read_model(nano_folder))
    parts = [([257, 1, 2, 258], [3, 259], 1.0), ([257, *range(20), 258], [7, 8, 259], 1.0)]
    alone = [float(model.loss(examples([part])).detach()) for part in parts]
    together = float(model.loss(examples(parts)).detach())
    assert together == pytest.approx((2 * alone[0] + 3 * alone[1]) / 5, abs=1e-5)


def test_weights_count_by_token() -> None:
    batch = examples([([1, 2], [3, 4], 2.0), ([5], [6], 0.5)])
    assert batch.tokens.tolist() == [[1, 2, 3], [5, 256, 256]]
    assert batch.rows.tolist() == [1, 2, 3]
    assert batch.targets.tolist() == [3, 4, 6]
    assert batch.weights.tolist() == [2.0, 2.0, 0.5]


def test_bfloat16_products_come_close_in_loss_and_gradients(nano_folder: Path) -> None:
    config, tensors = read_model(nano_folder)
    batch = examples([([257, *b"turn ab", 258], [*b"ba", 259], 1.0)])
    gradients = []
    for precision in ("float32", "bfloat16"):
        model = TorchNano(config, tensors, precision=precision)
        loss = model.loss(batch)
        loss.backward()
        gradients.append((float(loss.detach()), model.learning["model.layers.0.mlp.down_proj.weight"].grad))
    (exact, sharp), (rough, blurred) = gradients
    assert rough == pytest.approx(exact, rel=0.02)
    cosine = torch.nn.functional.cosine_similarity(sharp.flatten(), blurred.flatten(), dim=0)
    assert cosine > 0.99
    assert best_precision("cuda") == "float32"


def test_first_weights_are_the_same_on_every_machine_and_depend_on_the_seed(nano_folder: Path) -> None:
    config = read_model(nano_folder)[0]
    name = "model.layers.0.self_attn.q_proj.weight"
    one, again, other = (initial_tensors(config, seed)[name] for seed in (1, 1, 2))
    assert (one == again).all()
    assert not (one == other).any()
    assert one.std() == pytest.approx(config.width**-0.5, rel=0.1)
