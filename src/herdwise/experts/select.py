"""Where is the herd weak? Clusters of queries, ranked by what an expert could gain there."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import Encoder

#: Why a cluster is worth an expert.
Reason = Literal["low quality", "high cost", "lone candidate"]

# Chinese, Japanese and Korean write words without blanks: pairs of characters stand in for them.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"(?=([{_CJK}]{{2}}))[{_CJK}]|((?:(?![{_CJK}])[^\W\d_]){{2,}})")
#: An answer of at least this quality counts as right.
_RIGHT = 0.5
#: A cluster's best candidate is costly where it costs this many times the herd's median candidate.
_COSTLY = 3.0
#: The share of a cluster's queries that only its lone candidate gets right, from which on it is named.
_LONE = 0.1
#: Below the herd's own best quality by this much, a cluster is weak.
_LOW = 0.05
#: Prior strength of the words' log-odds, in words.
_PRIOR = 500.0
#: A word that stands in a larger share of the other texts tells little, however often it stands here.
_COMMON = 0.1


@dataclass(frozen=True, slots=True)
class Weakness:
    """One cluster of queries.

    Args:
        cluster: its number.
        n: queries in it with at least one outcome.
        share: of all such queries.
        words: those that set it apart from the rest, the most telling first.
        examples: texts nearest to its centre.
        benchmarks: benchmark -> queries.
        best_candidate: the best on average there, by its mean over what it ran (candidates that ran less
            than half of the cluster are passed over). Chosen and measured on the same outcomes, so a
            little flattered; the lost quality is understated by as much.
        best_quality: its mean quality there.
        oracle: mean quality of the best candidate of each query, in hindsight.
        lost_quality: share * (1 - best_quality): how much the mean over all queries would rise if an
            expert answered this cluster without error. The ranking.
        unsolved: share of its queries that no candidate gets right: beyond routing.
        lone_candidate: who alone gets most of the queries right that only one gets right; None = nobody.
        lone_share: share of the cluster's queries that it alone gets right.
        cost: mean cost of the best candidate there, in ``cost_kind``; None = unknown.
        cost_kind: "usd" or "active_params".
        reasons: what makes it weak; empty where it is about as good as the rest.
        query_ids: its queries, the nearest to its centre first.
    """

    cluster: int
    n: int
    share: float
    words: list[str]
    examples: list[str]
    benchmarks: dict[str, int]
    best_candidate: str
    best_quality: float
    oracle: float
    lost_quality: float
    unsolved: float
    lone_candidate: str | None
    lone_share: float
    cost: float | None
    cost_kind: str
    reasons: list[Reason]
    query_ids: list[str]


def find_weaknesses(
    table: OutcomeTable,
    vectors: np.ndarray | Encoder,
    *,
    n_clusters: int = 24,
    n_examples: int = 3,
    n_words: int = 8,
    quality_column: str = "quality",
    seed: int = 0,
) -> list[Weakness]:
    """Clusters of a table's queries, the one with the most quality to gain first.

    Args:
        table: recorded outcomes; queries without any are left out.
        vectors: ``(n_queries, d)``, or the encoder to make them with.
        n_clusters: clusters (k-means on vectors of unit length); at most as many as there are queries.
        n_examples, n_words: how many of each to give.
        quality_column: the column that says what is right.
        seed: of k-means.

    Raises:
        InputError: when shapes differ, or no query has a graded outcome.
    """
    quality = table.matrix(quality_column)
    if isinstance(vectors, Encoder):
        vectors = vectors.encode(table.texts)
    if vectors.shape[0] != table.n_queries:
        raise InputError(f"{vectors.shape[0]} vectors for {table.n_queries} queries.")
    ran = np.flatnonzero(np.isfinite(quality).any(axis=1))
    if not len(ran):
        raise InputError("no query has a graded outcome.", remedy="Record some first: herdwise profile.")
    if n_clusters < 1:
        raise InputError("at least one cluster is needed.")
    quality = quality[ran].astype(np.float64)
    points = np.asarray(vectors, dtype=np.float32)[ran]
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    labels, centres = _clusters(points, min(n_clusters, len(ran)), seed)
    rows: list[int] = ran.tolist()
    texts = [table.texts[i] for i in rows]
    words = [Counter(_words(text)) for text in texts]
    everywhere: Counter[str] = Counter()
    for counted in words:
        everywhere.update(counted)
    cost, cost_kind = _costs(table)
    cost = cost[ran]
    overall = _best(quality)[1]
    found = []
    for cluster in np.unique(labels):
        inside = np.flatnonzero(labels == cluster)
        best, best_quality = _best(quality[inside])
        lone, lone_share, unsolved = _lone(quality[inside])
        best_cost = _mean(cost[inside, best])
        nearest = inside[np.argsort(-(points[inside] @ centres[cluster]), kind="stable")]
        counted = Counter()
        for i in inside:
            counted.update(words[i])
        reasons: list[Reason] = []
        if best_quality < overall - _LOW:
            reasons.append("low quality")
        typical = _typical(cost[inside])
        if best_cost is not None and typical is not None and best_cost > _COSTLY * typical:
            reasons.append("high cost")
        if lone is not None and lone_share >= _LONE and _is_costly(cost[inside], lone):
            reasons.append("lone candidate")
        found.append(
            Weakness(
                cluster=int(cluster),
                n=len(inside),
                share=len(inside) / len(ran),
                words=telling_words(counted, everywhere, n_words, n_outside=len(ran) - len(inside)),
                examples=_distinct([texts[i] for i in nearest], n_examples),
                benchmarks=dict(Counter(table.benchmarks[rows[i]] for i in inside).most_common()),
                best_candidate=table.herd.names[best],
                best_quality=best_quality,
                oracle=float(np.nanmax(quality[inside], axis=1).mean()),
                lost_quality=len(inside) / len(ran) * (1.0 - best_quality),
                unsolved=unsolved,
                lone_candidate=None if lone is None else table.herd.names[lone],
                lone_share=lone_share,
                cost=best_cost,
                cost_kind=cost_kind,
                reasons=reasons,
                query_ids=[table.query_ids[rows[i]] for i in nearest],
            )
        )
    return sorted(found, key=lambda w: (-w.lost_quality, w.cluster))


def telling_words(inside: Counter[str], everywhere: Counter[str], n: int, *, n_outside: int) -> list[str]:
    """Words that set some texts apart: log-odds ratio with an informative Dirichlet prior, as z-scores.

    Source: Monroe, Colaresi and Quinn, Fightin' Words (Political Analysis, 2008).

    Args:
        inside: word -> number of texts within that hold it.
        everywhere: the same over all texts, those within included.
        n: at most so many, those below 2 standard deviations left out.
        n_outside: texts that are not within; a word in more than a tenth of them is a common one.
    """
    total, total_in = sum(everywhere.values()), sum(inside.values())
    total_out = total - total_in
    scores: list[tuple[float, str]] = []
    for word, count in inside.items():
        prior = _PRIOR * everywhere[word] / total
        outside = everywhere[word] - count
        if everywhere[word] == total:
            continue  # there is no other word for it to stand out from
        if outside > _COMMON * n_outside:
            continue
        odds_in = (count + prior) / (total_in + _PRIOR - count - prior)
        odds_out = (outside + prior) / (total_out + _PRIOR - outside - prior)
        spread = math.sqrt(1 / (count + prior) + 1 / (outside + prior))
        score = (math.log(odds_in) - math.log(odds_out)) / spread
        if score >= 2:
            scores.append((-score, word))
    return [word for _, word in sorted(scores)[:n]]


def _words(text: str) -> set[str]:
    return {(pair or word).casefold() for pair, word in _WORD.findall(text)}


def _clusters(points: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Fewer distinct points than clusters: the empty ones simply do not appear.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(n_clusters=k, n_init=4, random_state=seed).fit(points)
    return np.asarray(fitted.labels_), np.asarray(fitted.cluster_centers_)


def _best(quality: np.ndarray) -> tuple[int, float]:
    """The best candidate by its mean; only those that ran half of the queries, if any did, compete."""
    count = np.isfinite(quality).sum(axis=0)
    mean = np.where(count > 0, np.nansum(quality, axis=0) / np.maximum(count, 1), -np.inf)
    enough = count * 2 >= len(quality)
    mean = np.where(enough, mean, -np.inf) if enough.any() else mean
    best = int(mean.argmax())
    return best, float(mean[best])


def _lone(quality: np.ndarray) -> tuple[int | None, float, float]:
    """Who is most often the only one right, on which share of the queries; share that nobody gets right."""
    right = np.nan_to_num(quality, nan=0.0) >= _RIGHT
    alone = right & (right.sum(axis=1) == 1)[:, None]
    unsolved = float((~right.any(axis=1)).mean())
    times = alone.sum(axis=0)
    if not times.any():
        return None, 0.0, unsolved
    lone = int(times.argmax())
    return lone, float(times[lone] / len(quality)), unsolved


def _costs(table: OutcomeTable) -> tuple[np.ndarray, str]:
    """``(n, m)`` cost of each pair, NaN = unknown: USD where recorded, else active parameters."""
    if table.has("cost_usd"):
        return table.matrix("cost_usd").astype(np.float64), "usd"
    sizes = table.herd.column(lambda c: c.active_params_b)
    return np.broadcast_to(sizes, (table.n_queries, table.n_candidates)).copy(), "active_params"


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _means(cost: np.ndarray) -> np.ndarray:
    count = np.isfinite(cost).sum(axis=0)
    return np.where(count > 0, np.nansum(cost, axis=0) / np.maximum(count, 1), np.nan)


def _typical(cost: np.ndarray) -> float | None:
    """Cost of the median candidate whose cost is known."""
    means = _means(cost)
    known = means[np.isfinite(means)]
    return float(np.median(known)) if len(known) else None


def _is_costly(cost: np.ndarray, candidate: int) -> bool:
    """Whether a candidate's cost is known and above the median candidate's."""
    typical, own = _typical(cost), _means(cost)[candidate]
    return typical is not None and bool(np.isfinite(own)) and bool(own > typical)


def _distinct(texts: Sequence[str], n: int) -> list[str]:
    return list(dict.fromkeys(texts))[:n]
