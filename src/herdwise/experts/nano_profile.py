"""What each model of a nano herd answers to items of its families: an outcome table.

The table's train split holds items of the families' dev split: no model was trained on what they ask, so a
router learns how good the models are at new queries, and not what they have by heart.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from herdwise.backends.nano.model import Answer, NanoModel
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.money import FREE
from herdwise.core.outcomes import OutcomeTable
from herdwise.experts.families import FAMILIES, Item, Split

#: Tokens that an answer may have; longer than any right one.
MAX_ANSWER_TOKENS = 64
#: The router's splits, and the families' splits that they are drawn from.
SPLIT_OF: Mapping[str, Split] = {"train": "dev", "test": "test"}
#: Of so many queries, one is also asked alone, and timed.
_TIMED_EVERY = 20


def herd_items(
    families: Sequence[str], n_train: int, n_test: int, *, seed: int = 0
) -> list[tuple[str, Item]]:
    """(router's split, item): in equal parts from each family, every query once, shuffled.

    Args:
        families: names.
        n_train, n_test: about how many in all.
        seed: of the draw; models' own items are drawn from another split.
    """
    found: list[tuple[str, Item]] = []
    seen: set[str] = set()
    for split, n in (("train", n_train), ("test", n_test)):
        for name in families:
            wanted = n // len(families)
            # Repeats are dropped, so more are drawn than needed.
            for item in FAMILIES[name].items(SPLIT_OF[split], 3 * wanted, seed=seed + 1):
                if wanted and item.query not in seen:
                    seen.add(item.query)
                    found.append((split, item))
                    wanted -= 1
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[i] for i in order]


def questions(items: Sequence[tuple[str, Item]]) -> OutcomeTable:
    """A table of queries that nobody was asked yet; ids are made from their texts.

    Args:
        items: (split, item).
    """
    none = np.zeros(0, np.int32)
    return OutcomeTable(
        herd=Herd(()),
        query_ids=[f"{split}-{hashlib.sha256(i.query.encode()).hexdigest()[:12]}" for split, i in items],
        texts=[item.query for _, item in items],
        benchmarks=[item.family for _, item in items],
        splits=[split for split, _ in items],
        categories=[f"difficulty {item.difficulty}" for _, item in items],
        references=[item.answer for _, item in items],
        query_index=none,
        candidate_index=none,
        sample=none,
        values={},
        name="nano",
    )


def ask_all(
    folders: Mapping[str, Path], asked: OutcomeTable, progress: Callable[[str], None] | None = None
) -> OutcomeTable:
    """Ask every model every query.

    Answers are greedy. Quality is 1 where the answer is exactly the reference, else 0. ``latency_s`` is that
    of one query asked alone on one thread, for every twentieth query, unknown for the others. The price is
    0: the models run in process.

    Args:
        folders: candidate -> model folder.
        asked: queries with their references; outcomes in it are left out.
        progress: told each candidate's name before it is asked.
    """
    candidates, columns = [], []
    answers: list[str | None] = []
    for name, folder in folders.items():
        if progress is not None:
            progress(name)
        model = NanoModel.load(folder)
        size_b = model.config.n_params / 1e9
        candidates.append(
            Candidate(
                name,
                params_b=size_b,
                active_params_b=size_b,
                open_weights=True,
                price=FREE,
                context_tokens=model.config.max_context,
                licence="Apache-2.0",
            )
        )
        said = model.answers(asked.texts, MAX_ANSWER_TOKENS)
        answers += [answer.text or None for answer in said]
        columns.append(_columns(model, asked, said))
    n, m = asked.n_queries, len(candidates)
    return replace(
        asked,
        herd=Herd(candidates),
        query_index=np.tile(np.arange(n, dtype=np.int32), m),
        candidate_index=np.repeat(np.arange(m, dtype=np.int32), n),
        sample=np.zeros(n * m, dtype=np.int32),
        values={key: np.concatenate([column[key] for column in columns]) for key in columns[0]},
        answers=np.array(answers, dtype=object),
        _cache={},
    )


def joined(tables: Sequence[OutcomeTable]) -> OutcomeTable:
    """Several tables of ``ask_all`` as one; queries are the same where their ids are, candidates by name."""
    places: dict[str, int] = {}
    rows: list[tuple[OutcomeTable, int]] = []
    candidates: dict[str, Candidate] = {}
    for table in tables:
        candidates |= {candidate.name: candidate for candidate in table.herd}
        for i, query_id in enumerate(table.query_ids):
            if query_id not in places:
                places[query_id] = len(rows)
                rows.append((table, i))
    names = list(candidates)

    def column(name: str) -> list[str]:
        return [getattr(table, name)[i] for table, i in rows]

    return replace(
        tables[0],
        herd=Herd(candidates.values()),
        query_ids=list(places),
        texts=column("texts"),
        benchmarks=column("benchmarks"),
        splits=column("splits"),
        categories=column("categories"),
        references=column("references"),
        query_index=np.concatenate(
            [np.array([places[q] for q in t.query_ids], np.int32)[t.query_index] for t in tables]
        ),
        candidate_index=np.concatenate(
            [np.array([names.index(c) for c in t.herd.names], np.int32)[t.candidate_index] for t in tables]
        ),
        sample=np.concatenate([t.sample for t in tables]),
        values={key: np.concatenate([t.values[key] for t in tables]) for key in tables[0].values},
        answers=np.concatenate([t.answers for t in tables if t.answers is not None]),
        _cache={},
    )


def _columns(model: NanoModel, asked: OutcomeTable, said: Sequence[Answer]) -> dict[str, np.ndarray]:
    n = asked.n_queries
    prompts = [model.tokens.encode_prompt(text) for text in asked.texts]
    logprobs = [np.array(answer.logprobs) for answer in said]
    latency_s = np.full(n, np.nan, np.float32)
    for i in range(0, n, _TIMED_EVERY):
        started = time.perf_counter()
        for _ in model.generate(prompts[i], MAX_ANSWER_TOKENS):
            pass
        latency_s[i] = time.perf_counter() - started
    references = asked.references or [None] * n
    right = [answer.text == reference for answer, reference in zip(said, references, strict=True)]
    return {
        "quality": np.array(right, np.float32),
        "cost_usd": np.zeros(n, np.float32),
        "latency_s": latency_s,
        "input_tokens": np.array([len(prompt) for prompt in prompts], np.float32),
        "output_tokens": np.array([len(answer.tokens) for answer in said], np.float32),
        "output_chars": np.array([len(answer.text) for answer in said], np.float32),
        "mean_logprob": _rounded([x.mean() for x in logprobs]),
        "min_logprob": _rounded([x.min() for x in logprobs]),
        "answer_logprob": _rounded([x.sum() for x in logprobs]),
    }


def _rounded(logprobs: Sequence[float]) -> np.ndarray:
    """Three digits say as much, and take half the room on disk."""
    return np.round(logprobs, 3).astype(np.float32)
