"""The ledger as an outcome folder, so that what was served can be learned from as it is."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, Engine, case, select

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError
from herdwise.core.outcomes import LOGPROB_COLUMNS, OutcomeTable
from herdwise.serving.ledger_engine import open_engine
from herdwise.serving.ledger_tables import ASKS, CANDIDATES, DECISIONS, FEEDBACK
from herdwise.serving.records import EMBEDDINGS

#: The benchmark that served queries belong to.
BENCHMARK = "served"

_COLUMNS = ("cost_usd", "latency_s", "input_tokens", "output_tokens", "output_chars", *LOGPROB_COLUMNS)
_SOURCE = """\
# Served queries

Written by `herdwise ledger export`. A query is one decision of the endpoint, an outcome one ask that was
answered. Quality is the mean of the scores that users gave the answer which they got; an answer that
nobody graded, or that another candidate had begun, has none. Who was asked was the router's choice, so
outcomes are sparse, and better candidates were asked more often.
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds, and what it had to leave out.

    Args:
        queries, outcomes: written.
        graded: outcomes with a quality.
        without_text: decisions left out because their text was not stored.
        without_answer: decisions left out because nobody answered.
    """

    queries: int
    outcomes: int
    graded: int
    without_text: int
    without_answer: int


def export_ledger(url: str, path: str | os.PathLike[str]) -> Exported:
    """Write all that a ledger holds as an outcome folder.

    Args:
        url: the ledger's database, which may be in use.
        path: the folder.

    Raises:
        ConfigError: when there is no such ledger, or nothing in it can be exported.
    """
    engine = open_engine(url, create=False)
    try:
        return export_from(engine, path)
    finally:
        engine.dispose()


def export_from(engine: Engine, path: str | os.PathLike[str]) -> Exported:
    """As ``export_ledger``, over an open engine."""
    from herdwise.storage.outcomes import write_outcomes

    with engine.connect() as connection:
        decisions = [dict(row) for row in connection.execute(_DECISIONS).mappings()]
        asks: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in connection.execute(_ASKS).mappings():
            asks[row["query_id"]].append(dict(row))
        scores, demonstrations = _feedback(connection)
        herd = _herd(connection)
    kept = [d for d in decisions if d["text"] is not None and d["query_id"] in asks]
    without_text = sum(d["text"] is None for d in decisions)
    without_answer = len(decisions) - without_text - len(kept)
    if not kept:
        raise ConfigError(
            f"the ledger holds nothing to export: {len(decisions)} decisions, {without_text} of them without"
            f" their text, {without_answer} without an answer.",
            remedy="Serve some requests first, with ledger.store_texts on.",
        )
    table, texts = _table(kept, asks, scores, demonstrations, herd)
    write_outcomes(table, Path(path), texts=texts)
    return Exported(
        queries=table.n_queries,
        outcomes=table.n_outcomes,
        graded=int(np.isfinite(table.values["quality"]).sum()),
        without_text=without_text,
        without_answer=without_answer,
    )


def is_export(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is an earlier export, which a new one may replace."""
    source = Path(path) / "SOURCE.md"
    return source.is_file() and source.read_bytes() == _SOURCE.encode()


#: What the cache answered was asked by another decision, which is among them. Embeddings answer nothing.
_DECISIONS = (
    select(DECISIONS.c.query_id, DECISIONS.c.text, DECISIONS.c.tools, DECISIONS.c.returned_ask)
    .where(DECISIONS.c.cached_from.is_(None), DECISIONS.c.policy != EMBEDDINGS)
    .order_by(DECISIONS.c.created_at, DECISIONS.c.query_id)
)
#: A failed or cancelled ask says nothing of quality: for an outcome folder it was not run.
_ASKS = select(ASKS).where(ASKS.c.status == "answered").order_by(ASKS.c.query_id, ASKS.c.ask)


def _table(
    decisions: Sequence[Mapping[str, Any]],
    asks: Mapping[str, Sequence[Mapping[str, Any]]],
    scores: Mapping[str, Sequence[float]],
    demonstrations: Mapping[str, str],
    herd: Herd,
) -> tuple[OutcomeTable, dict[tuple[str, str], str]]:
    rows: dict[str, list[float]] = {
        name: [] for name in ("query", "candidate", "sample", "quality", *_COLUMNS)
    }
    texts: dict[tuple[str, str], str] = {}
    for position, decision in enumerate(decisions):
        query_id = decision["query_id"]
        samples: Counter[str] = Counter()
        for ask in asks[query_id]:
            name = ask["candidate"]
            graded = ask["ask"] == decision["returned_ask"] and not ask["continued"]
            given = scores.get(query_id, ()) if graded else ()
            rows["query"].append(position)
            rows["candidate"].append(herd.index(name))
            rows["sample"].append(samples[name])
            rows["quality"].append(float(np.mean(given)) if given else np.nan)
            for column in _COLUMNS:
                rows[column].append(np.nan if ask[column] is None else float(ask[column]))
            if ask["text"] is not None:
                texts.setdefault((query_id, name), ask["text"])
            samples[name] += 1
    table = OutcomeTable(
        herd=herd,
        query_ids=[d["query_id"] for d in decisions],
        texts=[d["text"] for d in decisions],
        benchmarks=[BENCHMARK] * len(decisions),
        splits=[None] * len(decisions),
        query_index=np.array(rows["query"], dtype=np.int32),
        candidate_index=np.array(rows["candidate"], dtype=np.int32),
        sample=np.array(rows["sample"], dtype=np.int32),
        values={name: np.array(rows[name], dtype=np.float64) for name in ("quality", *_COLUMNS)},
        references=[demonstrations.get(d["query_id"]) for d in decisions],
        tools=[d["tools"] for d in decisions],
        source=_SOURCE,
        name="the ledger",
    )
    return table, texts


def _feedback(connection: Connection) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Scores, and the latest demonstration, by decision.

    What is said of an answer from the cache is said of the decision that it came from, where that was
    asked the same; an answer to a question that was merely alike says nothing of how good it was there.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    demonstrations: dict[str, str] = {}
    of = case((DECISIONS.c.origin == "cache", DECISIONS.c.cached_from), else_=DECISIONS.c.query_id)
    said = select(of.label("query_id"), FEEDBACK.c.score, FEEDBACK.c.demonstration)
    said = said.join(DECISIONS, DECISIONS.c.query_id == FEEDBACK.c.query_id).order_by(FEEDBACK.c.id)
    for row in connection.execute(said).mappings():
        if row["score"] is not None:
            scores[row["query_id"]].append(row["score"])
        if row["demonstration"]:
            demonstrations[row["query_id"]] = row["demonstration"]
    return scores, demonstrations


def _herd(connection: Connection) -> Herd:
    """Everybody who was ever in the herd, in a stable order."""
    facts = connection.execute(select(CANDIDATES.c.facts).order_by(CANDIDATES.c.candidate)).scalars()
    return Herd(msgspec.json.decode(text, type=Candidate) for text in facts)
