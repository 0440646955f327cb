"""Which examples are fit to learn from: a chain of filters, each of which says what it dropped and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np

from herdwise.answers.agree import groups, same_answer
from herdwise.core.errors import InputError
from herdwise.encoding.base import Encoder
from herdwise.experts.examples import Example, plain
from herdwise.experts.near_duplicates import NearDuplicates
from herdwise.experts.relevance import Relevance

#: Why an example was dropped, in the order of the filters.
Why = Literal["empty", "too long", "leak", "contradiction", "repeat", "disagreement", "off topic", "unlikely"]

#: Candidate -> its answers to queries, by the query's text; what it did not answer is left out.
Votes = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class CurateSettings:
    """How examples are chosen.

    Args:
        max_bytes: longest query plus target, in UTF-8: what an expert's context can hold.
        repeat_similarity: Jaccard similarity from which on two queries repeat each other.
        leak_similarity: the same against evaluation queries; lower, since a leak flatters every figure.
        min_votes: voters that must agree with an example's answer, where there are votes on it.
        min_relevance: P(query is of this kind) by the relevance classifier; None = not asked.
        min_auroc: a classifier that tells the kinds apart worse than this (cross-validated) is not used.
        min_probability: that a scorer leaves to an answer (``supervise.trust``); one with less is dropped.
        source_weights: source -> weight; sources that are not named count 1.
    """

    max_bytes: int = 4000
    repeat_similarity: float = 0.9
    leak_similarity: float = 0.8
    min_votes: int = 1
    min_relevance: float | None = 0.2
    min_auroc: float = 0.7
    min_probability: float = 0.1
    source_weights: Mapping[str, float] = field(default_factory=dict)


class Dropped(msgspec.Struct, frozen=True):
    """An example that is not learned from, and why; ``detail`` is for people."""

    query: str
    answer: str
    why: Why
    detail: str
    source: str


@dataclass(frozen=True, slots=True)
class Curated:
    """What is left, and what was dropped.

    Args:
        examples: kept, weighted so that their weights' mean is 1.
        dropped: in the order of the filters.
        counts: why -> how many, filters that dropped nothing included.
        auroc: of the relevance classifier; None = it was not asked, or could not be fitted.
        notes: filters that were not applied, and why.
    """

    examples: list[Example]
    dropped: list[Dropped]
    counts: dict[str, int]
    auroc: float | None
    notes: list[str]


def curate(
    examples: Sequence[Example],
    *,
    held_out: Sequence[str] = (),
    of_this_kind: Sequence[str] = (),
    of_other_kinds: Sequence[str] = (),
    encoder: Encoder | None = None,
    votes: Votes | None = None,
    score: Callable[[Sequence[Example]], np.ndarray] | None = None,
    settings: CurateSettings | None = None,
    seed: int = 0,
) -> Curated:
    """Choose what an expert learns from.

    Args:
        examples: of any sources.
        held_out: texts that are measured on; nothing like them is learned from.
        of_this_kind: real queries of the cluster, for the relevance classifier.
        of_other_kinds: real queries of other clusters.
        encoder: fitted; without it no classifier is asked.
        votes: what other candidates answered to the examples' queries.
        score: log-probability of each answer under a model that did not learn from it, ``(n,)``, or a bound
            above it; see ``herdwise.experts.supervise``.
        settings: thresholds.
        seed: of the classifier's folds.

    Raises:
        InputError: when there is no example, or the scores are not one finite number each.
    """
    if not examples:
        raise InputError("there is no example to choose from.", remedy="Synthesise some, or give a file.")
    how = settings or CurateSettings()
    chain = _Chain(list(examples))
    chain.drop("empty", _empty)
    chain.drop("too long", lambda kept: _too_long(kept, how.max_bytes))
    chain.drop("leak", lambda kept: _leaks(kept, held_out, how.leak_similarity))
    chain.drop("contradiction", _contradictions)
    chain.drop("repeat", lambda kept: _repeats(kept, how.repeat_similarity))
    chain.drop("disagreement", lambda kept: _disagreements(kept, votes or {}, how.min_votes))
    auroc = None
    if how.min_relevance is not None and encoder is not None and of_this_kind and of_other_kinds:
        relevance = Relevance.fit(of_this_kind, of_other_kinds, encoder, seed=seed)
        auroc = None if relevance is None else relevance.auroc
        if relevance is None:
            chain.notes.append("off topic: too few real queries to fit a classifier.")
        elif relevance.auroc < how.min_auroc:
            chain.notes.append(f"off topic: the classifier tells too little (AUROC {relevance.auroc:.2f}).")
        else:
            least = how.min_relevance
            chain.drop("off topic", lambda kept: _off_topic(kept, relevance, least))
    if score is not None:
        chain.drop("unlikely", lambda kept: _unlikely(kept, score(kept), how.min_probability))
    return Curated(
        examples=weighted(chain.kept, how.source_weights),
        dropped=chain.dropped,
        counts=chain.counts,
        auroc=auroc,
        notes=chain.notes,
    )


class _Chain:
    def __init__(self, examples: list[Example]) -> None:
        self.kept = examples
        self.dropped: list[Dropped] = []
        self.counts: dict[str, int] = {}
        self.notes: list[str] = []

    def drop(self, why: Why, judge: Callable[[Sequence[Example]], Mapping[int, str]]) -> None:
        """Apply one filter: position -> detail of those it drops."""
        gone = judge(self.kept) if self.kept else {}
        self.counts[why] = len(gone)
        for place in sorted(gone):
            e = self.kept[place]
            self.dropped.append(Dropped(e.query, e.answer, why, gone[place], e.source))
        self.kept = [e for i, e in enumerate(self.kept) if i not in gone]


def weighted(examples: Sequence[Example], sources: Mapping[str, float]) -> list[Example]:
    """Each weight times its source's, all scaled so that their mean is 1; those of weight 0 are left out.

    Raises:
        InputError: when a weight is negative.
    """
    if any(weight < 0 for weight in sources.values()):
        raise InputError("a source's weight is negative.", remedy="0 leaves the source out.")
    raw = [e.weight * sources.get(e.source, 1.0) for e in examples]
    left = [(e, w) for e, w in zip(examples, raw, strict=True) if w > 0]
    scale = len(left) / sum(w for _, w in left) if left else 1.0
    return [msgspec.structs.replace(e, weight=w * scale) for e, w in left]


def _empty(kept: Sequence[Example]) -> dict[int, str]:
    return {i: "" for i, e in enumerate(kept) if not e.query.strip() or not e.answer.strip()}


def _too_long(kept: Sequence[Example], most: int) -> dict[int, str]:
    sizes = [len(f"{e.query}{e.target(with_reasoning=True)}".encode()) for e in kept]
    return {i: f"{n} bytes" for i, n in enumerate(sizes) if n > most}


def _leaks(kept: Sequence[Example], held_out: Sequence[str], similarity: float) -> dict[int, str]:
    index = NearDuplicates(similarity)
    for text in held_out:
        index.add(text)
    found = ((i, index.find(e.query)) for i, e in enumerate(kept))
    return {i: f"like {held_out[place]!r}" for i, place in found if place is not None}


def _contradictions(kept: Sequence[Example]) -> dict[int, str]:
    """Of equal queries with several answers only those of a strict majority are kept."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, e in enumerate(kept):
        places[plain(e.query)].append(i)
    gone: dict[int, str] = {}
    for same in places.values():
        labels = groups([kept[i].answer for i in same])
        if len(set(labels)) < 2:
            continue
        (best, n), *_ = Counter(labels).most_common()
        for i, label in zip(same, labels, strict=True):
            if label != best or 2 * n <= len(same):
                gone[i] = f"{len(set(labels))} answers to one query"
    return gone


