"""A small model as the judge of a larger one's data, and the reverse: which labels would it not believe?

A model that learned from the other part of the data answers each query. Where it gives the label, its own
probability of that answer counts; where it gives something else with probability p, the label has at most
1 - p. So no model need score texts that it did not write. Cross-fitted, so that no model judges what it
learned from. Source: Northcutt, Jiang and Chuang, Confident Learning (2021); for small judges of large
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


def believed(model: NanoModel, examples: Sequence[Example]) -> np.ndarray:
    """Log-probability of each answer under a model, or a bound above it, ``(n,)``.

    -inf where the model is as good as certain of another answer, or has no room for the query.
    """
    found = np.full(len(examples), -np.inf)
    fits = [
        i
        for i, e in enumerate(examples)
        if len(model.tokens.encode_prompt(e.query)) < model.config.max_context
    ]
    said = model.answers([examples[i].query for i in fits])
    for i, answer in zip(fits, said, strict=True):
        p = float(np.exp(np.sum(answer.logprobs)))
        if answer.ended and same_answer(answer.text, examples[i].answer):
            found[i] = np.log(max(p, 1e-300))
        else:
            found[i] = np.log(max(1.0 - p, 1e-300))
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
