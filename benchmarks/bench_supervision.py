"""Does a small model clean a larger one's data, and the reverse? (Survey: weak supervises strong.)

    python benchmarks/bench_supervision.py [--family roman] [--wrong 0.3] [--steps 600] [--out DIR]

Of a family's training items a share gets the answer of another item. A judge, trained on the other half of
these very examples, doubts what it does not believe (``herdwise.experts.supervise``); a student is trained
on all examples, on those that the judge left, and on those that are right, and asked held-out items. Once
with a small judge and a large student, once the other way round. Needs torch. Training that was done is not
done again (--out keeps it).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from herdwise.backends.nano.model import NanoModel
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.experts.curate import CurateSettings, curate
from herdwise.experts.examples import Example
from herdwise.experts.families import FAMILIES
from herdwise.experts.finetune import TrainingSettings, finetune
from herdwise.experts.supervise import cross_believed


def spoiled(examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Examples of which a share has the answer of the next such one; source says which."""
    rng = np.random.default_rng(seed)
    bad = np.flatnonzero(rng.random(len(examples)) < share)
    made = [Example(e.query, e.answer, source="right") for e in examples]
    for place, other in zip(bad.tolist(), np.roll(bad, 1).tolist(), strict=True):
        if examples[other].answer != examples[place].answer:
            made[place] = Example(examples[place].query, examples[other].answer, source="wrong")
    return made


def quality(folder: Path, family: str, n: int) -> np.ndarray:
    """Whether each held-out item is answered right, ``(n,)``."""
    items = list(FAMILIES[family].items("dev", n, seed=0))
    said = NanoModel.load(folder).answer_all([item.query for item in items], 64)
    return np.array([a == item.answer for a, item in zip(said, items, strict=True)], dtype=np.float64)


def train(examples: Sequence[Example], folder: Path, settings: TrainingSettings) -> Path:
    """A student."""
    finetune([(e.query, e.answer, 1.0) for e in examples], folder, settings)
    return folder


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", default="roman", choices=sorted(FAMILIES))
    parser.add_argument("--n", type=int, default=6000)
    parser.add_argument("--wrong", type=float, default=0.3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp())
    small = TrainingSettings(width=48, layers=3, steps=given.steps, seed=given.seed, max_context=128)
    large = TrainingSettings(width=80, layers=4, steps=given.steps, seed=given.seed, max_context=128)
    items = FAMILIES[given.family].items("train", given.n, seed=given.seed)
    once = {item.query: Example(item.query, item.answer) for item in items}
    examples = spoiled(list(once.values()), given.wrong, given.seed)
    right = [e for e in examples if e.source == "right"]
    n_wrong = len(examples) - len(right)
    told = {
        "family": given.family,
        "examples": len(examples),
        "wrong": n_wrong,
        "params": {"small": small.config().n_params, "large": large.config().n_params},
    }
    print(json.dumps(told), flush=True)
    for judge_name, judge, student_name, student in (
        ("small", small, "large", large),
        ("large", large, "small", small),
    ):
        home = out / f"{judge_name}-judges-{student_name}"
        scores = cross_believed(examples, home, judge, seed=given.seed)
        doubted = dict(zip([e.query for e in examples], scores.tolist(), strict=True))

        def score(kept: Sequence[Example], doubted: dict[str, float] = doubted) -> np.ndarray:
            return np.array([doubted[e.query] for e in kept])

        found = curate(
            examples,
            score=score,
            settings=CurateSettings(repeat_similarity=1.0),
        )
        dropped = [d for d in found.dropped if d.why == "unlikely"]
        caught = sum(d.source == "wrong" for d in dropped)
        answers = {
            name: quality(train(data, out / f"{student_name}-on-{name}", student), given.family, 500)
            for name, data in (("all", examples), ("right", right))
        }
        kept = [Example(e.query, e.answer, source=e.source) for e in found.examples]
        answers["kept"] = quality(train(kept, home / "student", student), given.family, 500)
        draws = resampled_means(np.stack([answers["all"], answers["kept"]], axis=1), ())
        low, high = interval(draws[:, 1] - draws[:, 0])
        print(
            f"{judge_name} judges {student_name}: dropped {len(dropped)} of {len(examples)},"
            f" {100 * caught / max(len(dropped), 1):.1f}% of them wrong,"
            f" {100 * caught / n_wrong:.1f}% of all wrong ones;"
            f" student on all {100 * answers['all'].mean():.1f}%, on kept {100 * answers['kept'].mean():.1f}%"
            f" (difference, 95%: {100 * low:.1f} to {100 * high:.1f}),"
            f" on right ones alone {100 * answers['right'].mean():.1f}%",
            flush=True,
        )


if __name__ == "__main__":
    main()
