"""How well would a router have to foresee which queries a small model answers as well as the best one?

    python benchmarks/bench_effective_size.py

mmlu_pro, `train`, four-fold cross-validation of the default router; open weights without the DeepSeek
models, against Llama-3.1-70B-Instruct. For each stronger or smaller candidate: its mean difference to that
one, the correlation of the predicted difference with the recorded one, and the recorded difference on the
queries where it is predicted to compare best. Then, for small ones: the share of queries that must go there
for the mean size to fall by a third, and the correlation that a prediction would need for the recorded
difference on that share to be 0 (normal scores of a given correlation, drawn 20 times).
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.encoding.base import ENCODERS
from herdwise.prediction.base import PREDICTORS
from herdwise.storage.outcomes import read_outcomes

_BEST, _FOLDS, _SHRINK, _DRAWS = "Meta-Llama-3.1-70B-Instruct", 4, 1.5, 20
_SHARES = (0.05, 0.1, 0.2, 0.35)


def needed(difference: np.ndarray, share: float, rng: np.random.Generator) -> float:
    """Least correlation at which the best-looking share of queries loses nothing; 1 where none does."""
    scaled = (difference - difference.mean()) / difference.std()
    count = int(share * len(scaled))
    for rho in np.arange(0.02, 1.0, 0.02):
        found = []
        for _ in range(_DRAWS):
            score = rho * scaled + np.sqrt(1 - rho**2) * rng.normal(size=len(scaled))
            found.append(difference[np.argsort(-score)[:count]].mean())
        if np.mean(found) >= 0:
            return float(rho)
    return 1.0


def main() -> None:
    """Print the table."""
    train = read_outcomes("mmlu_pro").split("train")
    wide = train.coverage("quality") >= 0.95
    plain = [
        c.name
        for c, w in zip(train.herd, wide, strict=True)
        if w and c.open_weights and not c.name.lower().startswith("deepseek")
    ]
    train = train.restrict(plain)
    coder = ENCODERS.create("static").fit(train.texts)
    X, Y = coder.encode(train.texts), train.matrix("quality")
    fold = np.random.default_rng(0).permutation(len(X)) % _FOLDS
    foretold = np.zeros(Y.shape)
    with threadpool_limits(1):
        for number in range(_FOLDS):
            held = fold == number
            foretold[held] = PREDICTORS.create("stack").fit(X[~held], Y[~held], seed=0).predict(X[held])
    whole = np.isfinite(Y).all(axis=1)
    Y, foretold = Y[whole].astype(np.float64), foretold[whole]
    best = train.herd.index(_BEST)
    sizes = [c.active_params_b or float("nan") for c in train.herd]
    rng = np.random.default_rng(0)
    print(f"{_BEST}: {100 * Y[:, best].mean():.1f}, {len(Y)} queries")
    print(f"{'candidate':32s} size  difference  correlation  on its best 5, 10, 20, 35%  share  needed")
    for j in np.argsort(-Y.mean(axis=0))[1:13].tolist():
        difference, lead = Y[:, j] - Y[:, best], foretold[:, j] - foretold[:, best]
        order = np.argsort(-lead)
        top = ", ".join(f"{100 * difference[order[: int(s * len(order))]].mean():+.1f}" for s in _SHARES)
        share = sizes[best] * (1 - 1 / _SHRINK) / (sizes[best] - sizes[j]) if sizes[j] < sizes[best] else 2.0
        words = f"{share:5.0%} {needed(difference, share, rng):7.2f}" if share <= 1 else "    -       -"
        print(
            f"{train.herd.names[j]:32s} {sizes[j]:4.0f} {100 * difference.mean():+11.1f}"
            f" {np.corrcoef(lead, difference)[0, 1]:12.2f}  {top:26s} {words}"
        )


if __name__ == "__main__":
    main()
