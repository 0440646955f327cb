"""The cluster that an expert is to be made for: whose queries, which may be learned from, which measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import Encoder
from herdwise.experts.select import Weakness, find_weaknesses
from herdwise.experts.trial import GATE_SHARE, held_back

#: A cluster of fewer queries than this is not worth an expert unless it is named.
FEWEST = 10
#: A cluster whose best candidate is below this is weak, however the rest does.
_MOSTLY_WRONG = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """What an expert is made for.

    Args:
        weakness: the cluster, found on queries that may be learned from.
        seeds: ids of its queries that may be learned from.
        related: those of the other weak clusters, which may be of the same kind.
        others: those of the clusters that are not weak.
        measured: ids of the queries held back for the gate that lie nearest to the cluster's centre.
    """

    weakness: Weakness
    seeds: list[str]
    related: list[str]
    others: list[str]
    measured: list[str]


def choose_target(
    table: OutcomeTable,
    encoder: Encoder,
    *,
    n_clusters: int | None = None,
    cluster: int | None = None,
    share: float = GATE_SHARE,
    seed: int = 0,
) -> Target | None:
    """The cluster with the most quality to gain; None where no cluster is weak.

    Clusters are found and chosen on queries that the gate does not measure on, so that a cluster that did
    badly by chance does not flatter its expert.

    Args:
        table: recorded outcomes.
        encoder: fitted.
        n_clusters: 24 by default, fewer for few queries.
        cluster: takes the one of this number, weak or not.
        share: of the queries that is held back.
        seed: of the clustering.

    Raises:
        InputError: when there is nothing to cluster, or no cluster of that number.
    """
    back = held_back(table.texts, share)
    seen = table.take(np.flatnonzero(~back))
    vectors = encoder.encode(seen.texts)
    k = n_clusters or max(2, min(24, seen.n_queries // 40))
    found = find_weaknesses(seen, vectors, n_clusters=k, seed=seed)
    if cluster is not None:
        chosen = next((w for w in found if w.cluster == cluster), None)
        if chosen is None:
            known = ", ".join(str(w.cluster) for w in found)
            raise InputError(f"there is no cluster {cluster}.", remedy=f"Found: {known}.")
    else:
        chosen = next((w for w in found if w.n >= FEWEST and _is_weak(w)), None)
        if chosen is None:
            return None
    centres = np.stack([_centre(seen, vectors, w.query_ids) for w in found])
    unseen = table.take(np.flatnonzero(back))
    nearest = (_unit(encoder.encode(unseen.texts)) @ centres.T).argmax(axis=1)
    own = found.index(chosen)
    return Target(
        weakness=chosen,
        seeds=list(chosen.query_ids),
        related=[id_ for w in found if w is not chosen and _is_weak(w) for id_ in w.query_ids],
        others=[id_ for w in found if w is not chosen and not _is_weak(w) for id_ in w.query_ids],
        measured=[unseen.query_ids[i] for i in np.flatnonzero(nearest == own).tolist()],
    )


def _is_weak(cluster: Weakness) -> bool:
    # Where the whole herd is bad, no cluster is worse than the rest.
    return bool(cluster.reasons) or cluster.best_quality < _MOSTLY_WRONG


def _centre(table: OutcomeTable, vectors: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    inside = np.isin(np.asarray(table.query_ids, dtype=object), list(ids))
    return np.asarray(_unit(_unit(vectors[inside]).mean(axis=0, keepdims=True))[0])


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
