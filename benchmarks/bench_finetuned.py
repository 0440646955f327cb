"""What a transformer fine-tuned on the outcomes adds to the default encoder (needs the extra `finetune`).

    python benchmarks/bench_finetuned.py --folder routerdc7
    python benchmarks/bench_finetuned.py --folder mmlu_pro --option n_layers=1 --option max_tokens=64

A quarter of `train` is held out and routed; the test splits are left alone. The same stack learns from the
default encoder's vectors and from the fine-tuned encoder's; the third line is what the transformer alone
foretells, the fourth what becomes of the second where the training texts' vectors come from the network
that has seen their outcomes: why they must not.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec

import numpy as np

from bench_predictors import FOLDERS, SHARED, Rows, measure
from herdwise.config.options import read_options
from herdwise.encoding.base import ENCODERS
from herdwise.encoding.finetuned import FineTunedEncoder
from herdwise.encoding.minilm_torch import foretold
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.logistic import sigmoid
from herdwise.storage.outcomes import read_outcomes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", default="routerdc7")
    parser.add_argument("--option", action="append", default=[], help="key=value for the fine-tuned encoder")
    options = parser.parse_args()
    if find_spec("torch") is None:
        print("the extra `finetune` is not installed: nothing measured")
        return
    table = read_outcomes(options.folder if options.folder == "mmlu_pro" else SHARED / options.folder)
    table, column = table.split("train"), FOLDERS[options.folder]
    table = table.restrict(
        [n for n, c in zip(table.herd.names, table.coverage(column) >= 0.95, strict=True) if c]
    )
    order = np.random.default_rng(0).permutation(table.n_queries)
    cut = table.n_queries // 4
    train, held = table.take(np.sort(order[cut:])), table.take(np.sort(order[:cut]))
    Y, T = train.matrix(column), held.matrix(column)
    names = np.asarray(train.benchmarks), np.asarray(held.benchmarks)

    def show(name: str, predicted: np.ndarray, seconds: float) -> None:
        figures = measure(predicted, Rows(Y, Y, names[0]), Rows(T, T, names[1]), seconds, float("nan"))
        print(f"{name:34s} {figures.line()}", flush=True)

    def stacked(X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        return PREDICTORS.create("stack").fit(X, Y, seed=0).predict(Z)

    print(f"{options.folder}: {len(Y)} x {Y.shape[1]} trained on, {len(T)} held out of train")
    print(" " * 37 + "micro   gain   macro   gain     mse     ece  left   fit_s  one_us")
    started = time.perf_counter()
    plain = ENCODERS.create("static")
    show(
        "default encoder, stack",
        stacked(plain.fit(train.texts).encode(train.texts), plain.encode(held.texts)),
        time.perf_counter() - started,
    )
    started = time.perf_counter()
    tuned = ENCODERS.create("finetuned", **read_options(options.option))
    assert isinstance(tuned, FineTunedEncoder)  # noqa: S101 - the registry's name
    X = tuned.fit_to_outcomes(train.texts, Y)
    seconds = time.perf_counter() - started
    Z = tuned.encode(held.texts)
    show("fine-tuned encoder, stack", stacked(X, Z), seconds)
    network = tuned._ready()
    n_layers = tuned.state()[0]["n_layers"]
    entered = network.frozen(network.tokens(held.texts), n_layers, half=False)
    show("transformer alone", sigmoid(foretold(network, entered, tuned.tuned_, n_layers)), seconds)
    show("vectors that saw their outcomes", stacked(tuned.encode(train.texts), Z), seconds)
    started = time.perf_counter()
    for text in held.texts[:50]:
        tuned.encode_one(text)
    print(f"one text: {1e3 * (time.perf_counter() - started) / 50:.1f} ms")


if __name__ == "__main__":
    main()
