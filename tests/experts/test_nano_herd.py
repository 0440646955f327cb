"""The herd that ships: its models, their cards, and what is recorded of them."""

from pathlib import Path

import numpy as np
import pytest

import herdwise
from herdwise.backends.nano.folder import read_card, read_config
from herdwise.backends.nano.model import NanoModel
from herdwise.core.outcomes import OutcomeTable
from herdwise.experts.families import EXPERT_FAMILIES, GENERALIST_FAMILIES, HELD_OUT_FAMILY
from herdwise.experts.nano_profile import MAX_ANSWER_TOKENS
from herdwise.experts.recipe import GENERALIST_NAME, nano_members
from herdwise.routing.router import Router
from herdwise.storage.outcomes import read_outcomes

NANO = Path(herdwise.__file__).parent / "data" / "nano"


@pytest.fixture(scope="module")
def recorded() -> OutcomeTable:
    return read_outcomes("nano")


def test_every_member_of_the_recipe_ships_with_a_card_that_states_data_figures_and_seed() -> None:
    for member in nano_members():
        config, card = read_config(NANO / member.name), read_card(NANO / member.name)
        assert config.n_params == member.settings.config().n_params
        assert card["data"]["families"] == list(member.families)
        assert card["data"]["seed"] == member.settings.seed
        assert set(card["figures"]["exact"]) == set(member.families)
        assert card["int8"]["same_answers"] >= 0.9
        for name in ("steps", "lr", "width", "heads", "batch"):
            assert card["training"][name] == getattr(member.settings, name), (member.name, name)


def test_the_herd_with_its_records_is_less_than_5_megabytes() -> None:
    assert sum(path.stat().st_size for path in NANO.rglob("*") if path.is_file()) < 5e6


def test_recorded_answers_are_what_the_shipped_models_say(recorded: OutcomeTable) -> None:
    rows = np.linspace(0, recorded.n_queries - 1, 40).astype(int)
    answers, quality = recorded.answer_matrix(), recorded.matrix()
    assert recorded.references is not None
    for j, name in enumerate(recorded.herd.names):
        model = NanoModel.load(NANO / name)
        said = model.answer_all([recorded.texts[i] for i in rows], MAX_ANSWER_TOKENS)
        # Where two tokens are equally likely to six digits, sums in another order may choose the other.
        alike = [(text or None) == answers[i, j] for text, i in zip(said, rows, strict=True)]
        assert np.mean(alike) >= 0.95, name
        right = [answers[i, j] == recorded.references[i] for i in rows]
        np.testing.assert_array_equal(quality[rows, j], right)


def test_queries_of_both_splits_are_in_equal_parts_from_every_family_but_the_held_out_one(
    recorded: OutcomeTable,
) -> None:
    for split in ("train", "test"):
        part = recorded.split(split)
        names, counts = np.unique(np.array(part.benchmarks), return_counts=True)
        assert set(names) == {*EXPERT_FAMILIES, *GENERALIST_FAMILIES}
        assert counts.max() - counts.min() <= 1
    assert HELD_OUT_FAMILY not in set(recorded.benchmarks)


def test_a_router_learns_to_send_families_to_their_experts(recorded: OutcomeTable) -> None:
    train = recorded.split("train")
    learn, held = train.take(np.arange(0, 1500)), train.take(np.arange(1500, 2000))
    router = Router.fit(learn, keep_texts=False)
    chosen = router.estimate(held.queries()).quality.argmax(axis=1)
    quality = held.matrix()
    routed = quality[np.arange(held.n_queries), chosen].mean()
    single, oracle = quality.mean(axis=0).max(), quality.max(axis=1).mean()
    assert routed > single + 0.3 * (oracle - single)
    # Sums are what the generalist has not learned; elsewhere it often is as good as the expert.
    sums = np.array([benchmark == "sums" for benchmark in held.benchmarks])
    assert np.mean(chosen[sums] == learn.herd.names.index("sums")) > 0.6


def test_sizes_are_in_billions_and_the_generalist_is_two_to_four_times_an_expert(
    recorded: OutcomeTable,
) -> None:
    size = {c.name: c.params_b or 0.0 for c in recorded.herd}
    assert size["dates"] == pytest.approx(217_920 / 1e9)
    assert 2 <= size[GENERALIST_NAME] / size["dates"] <= 4
