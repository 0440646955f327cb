"""What is known of candidates whatever was recorded of them, for predictors that learn across candidates."""

from __future__ import annotations

import re
import zlib

import numpy as np

from herdwise.core.candidate import Candidate, Herd

#: Columns of ``candidate_features``, in order; logarithms are natural.
CANDIDATE_FEATURES = (
    "log_params_b",
    "log_active_params_b",
    "log_usd_per_mtok",
    "open_weights",
    "log_context_tokens",
    "family",
)
#: The columns that number kinds and do not measure.
KINDS = (CANDIDATE_FEATURES.index("family"),)
#: Families are numbered by a hash of their name, so that herds learned apart agree on the number.
_N_FAMILIES = 4096
_WORD = re.compile(r"[a-z]{2,}")
#: First words of names that tell the maker and not the family.
_MAKERS = {"meta", "the"}


def candidate_features(herd: Herd) -> np.ndarray:
    """``(m, len(CANDIDATE_FEATURES))`` float32 of a herd, NaN = unknown.

    A price is the mean of input's and output's; that of a free candidate counts as 0.001 USD per million
    tokens. A family is the first word of the name after its owner's: llama of ``Meta-Llama-3-8B``.
    """
    return np.array([_features(candidate) for candidate in herd], dtype=np.float32).reshape(
        len(herd), len(CANDIDATE_FEATURES)
    )


def _features(candidate: Candidate) -> list[float]:
    given = candidate.price.input_usd_per_mtok, candidate.price.output_usd_per_mtok
    prices = [usd for usd in given if usd is not None]
    price = max(sum(prices) / len(prices), 1e-3) if prices else None
    return [
        _log(candidate.params_b),
        _log(candidate.active_params_b),
        _log(price),
        np.nan if candidate.open_weights is None else float(candidate.open_weights),
        _log(candidate.context_tokens),
        family_number(candidate.name),
    ]


def family_number(name: str) -> float:
    """The number of a candidate's family, by its name; NaN where the name holds no word.

    >>> family_number("meta-llama/Meta-Llama-3-8B") == family_number("llama-2-70b-chat")
    True
    """
    words = [word for word in _WORD.findall(name.rsplit("/", 1)[-1].lower()) if word not in _MAKERS]
    return float(zlib.crc32(words[0].encode()) % _N_FAMILIES) if words else float("nan")


def _log(value: float | None) -> float:
    return np.nan if value is None or value <= 0 else float(np.log(value))
