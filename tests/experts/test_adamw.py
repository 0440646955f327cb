from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from herdwise.experts.adamw import AdamW

torch: Any = pytest.importorskip("torch", reason="the extra `train` is not installed")


def made() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"matrix": (3, 2), "vector": (4,)}
    return {
        name: torch.from_numpy(rng.normal(size=shape).astype(np.float32)).requires_grad_()
        for name, shape in shapes.items()
    }


def loss(tensors: dict[str, Any]) -> Any:
    return (tensors["matrix"] ** 2).sum() * 3 + (tensors["vector"] - 1).abs().pow(3).sum()


def test_steps_are_those_of_the_papers_formula() -> None:
    tensors = made()
    expected = {name: t.detach().double().numpy() for name, t in tensors.items()}
    first, second = ({name: np.zeros_like(t) for name, t in expected.items()} for _ in range(2))
    optimiser = AdamW(tensors, betas=(0.9, 0.98), weight_decay=0.1, clip=1.5)
    for step in range(1, 6):
        grads = {
            "matrix": 6 * expected["matrix"],
            "vector": 3 * (expected["vector"] - 1) * np.abs(expected["vector"] - 1),
        }
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        for name, g in grads.items():
            g = g * min(1, 1.5 / norm)  # noqa: PLW2901
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.98 * second[name] + 0.02 * g**2
            if name == "matrix":
                expected[name] *= 1 - 0.05 * 0.1
            spread = np.sqrt(second[name] / (1 - 0.98**step)) + 1e-8
            expected[name] -= 0.05 * first[name] / (1 - 0.9**step) / spread
        loss(tensors).backward()
        optimiser.step(0.05)
        for name, tensor in tensors.items():
            np.testing.assert_allclose(tensor.detach().numpy(), expected[name], rtol=1e-4, atol=1e-6)


def test_what_is_restored_goes_on_to_the_same_numbers() -> None:
    one, other = made(), made()
    settings: dict[str, Any] = {"betas": (0.9, 0.98), "weight_decay": 0.1, "clip": 1.0}
    first, second = AdamW(one, **settings), AdamW(other, **settings)
    for _ in range(3):
        loss(one).backward()
        first.step(0.1)
    second.restore(first.steps, *first.state())
    for tensors, optimiser in ((one, first), (other, second)):
        loss(tensors).backward()
        optimiser.step(0.1)
    assert all((one[name] == other[name]).all() for name in one)
