"""What a semantic cache would get wrong, and what it would find.

    python benchmarks/bench_cache_similarity.py                  mmlu_pro's training questions, encoder static
    python benchmarks/bench_cache_similarity.py --encoder onnx

Every training question meets a cache that holds all the others. A collision is a nearest one of another
wording at or above the similarity; it is wrong where the answers' texts differ. Questions are taken with
their options and without, as users ask. "guarded" is what herdwise does: other numbers or negations make
another question. Below, the share of mechanical rewordings of a question that find it; the last three
change what is asked, so that finding it is wrong.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

import numpy as np

from herdwise.encoding.base import ENCODERS, Encoder
from herdwise.serving.cache_similar import marks_of
from herdwise.storage.outcomes import read_outcomes

_LEVELS = (0.85, 0.9, 0.95, 0.97, 0.99)
_OPTION = re.compile(r"^([A-P])\. (.*)$", re.MULTILINE)


def _swapped(text: str, at: int) -> str:
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


_NEGATED = re.compile(r"\b(is|are|was|were|does|do|can|will)\b")
_REWORDED: dict[str, Callable[[str], str]] = {
    "lower case": str.lower,
    "no final mark": lambda q: q.rstrip(" ?.:!"),
    "please, before it": lambda q: f"Please answer: {q}",
    "thanks, after it": lambda q: f"{q} Thank you!",
    "two letters swapped": lambda q: _swapped(q, len(q) // 2),
    "every fifth word left out": lambda q: " ".join(w for i, w in enumerate(q.split()) if i % 5 != 4),
    "WRONG: negated": lambda q: _NEGATED.sub(lambda m: f"{m.group()} not", q, count=1),
    "WRONG: last word another": lambda q: " ".join([*q.split()[:-1], "helium?"]),
    "WRONG: every number raised": lambda q: re.sub(r"\d+", lambda m: str(int(m.group()) + 1), q),
}  # fmt: skip


def unit(encoder: Encoder, texts: list[str]) -> np.ndarray:
    """Vectors of length one, ``(n, d)``."""
    vectors = encoder.encode(texts).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))


def nearest(vectors: np.ndarray, allowed: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Position and cosine of the nearest allowed other of each; -1 where there is none."""
    place, cosine = np.full(len(vectors), -1), np.full(len(vectors), -1.0)
    for i, others in enumerate(allowed):
        if len(others):
            cosines = vectors[others] @ vectors[i]
            best = int(cosines.argmax())
            place[i], cosine[i] = others[best], cosines[best]
    return place, cosine


def collisions(encoder: Encoder, texts: list[str], answers: list[str]) -> None:
    """Print how many questions another one is mistaken for."""
    vectors = unit(encoder, texts)
    plain = [" ".join(re.findall(r"\w+", text.lower())) for text in texts]
    same = {text: np.array([i for i, other in enumerate(plain) if other == text]) for text in set(plain)}
    everything = np.arange(len(texts))
    marks = [marks_of(text) for text in texts]
    by_marks = {key: np.array([i for i, n in enumerate(marks) if n == key]) for key in set(marks)}
    pools = {
        "unguarded": [np.setdiff1d(everything, same[plain[i]]) for i in range(len(texts))],
        "guarded": [np.setdiff1d(by_marks[marks[i]], same[plain[i]]) for i in range(len(texts))],
    }
    for name, allowed in pools.items():
        place, cosine = nearest(vectors, allowed)
        cells = []
        for level in _LEVELS:
            hit = cosine >= level
            wrong = sum(answers[i] != answers[place[i]] for i in np.flatnonzero(hit))
            cells.append(f"{100 * hit.mean():6.2f} ({100 * wrong / len(texts):5.2f})")
        print(f"    {name:<26}" + " ".join(cells))


def rewordings(encoder: Encoder, questions: list[str]) -> None:
    """Print the share of rewordings that are at or above each similarity, guarded."""
    vectors = unit(encoder, questions)
    for name, change in _REWORDED.items():
        changed = [change(question) for question in questions]
        moved = np.array([c != q for c, q in zip(changed, questions, strict=True)])
        cosine = (unit(encoder, changed) * vectors).sum(axis=1)
        kept = np.array(
            [marks_of(c) == marks_of(q) for c, q in zip(changed, questions, strict=True)], dtype=bool
        )
        cells = [f"{100 * (kept & (cosine >= level))[moved].mean():14.1f}" for level in _LEVELS]
        print(f"    {name:<26}" + " ".join(cells) + f"   n = {moved.sum():,}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outcomes", default="mmlu_pro")
    parser.add_argument("--encoder", default="static")
    options = parser.parse_args()
    table = read_outcomes(options.outcomes)
    train = [i for i, split in enumerate(table.splits) if split == "train"]
    wholes = [table.texts[i] for i in train]
    references = [str((table.references or [None] * table.n_queries)[i]) for i in train]
    bare, answers = [], []
    for text, letter in zip(wholes, references, strict=True):
        said = dict(_OPTION.findall(text))
        first = _OPTION.search(text)
        bare.append(text[: first.start()].strip() if first else text)
        answers.append(said.get(letter, letter))
    encoder = ENCODERS.create(options.encoder)
    print(f"{len(train):,} questions; similarity" + " ".join(f"{level:14.2f}" for level in _LEVELS))
    for told, texts in {"with their options": wholes, "without options": bare}.items():
        print(f"  {told}: % that meet another question (% and get a wrong answer)")
        collisions(encoder, texts, answers)
    print("  % of rewordings (without options) that find their question, guarded")
    rewordings(encoder, bare)


if __name__ == "__main__":
    main()
