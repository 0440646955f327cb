"""Adam: stochastic gradient descent with a step size of its own for each parameter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Adam:
    """Kingma and Ba 2015, with weight decay apart from the gradient (Loshchilov and Hutter 2019).

    Args:
        parameters: changed in place.
        decay: weight decay per unit of learning rate.
    """

    def __init__(self, parameters: Mapping[str, np.ndarray], *, decay: float) -> None:
        self.parameters, self.decay, self.steps = parameters, decay, 0
        self._first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._second = {name: np.zeros_like(value) for name, value in parameters.items()}

    def step(self, gradient: Mapping[str, np.ndarray], rate: float) -> None:
        """Move the parameters named in ``gradient`` once, at a learning rate."""
        self.steps += 1
        for name, slope in gradient.items():
            first, second = self._first[name], self._second[name]
            first += 0.1 * (slope - first)
            second += 0.01 * (slope**2 - second)
            move = (first / (1.0 - 0.9**self.steps)) / (np.sqrt(second / (1.0 - 0.99**self.steps)) + 1e-8)
            self.parameters[name][...] *= 1.0 - rate * self.decay
            self.parameters[name][...] -= rate * move
