"""AdamW over one flat array (Loshchilov and Hutter, arXiv 1711.05101).

torch's own loads its compiler when it is made, four seconds of processor time, which is a tenth of what a
nano model takes to train. Here a step is a few operations whatever the number of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herdwise.experts.nano_torch import torch_module

Arrays = dict[str, NDArray[np.float32]]
_EPS = 1e-8


class AdamW:
    """Moves tensors down their gradients.

    The tensors become windows of one array, and their gradients of another, so ``tensor.grad`` must not be
    replaced.

    Args:
        tensors: what learns, by name; leaves that require gradients.
        betas: decay of the two moments.
        weight_decay: of matrices; vectors, the norms' weights, are left alone.
        clip: the gradient's longest norm.
    """

    def __init__(
        self, tensors: Mapping[str, Any], *, betas: tuple[float, float], weight_decay: float, clip: float
    ) -> None:
        torch = self._torch = torch_module()
        self._betas, self._decay, self._clip = betas, weight_decay, clip
        self.steps = 0
        self._shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self._flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors.values()])
        self._grad, self._first, self._second = (torch.zeros_like(self._flat) for _ in range(3))
        self._decays = torch.zeros_like(self._flat)
        windows = (self._windows(part) for part in (self._flat, self._grad, self._decays))
        for tensor, (own, grad, decays) in zip(
            tensors.values(), zip(*(w.values() for w in windows), strict=True), strict=True
        ):
            tensor.data, tensor.grad = own, grad
            decays.fill_(1.0 if tensor.ndim > 1 else 0.0)

    def step(self, lr: float) -> None:
        """One step by the gradients that have come together, which are then 0 again."""
        torch, (beta1, beta2), grad = self._torch, self._betas, self._grad
        self.steps += 1
        with torch.no_grad():
            norm = float(torch.linalg.vector_norm(grad))
            if norm > self._clip:
                grad *= self._clip / norm
            self._first.lerp_(grad, 1 - beta1)
            self._second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            spread = (self._second / (1 - beta2**self.steps)).sqrt_().add_(_EPS)
            self._flat.addcmul_(self._flat, self._decays, value=-lr * self._decay)
            self._flat.addcdiv_(self._first, spread, value=-lr / (1 - beta1**self.steps))
            grad.zero_()

    def state(self) -> tuple[Arrays, Arrays, Arrays]:
        """Copies of the tensors and their two moments, by name."""
        weights, first, second = (
            {name: window.cpu().numpy().copy() for name, window in self._windows(part).items()}
            for part in (self._flat, self._first, self._second)
        )
        return weights, first, second

    def restore(
        self,
        steps: int,
        weights: Mapping[str, NDArray[Any]],
        first: Mapping[str, NDArray[Any]],
        second: Mapping[str, NDArray[Any]],
    ) -> None:
        """Go on from what ``state`` gave after so many steps."""
        self.steps = steps
        for part, stored in ((self._flat, weights), (self._first, first), (self._second, second)):
            for name, window in self._windows(part).items():
                window.copy_(self._torch.from_numpy(np.array(stored[name], np.float32)))

    def _windows(self, flat: Any) -> dict[str, Any]:
        windows, start = {}, 0
        for name, shape in self._shapes.items():
            size = int(np.prod(shape))
            windows[name] = flat[start : start + size].view(shape)
            start += size
        return windows