def _repeats(kept: Sequence[Example], similarity: float) -> dict[int, str]:
    index = NearDuplicates(similarity)
    first: list[str] = []
    gone = {}
    for i, e in enumerate(kept):
        place = index.find_or_add(e.query)
        if place is None:
            first.append(e.query)
        else:
            gone[i] = f"like {first[place]!r}"
    return gone


def _disagreements(kept: Sequence[Example], votes: Votes, least: int) -> dict[int, str]:
    gone = {}
    for i, e in enumerate(kept):
        said = {name: answers[e.query] for name, answers in votes.items() if e.query in answers}
        agree = [name for name, answer in said.items() if same_answer(answer, e.answer)]
        if said and len(agree) < min(least, len(said)):
            gone[i] = f"{len(agree)} of {len(said)} agree; " + "; ".join(
                f"{name}: {answer}" for name, answer in sorted(said.items()) if name not in agree
            )
    return gone


def _off_topic(kept: Sequence[Example], relevance: Relevance, least: float) -> dict[int, str]:
    p = relevance.probability([e.query for e in kept])
    return {int(i): f"P = {p[i]:.2f}" for i in np.flatnonzero(p < least)}


def _unlikely(kept: Sequence[Example], scores: np.ndarray, least: float) -> dict[int, str]:
    if scores.shape != (len(kept),) or np.isnan(scores).any():
        raise InputError(f"a score per example is needed, not {scores.shape} for {len(kept)}.")
    return {int(i): f"P = {np.exp(scores[i]):.3f}" for i in np.flatnonzero(scores < np.log(least))}
