"""Adapting: the same knowledge for another herd."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.errors import HerdMismatchError

if TYPE_CHECKING:
    from herdwise.routing.router import Router


def adapting(router: Router, herd: Herd) -> Router:
    """See ``Router.adapt``."""
    source: list[int] = []
    unknown: list[str] = []
    for candidate in herd:
        by_name = candidate.name in router.column_of
        known = candidate.name if by_name else candidate.like
        if known is not None and known in router.column_of:
            source.append(router.column_of[known])
        elif candidate.quality is not None:
            source.append(-1)
        else:
            unknown.append(repr(candidate.name))
    if unknown:
        raise HerdMismatchError(
            f"the router does not know candidate{'s' if len(unknown) > 1 else ''} {', '.join(unknown)};"
            f" it was trained for {', '.join(router.trained.names)}.",
            remedy="Name candidates as in the training data, give them `like: <one of these>` or a"
            " `quality`, or train again with their outcomes.",
        )
    columns = np.array(source, dtype=np.int64)
    declared = herd.column(lambda c: c.quality)
    learned = np.unique(columns[(columns >= 0) & (columns < len(router.columns))])
    return replace(
        router,
        herd=herd,
        predictor=router.predictor.among(learned),
        source=columns,
        constant=np.where(columns < 0, declared, np.nan),
    )
