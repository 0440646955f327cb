"""A small model as the judge of a larger one's data, and the reverse: which labels would it not believe?

A model that learned from the other part of the data answers each query. A label is doubted where the model
gives another answer, as surely as it gives those that agree with their labels: its mean probability of these
is the bar, so that a judge which learned from wrong labels too, and is sure of nothing, still tells. No model
need score texts that it did not write. Cross-fitted, so that no model judges what it learned from. Source:
Northcutt, Jiang and Chuang, Confident Learning (2021), whose thresholds these are; for small judges of large
models' data: Burns et al., Weak-to-Strong Generalization (2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from herdwise.answers.agree import same_answer
from herdwise.backends.nano.model import NanoModel
from herdwise.core.errors import InputError
from herdwise.experts.examples import Example
from herdwise.experts.finetune import TrainingProgress, TrainingSettings, finetune

Progress = Callable[[str, int, int], None]


def trust(probability: np.ndarray, agrees: np.ndarray) -> np.ndarray:
    """How far a judge leaves room for labels: 1 where it agrees, else ``1 - p / bar``; ``(n,)`` in [0, 1].

    Args:
        probability: the judge's own, of the answers that it gave, ``(n,)``.
        agrees: whether those are the labels, ``(n,)``; the bar is their mean probability. A judge that never
            agrees has learned nothing, and doubts nothing.
    """
    if not agrees.any():
        return np.ones(len(probability))
    bar = max(float(probability[agrees].mean()), np.finfo(float).tiny)
    return np.where(agrees, 1.0, np.clip(1.0 - probability / bar, 0.0, 1.0))


def believed(model: NanoModel, examples: Sequence[Example]) -> np.ndarray:
    """Logarithm of the ``trust`` of a model in each answer, ``(n,)``.

    -inf where it is as sure of another answer as it is of those that agree, or has no room for the query.
    """
    fits = [
        i
        for i, e in enumerate(examples)
        if len(model.tokens.encode_prompt(e.query)) < model.config.max_context
    ]
    said = model.answers([examples[i].query for i in fits])
    probability = np.array([float(np.exp(np.sum(answer.logprobs))) for answer in said])
    agrees = np.array(
        [
            answer.ended and same_answer(answer.text, examples[i].answer)
            for i, answer in zip(fits, said, strict=True)
        ],
        dtype=bool,
    )
    found = np.full(len(examples), -np.inf)
    with np.errstate(divide="ignore"):
        found[fits] = np.log(trust(probability, agrees))
    return found


def cross_believed(
    examples: Sequence[Example],
    folder: Path,
    settings: TrainingSettings,
    *,
    folds: int = 2,
    seed: int = 0,
    trusted: Sequence[Example] = (),
    progress: Progress | None = None,
) -> np.ndarray:
    """As ``believed``, each example judged by a model that learned from the other folds.

    Args:
        examples: labels that may be wrong.
        folder: where the judges are trained, one folder each; resumed where they are.
        settings: of the judges: smaller or larger than the model that is to learn.
        folds: at least 2.
        seed: of the division.
        trusted: examples that every judge learns from besides.

    Raises:
        InputError: when there are fewer examples than folds.
    """
    if folds < 2 or len(examples) < folds:
        raise InputError(f"{len(examples)} examples cannot be divided into {folds} folds.")
    place = np.random.default_rng(seed).permutation(len(examples)) % folds
    scores = np.empty(len(examples))
    for fold in range(folds):
        inside = np.flatnonzero(place == fold)
        learned = [*trusted, *(examples[i] for i in np.flatnonzero(place != fold).tolist())]
        out = folder / f"judge-{fold}"
        finetune(
            [(e.query, e.answer, e.weight) for e in learned],
            out,
            settings,
            progress=None if progress is None else _told(progress, fold),
        )
        scores[inside] = believed(NanoModel.load(out), [examples[i] for i in inside.tolist()])
    return scores


def _told(progress: Progress, fold: int) -> Callable[[TrainingProgress], None]:
    return lambda at: progress(f"judge {fold}", at.step, at.steps)
