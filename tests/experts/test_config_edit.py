"""Changing a config as a text: comments, order and everything else stay."""

from __future__ import annotations

import pytest
import yaml

from herdwise.core.errors import ConfigError
from herdwise.experts.config_edit import with_candidate, with_router

ENTRY = {"name": "vowels", "backend": "embedded", "options": {"folder": "/a b/c: d"}, "price": {"input_usd_per_mtok": 0.0}}  # fmt: skip  # noqa: E501

BLOCK = """\
# Our herd.
router: old   # trained in spring
candidates:
  - name: small       # the quick one
    base_url: http://127.0.0.1:1/v1
    api_key: ${KEY:-none}
    options:
      note: |
        two
        lines
  # between
  - {name: large, base_url: "http://127.0.0.1:2/v1"}
  # after the last

# the server
server:
  port: 1234
"""
FORMS = {
    "block": BLOCK,
    "not indented": "candidates:\n- name: a\n  tags: [x]\n- name: b\nserver: {port: 1}\n",
    "last in the file, no line end": "server: {port: 1}\ncandidates:\n  -   name: a\n      base_url: http://x",
    "block text at the end": "candidates:\n  - name: a\n    licence: |\n      one\n      two\n\ngoals: {}\n",
    "flow": "candidates: [{name: a}, {name: b}] # both\nserver: {port: 1}\n",
    "flow over lines": "candidates: [\n  {name: a},  # one\n  {name: b},\n]\nserver: {port: 1}\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_a_candidate_joins_and_all_else_stays(text: str) -> None:
    changed = with_candidate(text, ENTRY)
    before, after = yaml.safe_load(text), yaml.safe_load(changed)
    assert after["candidates"] == [*before["candidates"], ENTRY]
    assert {k: v for k, v in after.items() if k != "candidates"} == {
        k: v for k, v in before.items() if k != "candidates"
    }
    for line in text.splitlines():
        start = line.split("]")[0].rstrip(",")
        assert any(kept.startswith(start) for kept in changed.splitlines()), line


def test_comments_stand_where_they_stood() -> None:
    changed = with_candidate(BLOCK, ENTRY)
    kept = changed.splitlines()
    start = kept.index("  - name: vowels")
    assert kept[start - 1] == '  - {name: large, base_url: "http://127.0.0.1:2/v1"}'
    end = kept.index("  # after the last")
    assert kept[:start] + kept[end:] == BLOCK.splitlines()


def test_the_router_is_exchanged_in_its_line_or_added() -> None:
    changed = with_router(BLOCK, "router-with-vowels")
    assert 'router: "router-with-vowels"   # trained in spring' in changed.splitlines()
    assert changed.replace('"router-with-vowels"', "old") == BLOCK
    without = BLOCK.replace("router: old   # trained in spring\n", "")
    added = with_router(without, "new")
    assert yaml.safe_load(added) == {**yaml.safe_load(without), "router": "new"}
    assert added.startswith("# Our herd.\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("candidates:\n  - name: vowels\n", "stands in the config already"),
        ("server: {}\n", "no list of candidates"),
        ("candidates: []\n", "no list of candidates"),
        ("- a\n", "no mapping"),
        ("a: [", "not YAML"),
        ("base: &b\n  - name: a\ncandidates: *b\n", "cannot be changed safely"),
    ],
)
def test_what_cannot_be_changed_safely_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        with_candidate(text, ENTRY)


def test_a_router_in_flow_style_at_the_root_is_refused() -> None:
    with pytest.raises(ConfigError, match="safely"):
        with_router("{candidates: [{name: a}]}", "r")
