"""herdwise: one OpenAI-compatible endpoint over a herd of language models.

Importing this package does no work: names below are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from herdwise.core.version import __version__

if TYPE_CHECKING:
    from herdwise.core.candidate import Candidate, Herd
    from herdwise.core.decision import Constraints, Goals, Preferences
    from herdwise.core.errors import HerdwiseError
    from herdwise.core.outcomes import OutcomeTable
    from herdwise.core.query import Query
    from herdwise.evaluation.evaluate import evaluate
    from herdwise.routing.router import Router
    from herdwise.storage.outcomes import read_outcomes, write_outcomes


_HOMES = {
    "Candidate": "herdwise.core.candidate",
    "Constraints": "herdwise.core.decision",
    "Goals": "herdwise.core.decision",
    "Herd": "herdwise.core.candidate",
    "HerdwiseError": "herdwise.core.errors",
    "OutcomeTable": "herdwise.core.outcomes",
    "Preferences": "herdwise.core.decision",
    "Query": "herdwise.core.query",
    "Router": "herdwise.routing.router",
    "evaluate": "herdwise.evaluation.evaluate",
    "read_outcomes": "herdwise.storage.outcomes",
    "write_outcomes": "herdwise.storage.outcomes",
}

__all__ = [
    "Candidate",
    "Constraints",
    "Goals",
    "Herd",
    "HerdwiseError",
    "OutcomeTable",
    "Preferences",
    "Query",
    "Router",
    "__version__",
    "evaluate",
    "read_outcomes",
    "write_outcomes",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'herdwise' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
