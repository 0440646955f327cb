"""Join outcome tables, such as a profile and what was served since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import InputError
from herdwise.core.money import Price
from herdwise.core.outcomes import OutcomeTable


def merge(tables: Sequence[OutcomeTable]) -> OutcomeTable:
    """One table with the rows of all.

    A query that stands in several (same id, same text) is one query; the same id with another text
    becomes ``name/id``. A pair that was run in several counts as further samples. A candidate's
    properties come from the first table that knows them.

    Raises:
        InputError: when there is no table.
    """
    if not tables:
        raise InputError("no outcome table to learn from.")
    if len(tables) == 1:
        return tables[0]
    herd = _joined_herd([t.herd for t in tables])
    position: dict[str, int] = {}
    text_of: dict[str, str] = {}
    rows: list[tuple[OutcomeTable, int]] = []
    ids: list[str] = []
    query_parts, candidate_parts, sample_parts = [], [], []
    for number, table in enumerate(tables):
        new = np.empty(table.n_queries, dtype=np.int32)
        for i, (id_, text) in enumerate(zip(table.query_ids, table.texts, strict=True)):
            name = id_
            if name in position and text_of[name] != text:
                name = f"{table.name or number}/{id_}"
            if name in position and text_of[name] != text:
                name = f"{number}/{name}"
            if name not in position:
                position[name] = len(ids)
                text_of[name] = text
                ids.append(name)
                rows.append((table, i))
            new[i] = position[name]
        columns = np.array([herd.index(c.name) for c in table.herd], dtype=np.int32)
        query_parts.append(new[table.query_index])
        candidate_parts.append(columns[table.candidate_index])
        sample_parts.append(table.sample)
    query, candidate = np.concatenate(query_parts), np.concatenate(candidate_parts)
    used = sorted({name for t in tables for name in t.values})
    answered = any(t.answers is not None for t in tables)

    def column(name: str) -> list[str | None] | None:
        if all(getattr(t, name) is None for t in tables):
            return None
        return [None if getattr(t, name) is None else getattr(t, name)[i] for t, i in rows]

    return replace(
        tables[0],
        herd=herd,
        query_ids=ids,
        texts=[t.texts[i] for t, i in rows],
        benchmarks=[t.benchmarks[i] for t, i in rows],
        splits=[t.splits[i] for t, i in rows],
        categories=column("categories"),
        references=column("references"),
        tools=column("tools"),
        query_index=query,
        candidate_index=candidate,
        sample=_renumbered(query, candidate, np.concatenate(sample_parts), len(herd)),
        values={
            name: np.concatenate([t.values.get(name, np.full(t.n_outcomes, np.nan)) for t in tables])
            for name in used
        },
        answers=np.concatenate(
            [np.full(t.n_outcomes, None, dtype=object) if t.answers is None else t.answers for t in tables]
        )
        if answered
        else None,
        source="\n\n".join(t.source for t in tables if t.source),
        name="+".join(t.name for t in tables if t.name),
        warnings=tuple(w for t in tables for w in t.warnings),
        _cache={},
    )


def _renumbered(
    query: np.ndarray, candidate: np.ndarray, sample: np.ndarray, n_candidates: int
) -> np.ndarray:
    """Samples numbered from 0 within each pair, in the order given."""
    pair = query.astype(np.int64) * n_candidates + candidate
    order = np.lexsort((np.arange(len(pair)), pair))
    starts = np.r_[True, np.diff(pair[order]) != 0] if len(order) else np.zeros(0, dtype=bool)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    numbered = np.empty(len(sample), dtype=np.int32)
    numbered[order] = np.arange(len(order)) - first
    return numbered


def _joined_herd(herds: Sequence[Herd]) -> Herd:
    joined: dict[str, Candidate] = {}
    for herd in herds:
        for candidate in herd:
            known = joined.get(candidate.name)
            joined[candidate.name] = candidate if known is None else _filled(known, candidate)
    return Herd(joined.values())


def _filled(known: Candidate, other: Candidate) -> Candidate:
    changes = {
        name: getattr(other, name)
        for name in Candidate.__dataclass_fields__
        if getattr(known, name) is None and getattr(other, name) is not None
    }
    if not known.price.known:
        changes["price"] = Price(
            known.price.input_usd_per_mtok
            if known.price.input_usd_per_mtok is not None
            else other.price.input_usd_per_mtok,
            known.price.output_usd_per_mtok
            if known.price.output_usd_per_mtok is not None
            else other.price.output_usd_per_mtok,
        )
    return known.replace(**changes)
