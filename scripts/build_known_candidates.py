"""Writes data/known_candidates.csv: what ``like: <candidate>`` in a config can stand on.

Mean recorded quality on the shipped mmlu_pro outcomes, over the questions that every candidate ran, so
that a candidate with gaps is not flattered by the questions it missed.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from herdwise.storage.outcomes import read_outcomes


def main() -> None:
    """Write the table and print it."""
    table = read_outcomes("mmlu_pro")
    quality = table.matrix()
    common = np.isfinite(quality).all(axis=1)
    means = quality[common].mean(axis=0)
    path = Path(__file__).parent.parent / "src/herdwise/data/known_candidates.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["candidate", "quality", "params_b", "active_params_b"])
        for candidate, mean in zip(table.herd, means, strict=True):
            row = [candidate.name, f"{mean:.4f}", candidate.params_b or "", candidate.active_params_b or ""]
            writer.writerow(row)
            print(*row)
    print(f"{int(common.sum())} common questions -> {path.name}")


if __name__ == "__main__":
    main()
