"""What a training step of a nano model takes: processor milliseconds, by size and precision.

    python benchmarks/bench_training.py [--rounds 3]        (needs the extra `train`)

32 examples of 38 to 46 bytes with answers of 11, one thread. Sizes and precisions take turns; the fastest
step and the median are told.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np

from herdwise.experts.adamw import AdamW
from herdwise.experts.nano_torch import TorchNano, examples, initial_tensors, torch_module
from herdwise.experts.training_settings import TrainingSettings

SIZES = ((48, 3), (64, 4), (96, 4), (160, 5))
PRECISIONS = ("float32", "bfloat16")
STEPS = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch_module().set_num_threads(1)
    rng = np.random.default_rng(0)
    batch = examples(
        [
            (rng.integers(0, 256, rng.integers(38, 46)).tolist(), rng.integers(0, 256, 11).tolist(), 1.0)
            for _ in range(32)
        ]
    )
    took: dict[tuple[int, int, int, str], list[float]] = {}
    for _ in range(given.rounds):
        for width, layers in SIZES:
            for precision in PRECISIONS:
                settings = replace(TrainingSettings(), width=width, layers=layers)
                config = settings.config()
                model = TorchNano(config, initial_tensors(config, 0), precision=precision)
                optimiser = AdamW(model.learning, betas=(0.9, 0.98), weight_decay=0.01, clip=1.0)
                for step in range(STEPS + 2):
                    started = time.process_time()
                    model.loss(batch).backward()
                    optimiser.step(1e-3)
                    if step >= 2:
                        key = (width, layers, config.n_params, precision)
                        took.setdefault(key, []).append((time.process_time() - started) * 1e3)
    for (width, layers, n_params, precision), steps in took.items():
        print(
            f"width {width:3}, {layers} layers, {n_params / 1e6:.2f}M, {precision:8}"
            f" {min(steps):6.1f} ms at best, p50 {statistics.median(steps):.1f}"
        )


if __name__ == "__main__":
    main()
