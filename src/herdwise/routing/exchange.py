"""Exchange: a router with one more candidate, or one less, without training again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.errors import InputError
from herdwise.routing.enlist import Admission

if TYPE_CHECKING:
    from herdwise.routing.router import Router


def admitting(router: Router, admission: Admission) -> Router:
    """The same knowledge with one more candidate, and its outcomes among the recorded ones."""
    candidate, near = admission.candidate, router.kept_neighbours
    if near is not None:
        there = admission.rows >= 0
        near = near.with_candidate(candidate.name, admission.rows[there], admission.quality[there])
    column, fusion = admission.column, router.fusion
    # A fusion saved before it took in enlisted candidates lacks their columns, and goes on without them.
    if fusion is not None and fusion.n_candidates == len(router.by_column):
        fusion = fusion.with_voice(admission.voice)
    return replace(
        router,
        herd=Herd([*router.herd, candidate]),
        trained=Herd([*router.trained, candidate]),
        admitted=column if router.admitted is None else router.admitted.joined(column),
        source=np.append(router.source, len(router.by_column)),
        constant=np.append(router.constant, np.nan),
        facts=router.facts.with_enlisted(admission),
        fusion=fusion,
        _neighbours=lambda: near,
    )


def removing(router: Router, name: str) -> Router:
    """Forget a candidate; what was learned from its outcomes about the others stays.

    Raises:
        UnknownNameError: when it is not known.
        InputError: when nobody would be left.
    """
    router.trained.index(name)
    herd, trained = (Herd(c for c in old if c.name != name) for old in (router.herd, router.trained))
    if not len(herd):
        raise InputError(f"{name!r} is the last candidate.", remedy="Enlist another one first.")
    rest, near, gone = router.admitted, router.kept_neighbours, router.column_of[name]
    source = router.source[[c.name != name for c in router.herd]]
    constant = router.constant[[c.name != name for c in router.herd]]
    fusion = router.fusion
    if rest is not None and gone >= len(router.columns):
        if fusion is not None and gone < fusion.n_candidates:
            fusion = fusion.without(gone)
        rest = rest.without([name])
        near = None if near is None else near.without_column(gone)
        if (source == gone).any():
            raise InputError(f"another candidate is declared like {name!r}.", remedy="Remove that one first.")
        source = source - (source > gone)
    return replace(
        router,
        herd=herd,
        trained=trained,
        admitted=rest,
        source=source,
        constant=constant,
        facts=router.facts.without(name),
        fusion=fusion,
        _neighbours=lambda: near,
    )
