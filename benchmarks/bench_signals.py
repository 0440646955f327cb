"""What each group of signals of form is worth to the default predictor; the table of docs/experiments.

    python benchmarks/bench_signals.py [--folders routerdc7,mmlu_pro,bfcl]

On the training split alone: the stack's predictions of rows that its members had not seen, averaged over
three seeds, with all signals and then without one group; paired differences of the routed quality in points
(one standard error), and of the squared error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from herdwise.encoding.form import N_SIGNALS, SIGNALS
from herdwise.encoding.static import StaticEncoder
from herdwise.encoding.tools import N_TOOL_SIGNALS, TOOL_SIGNALS
from herdwise.evaluation.averages import query_weights
from herdwise.prediction.base import PREDICTORS
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
FOLDERS = {"routerdc7": "correct", "mmlu_pro": "quality", "routerbench_partial": "quality", "bfcl": "quality"}
GROUPS: dict[str, tuple[str, ...]] = {
    "any signal": SIGNALS,
    "length": ("length",),
    "lines, sentences": ("lines", "sentences"),
    "character classes": ("space", "digit", "upper", "symbol"),
    "scripts": ("foreign", "ideograph"),
    "options": ("options", "choice"),
    "question form": ("asks", "ends_asking", "ends_open"),
    "formula, code, blank": ("formula", "code", "blank"),
    "skill: options, stem": ("number_options", "option_length", "stem", "figures"),
}
#: Groups of signals of offered tools, for folders that record tools.
TOOL_GROUPS: dict[str, tuple[str, ...]] = {
    "any tool": TOOL_SIGNALS,
    "number, size of tools": ("number", "single", "parameters", "length"),
    "tools suit": ("suits_in_meaning", "suits_in_words"),
}
SEEDS = (21, 22, 23)


def without(X: np.ndarray, dropped: Sequence[str]) -> np.ndarray:
    """Vectors less some signals; those that stay of a block keep their share of its length."""
    start = X.shape[1] - N_SIGNALS - N_TOOL_SIGNALS
    blocks = [X[:, :start]]
    for names, block in (
        (SIGNALS, X[:, start : start + N_SIGNALS]),
        (TOOL_SIGNALS, X[:, start + N_SIGNALS :]),
    ):
        kept = np.array([name not in dropped for name in names])
        length = np.linalg.norm(block, axis=1, keepdims=True) * np.sqrt(kept.mean())
        stays = block[:, kept]
        blocks.append(stays / np.maximum(np.linalg.norm(stays, axis=1, keepdims=True), 1e-6) * length)
    return np.concatenate(blocks, axis=1)


def routed(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, float]:
    """Quality of the left-out picks on queries that every candidate ran, and the mean squared error."""
    common = np.isfinite(Y).all(axis=1)
    quality, error = np.zeros(int(common.sum())), 0.0
    for seed in SEEDS:
        predicted = PREDICTORS.create("stack").fit(X, Y, seed=seed).left_out_
        assert predicted is not None  # noqa: S101 - the stack keeps them
        pick = predicted[common].argmax(axis=1)
        quality += Y[common][np.arange(len(pick)), pick] / len(SEEDS)
        error += float(np.nanmean((predicted - Y) ** 2)) / len(SEEDS)
    return quality, error


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folders", default="routerdc7,mmlu_pro")
    parser.add_argument("--only", default="", help="groups whose name holds this text")
    options = parser.parse_args()
    for folder in options.folders.split(","):
        if folder != "mmlu_pro" and not (SHARED / folder).is_dir():
            print(f"{folder}: not at hand, left out")
            continue
        table = read_outcomes(folder if folder == "mmlu_pro" else SHARED / folder).split("train")
        column = FOLDERS[folder]
        Y = table.matrix(column)[:, table.coverage(column) >= 0.95]
        X = StaticEncoder().encode(table.asked_texts(0, table.n_queries))
        names = np.asarray(table.benchmarks)[np.isfinite(Y).all(axis=1)].tolist()
        weights = query_weights(names, "macro")
        full, error = routed(X, Y)
        shares = weights / weights.sum()
        print(f"\n{folder}: micro {100 * full.mean():.2f}, macro {100 * shares @ full:.2f}, MSE {error:.4f}")
        recorded = table.tools is not None and any(table.tools)
        for group, dropped in (GROUPS | (TOOL_GROUPS if recorded else {})).items():
            if options.only not in group:
                continue
            less, worse = routed(without(X, dropped), Y)
            change = 100 * (less - full)
            n = len(change)
            macro = shares * n * change
            print(
                f"  without {group:22s} micro {change.mean():+.2f} ({change.std() / n**0.5:.2f})"
                f" macro {macro.mean():+.2f} ({macro.std() / n**0.5:.2f}) MSE {worse - error:+.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
