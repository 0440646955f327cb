"""docs/configuration.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from herdwise.config import tree
from herdwise.config.load import load
from herdwise.config.wiring import build_service
from herdwise.routing.constraints import ASSUMED_CONTEXT_TOKENS
from herdwise.routing.declared import PRIOR_QUALITY

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_example_can_be_served(page, tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "herdwise.yaml").write_text(example, encoding="utf-8")
    service = build_service(load(tmp_path / "herdwise.yaml", {"EXAMPLE_API_KEY": "k"}))
    assert service.ranker.herd.names == ["small", "large"]
    assert service.goals.generalist == "large"


def test_every_key_is_explained(page):
    nodes = [n for n in vars(tree).values() if isinstance(n, type) and issubclass(n, tree.Node)]
    keys = {field.name for node in nodes for field in msgspec.structs.fields(node)}
    explained = set(re.findall(r"`(\w+)`", page)) | set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    assert keys - explained == set()


@pytest.mark.parametrize(
    ("heading", "node"),
    [
        ("candidates", tree.Timeouts),
        ("policy", tree.PolicyNode),
        ("goals", tree.GoalsNode),
        ("server", tree.ServerNode),
        ("server", tree.BreakerNode),
        ("ledger", tree.LedgerNode),
        ("cache", tree.CacheNode),
        ("telemetry", tree.TelemetryNode),
    ],
)
def test_the_defaults_on_the_page_are_the_defaults_in_code(page, heading, node):
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section, re.MULTILINE))
    default = node()
    for field in msgspec.structs.fields(node):
        value, text = getattr(default, field.name), shown[field.name].strip("`")
        if isinstance(value, tree.Secret):
            assert text == value.reveal()
        elif isinstance(value, bool):
            assert text == str(value).lower(), field.name
        elif isinstance(value, int | float):
            assert float(text) == value, field.name
        elif isinstance(value, str):
            assert text == value, field.name
        elif isinstance(value, tree.Node):
            assert text in {"see below", "none", "quality alone"}, field.name
        else:
            assert text in {"none", "no limit", "quality alone"}, field.name


def test_the_assumptions_on_the_page_are_those_of_routing(page):
    assert f"{ASSUMED_CONTEXT_TOKENS:,} are assumed" in page
    assert f"worth {PRIOR_QUALITY:g} until" in page
