import datetime as dt
import random
import re

import pytest

from herdwise.core.errors import UnknownNameError
from herdwise.experts.families import (
    EXPERT_FAMILIES,
    FAMILIES,
    GENERALIST_FAMILIES,
    HELD_OUT_FAMILY,
    SPLITS,
    family,
    split_of,
)
from herdwise.experts.families.countries import COUNTRIES
from herdwise.experts.families.dates import written
from herdwise.experts.families.elements import ELEMENTS
from herdwise.experts.families.identifiers import cased
from herdwise.experts.families.plurals import plural
from herdwise.experts.families.roman import to_roman
from herdwise.experts.families.verbs import VERBS
from herdwise.experts.families.wording import say

ALL = sorted(FAMILIES)


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_items_and_another_seed_others(name: str) -> None:
    first = list(family(name).items("train", 50, seed=3))
    assert first == list(family(name).items("train", 50, seed=3))
    assert first != list(family(name).items("train", 50, seed=4))


@pytest.mark.parametrize("name", ALL)
def test_no_content_stands_in_two_splits_whatever_the_phrasing(name: str) -> None:
    contents = [{i.content for i in family(name).items(split, 500, seed=0)} for split in SPLITS]
    assert not contents[0] & contents[1]
    assert not contents[0] & contents[2]
    assert not contents[1] & contents[2]
    phrasings = {i.phrasing for i in family(name).items("train", 500, seed=0)}
    assert len(phrasings) >= 5


@pytest.mark.parametrize("name", ALL)
def test_items_are_short_enough_for_a_nano_model_and_name_their_family(name: str) -> None:
    for item in family(name).items("train", 400, seed=1):
        assert item.family == name
        assert item.answer == item.answer.strip() != ""
        assert len(item.query) + len(item.answer) < 180
        assert 1 <= item.difficulty <= 3
        assert split_of(item) == "train"


def test_the_held_out_family_is_known_to_no_member_of_the_herd() -> None:
    assert HELD_OUT_FAMILY not in EXPERT_FAMILIES + GENERALIST_FAMILIES
    assert set(ALL) == {*EXPERT_FAMILIES, *GENERALIST_FAMILIES, HELD_OUT_FAMILY}


def test_an_unknown_family_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(UnknownNameError, match="dates"):
        family("poems")


def test_both_parts_of_a_mixed_query_belong_to_its_split() -> None:
    # A part of the test split, say "sums 3+4", must not be a training item of its own family either.
    for split in SPLITS:
        for item in family("mixed").items(split, 100, seed=0):
            for part in item.content.partition(":")[2].split(" & "):
                name, _, content = part.partition(" ")
                alike = next(family(name).items(split, 1, seed=0))
                assert split_of(type(alike)("", "", name, content, 1, "")) == split


def test_sums_are_right_however_they_are_asked() -> None:
    for item in family("sums").items("test", 500, seed=2):
        a, sign, b = re.fullmatch(r"(\d+)([+-])(\d+)", item.content).groups()  # type: ignore[union-attr]
        assert int(item.answer) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
        assert {a, b} == set(re.findall(r"\d+", item.query))


def test_the_same_unit_conversion_has_one_content_in_both_directions() -> None:
    answers: dict[str, set[str]] = {}
    for item in family("units").items("train", 2500, seed=2):
        much = item.content.split()[0]
        answers.setdefault(item.content, set()).add(item.answer)
        assert item.answer == much or much in item.query
    assert any(len(found) == 2 for found in answers.values())
    assert all(len(found) <= 2 for found in answers.values())


def test_forms_that_families_convert_between() -> None:
    assert [to_roman(n) for n in (4, 1999, 3888)] == ["IV", "MCMXCIX", "MMMDCCCLXXXVIII"]
    day = dt.date(2021, 3, 5)
    assert [written(day, form) for form in ("iso", "us", "dots")] == [
        "2021-03-05",
        "03/05/2021",
        "05.03.2021",
    ]
    assert [written(day, "words", style=s) for s in range(4)] == [
        "5 March 2021", "March 5, 2021", "Mar 5 2021", "5 mar 2021",
    ]  # fmt: skip
    cases = ("snake", "camel", "pascal", "kebab", "constant", "words", "initials")
    assert [cased(["user", "name"], case) for case in cases] == [
        "user_name", "userName", "UserName", "user-name", "USER_NAME", "user name", "UN",
    ]  # fmt: skip
    assert [plural(noun) for noun in ("story", "box", "day", "potato")] == [
        "stories", "boxes", "days", "potatoes",
    ]  # fmt: skip


def test_the_tables_name_nothing_twice() -> None:
    assert len(ELEMENTS) == len({s for s, _ in ELEMENTS}) == len({n for _, n in ELEMENTS}) == 94
    assert ELEMENTS[78] == ("Au", "gold")
    assert all(len(row) == 4 for row in COUNTRIES)
    for column in (0, 1, 3):
        assert len({row[column] for row in COUNTRIES}) == len(COUNTRIES)
    assert all(len(row) == 3 for row in VERBS)
    assert len({row[0] for row in VERBS}) == len(VERBS)


def test_slips_change_the_words_around_what_is_asked_and_never_that() -> None:
    rng = random.Random(0)
    texts = {say(rng, "x", ("convert {thing} quickly",), thing="Quetzalcoatl")[0] for _ in range(400)}
    assert all("Quetzalcoatl" in text for text in texts)
    assert not all("onvert Quetzalcoatl quickly" in text for text in texts)


def test_families_share_their_words_so_that_no_single_one_gives_the_family_away() -> None:
    words: dict[str, set[str]] = {}
    for name in EXPERT_FAMILIES:
        for item in family(name).items("train", 300, seed=5):
            for word in set(re.findall(r"[a-z]{3,}", item.query.lower())):
                words.setdefault(word, set()).add(name)
    for word in ("convert", "write", "what", "give", "many", "put"):
        assert len(words[word]) >= 3, (word, words[word])
    assert sum(len(names) >= 2 for names in words.values()) > 60
