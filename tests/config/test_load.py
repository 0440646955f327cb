"""A config is read, filled in, checked; whatever is wrong is named with file, line, path and remedy."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from herdwise.config import tree
from herdwise.config.load import load
from herdwise.config.tree import Config, Secret
from herdwise.core.decision import Constraints, Goals, Preferences
from herdwise.core.errors import ConfigError

ONE = """\
candidates:
  - name: small
    base_url: http://127.0.0.1:8000/v1
"""
TWO = (
    ONE
    + """\
  - name: large
    base_url: http://127.0.0.1:8001/v1
    price: {input_usd_per_mtok: 1, output_usd_per_mtok: 2}
"""
)


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        file = tmp_path / "herdwise.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return _write


def refusal(file: Path, environ: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(file, environ or {})
    return caught.value


def test_a_short_config_gets_the_documented_defaults(write):
    config = load(write(ONE), {})
    (small,) = config.candidates
    assert (small.backend, small.model, small.api_key, small.price.output_usd_per_mtok) == (
        "openai_compatible",
        None,
        None,
        None,
    )
    assert (config.server.host, config.server.port, config.policy.name) == ("127.0.0.1", 8484, "single")
    assert config.router is None
    assert config.ledger.store_texts


def test_every_kind_of_value_arrives_with_its_type(write):
    text = TWO + (
        "    released: 2024-07-23\n    tags: [on-premises]\n    timeouts: {first_token_s: 3}\n"
        "    headers: {x-team: blue}\n    tools: yes\n"
        "goals:\n  cost_weight: 1e-3\n  constraints: {released_after: 2024-01-01}\n"
    )
    config = load(write(text), {})
    large = config.candidates[1]
    assert large.released == dt.date(2024, 7, 23)
    assert large.tags == ["on-premises"]
    assert large.timeouts.first_token_s == 3.0
    assert large.headers["x-team"].reveal() == "blue"
    assert large.tools is True
    assert config.goals.cost_weight == 0.001
    assert config.goals.constraints.released_after == dt.date(2024, 1, 1)


@pytest.mark.parametrize(
    ("node", "core"), [("Goals", Goals), ("Constraints", Constraints), ("Preferences", Preferences)]
)
def test_goals_in_a_config_have_the_fields_and_defaults_that_goals_have_in_code(node, core):
    in_config = {f.name for f in msgspec.structs.fields(getattr(tree, f"{node}Node"))}
    assert in_config == {f.name for f in fields(core)}
    for name in in_config - {"constraints", "preferences"}:
        ours, theirs = getattr(getattr(tree, f"{node}Node")(), name), getattr(core(), name)
        assert ours == theirs or (not ours and not theirs)


def test_a_key_whose_children_are_all_commented_out_keeps_its_default(write):
    config = load(write(ONE + "    price:\ngoals:\n  # cost_weight: 1\nserver:\n"), {})
    assert config.goals == tree.GoalsNode()
    assert config.candidates[0].price == tree.PriceNode()


def test_variables_are_filled_in_from_the_environment_only(write):
    text = ONE + "    api_key: ${KEY}\n    max_concurrency: ${N:-7}\n    model: ${A}-${B:-b}\n"
    small = load(write(text), {"KEY": "k", "A": "a", "B": ""}).candidates[0]
    assert small.api_key == Secret("k")
    assert small.max_concurrency == 7
    assert small.model == "a-b"


def test_a_dollar_sign_alone_or_escaped_is_text(write):
    text = ONE + "    model: $HOME-$${NAME}-$$\n"
    assert load(write(text), {}).candidates[0].model == "$HOME-${NAME}-$$"


def test_variables_in_comments_are_not_looked_up(write):
    assert load(write(ONE + "    # api_key: ${NOT_SET}\n"), {}).candidates[0].api_key is None


def test_unset_variables_are_all_named_with_file_line_and_field(write):
    error = refusal(write(ONE + "    api_key: ${MY_KEY}\n    model: ${MY_MODEL}\n"))
    assert "herdwise.yaml, line 4: candidates[0].api_key" in error.message
    assert "MY_KEY" in error.message
    assert "MY_MODEL" in error.message
    assert "${MY_KEY:-" in error.remedy


def test_the_process_environment_is_the_default(write, monkeypatch):
    monkeypatch.setenv("HERDWISE_TEST_KEY", "k")
    config = load(write(ONE + "    api_key: ${HERDWISE_TEST_KEY}\n"))
    assert config.candidates[0].api_key == Secret("k")


def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_known_key(write):
    error = refusal(write(TWO.replace("price:", "pirce:")))
    assert error.message == "herdwise.yaml, line 6: candidates[1].pirce: unknown key."
    assert error.remedy == "Did you mean price?"


def test_an_unknown_key_with_no_neighbour_gets_the_known_ones(write):
    error = refusal(write(ONE + "zzz: 1\n"))
    assert "line 4: zzz: unknown key" in error.message
    assert "candidates, router, encoder" in error.remedy


def test_a_key_twice_is_refused_with_both_lines(write):
    error = refusal(write(ONE + "    model: a\n    model: b\n"))
    assert "line 5: candidates[0].model" in error.message
    assert "line 4" in error.message


def test_a_candidate_twice_is_refused(write):
    error = refusal(write(TWO.replace("name: large", "name: small")))
    assert "line 4: candidates[1].name: candidate 'small' stands twice" in error.message


@pytest.mark.parametrize(
    ("line", "path", "problem"),
    [
        ("    max_concurrency: eight\n", "candidates[0].max_concurrency", "expected `int | null`, got `str`"),
        ("    max_concurrency: 0\n", "candidates[0].max_concurrency", ">= 1"),
        ("    quality: 1.5\n", "candidates[0].quality", "<= 1"),
        ("    params_b: -1\n", "candidates[0].params_b", "> 0"),
        ("    params_b: .inf\n", "candidates[0].params_b", "not a finite number"),
        ("    params_b: .nan\n", "candidates[0].params_b", "not a finite number"),
        ("    released: 2024\n", "candidates[0].released", "expected `date | null`"),
        ("    tags: fast\n", "candidates[0].tags", "expected `array`, got `str`"),
        ("    tags: [fast, 5]\n", "candidates[0].tags[1]", "expected `str`, got `int`"),
        ("    price: 3\n", "candidates[0].price", "expected `object`"),
        ("    api_key: 12345\n", "candidates[0].api_key", "expected `str`, got `int`"),
        ("    api_key: 'a b'\n", "candidates[0].api_key", "blank"),
        ("    headers: {x: 5}\n", "candidates[0].headers", "expected `str`"),
        ("    params_b: 7\n    active_params_b: 8\n", "candidates[0].active_params_b", "more parameters"),
        ("goals: {cost_kind: dollars}\n", "goals.cost_kind", "not one of usd, active_params"),
        ("goals: {generalist: larg}\n", "goals.generalist", "there is no candidate 'larg'"),
        ("goals: {min_quality: 0.5}\n", "goals.min_quality", "nobody is named"),
        ("goals: {constraints: {candidates: [x]}}\n", "goals.constraints.candidates[0]", "no candidate 'x'"),
        ("server: {port: 70000}\n", "server.port", "<= 65535"),
        ("server: {api_keys: abc}\n", "server.api_keys", "expected `array`"),
        ("router: [a]\n", "router", "expected `str`"),
    ],
)
def test_a_wrong_value_is_refused_at_its_path(write, line, path, problem):
    error = refusal(write(ONE + line))
    assert f": {path}" in error.message
    assert problem in error.message
    assert error.message.startswith("herdwise.yaml, line ")


@pytest.mark.parametrize("name", ["", "auto", "auto/single", "'a,b'", "' a'", "ünnamed", '"a\\nb"'])
def test_a_name_that_cannot_be_asked_for_is_refused(write, name):
    assert "candidates[0].name" in refusal(write(ONE.replace("small", name or "''"))).message


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/v1", "http://", "http://host:99999/v1"])
def test_a_base_url_that_is_no_http_address_is_refused(write, url):
    assert "candidates[0].base_url" in refusal(write(ONE.replace("http://127.0.0.1:8000/v1", url))).message


@pytest.mark.parametrize("url", ["127.0.0.1:4318", "ftp://there", "http://user:secret@there:4318"])
def test_traces_go_to_an_http_address_without_a_user_name(write, url):
    error = refusal(write(f"{ONE}telemetry: {{endpoint: '{url}'}}\n"))
    assert "telemetry.endpoint" in error.message
    assert "secret" not in str(error)


def test_an_openai_compatible_candidate_needs_an_address(write):
    error = refusal(write("candidates:\n  - name: small\n"))
    assert "line 2: candidates[0]: candidate 'small' has no base_url" in error.message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n", "a mapping is expected"),
        ("candidates: []\n", "no candidate is listed"),
        ("server: {port: 1}\n", "no candidate is listed"),
        ("candidates: [\n", "line 2, column 1: not YAML"),
        ("candidates:\n\t- name: a\n", "line 2, column 1: not YAML"),
        ("candidates: *nobody\n", "undefined alias"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
        ("a: \x00\n", "not YAML"),
        ("candidates: &a [*a]\n", "inside its own anchor"),
        ("candidates: !!python/object/apply:os.getcwd []\n", "not allowed"),
        ("policy: {name: !!python/name:os.system }\n", "not YAML"),
        ("? [a]\n: 1\n", "a key is not text"),
        ("1: a\n", "line 1: the file: a key is not text"),
        ("on: a\n", "line 1: on: unknown key"),
        ("candidates: [{name: '${1X}'}]\n", "not well formed"),
        ("candidates: [{name: '${X'}]\n", "not well formed"),
    ],
)
def test_a_file_that_is_no_config_is_refused(write, text, problem):
    assert problem in refusal(write(text)).message


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    file = tmp_path / "herdwise.yaml"
    file.write_bytes(b"candidates: \xff\xfe\n")
    assert "not UTF-8" in refusal(file).message


def test_a_missing_file_or_a_folder_is_refused_with_the_way_to_make_one(tmp_path):
    assert "herdwise init" in refusal(tmp_path / "none.yaml").remedy
    assert "cannot be read" in refusal(tmp_path).message


def test_an_anchor_can_be_merged_and_overridden(write):
    text = (
        "candidates:\n  - &base\n    name: a\n    base_url: http://127.0.0.1:1/v1\n    params_b: 7\n"
        "  - <<: *base\n    name: b\n"
    )
    a, b = load(write(text), {}).candidates
    assert (a.name, b.name, b.params_b, b.base_url) == ("a", "b", 7.0, a.base_url)


def test_paths_are_relative_to_the_config_file_and_not_to_the_working_folder(write, tmp_path):
    config = load(write(ONE + "router: routers/mine\nledger: {url: 'sqlite:///data/l.db?timeout=5'}\n"), {})
    assert config.router == tmp_path / "routers/mine"
    assert config.ledger.url.reveal() == f"sqlite:///{tmp_path}/data/l.db?timeout=5"


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:////var/l.db", "postgresql://u:p@h/d"]
)
def test_a_ledger_that_is_no_relative_file_is_left_as_it_is(write, url):
    config = load(write(ONE + f"ledger: {{url: '{url}'}}\n"), {})
    assert config.ledger.url.reveal() == url


def test_secrets_show_in_no_repr_and_no_dump(write):
    text = ONE + (
        "    api_key: ${KEY}\n    headers: {authorization: '${KEY}'}\n    options: {token: '${KEY}'}\n"
        "server: {api_keys: ['${KEY}']}\nledger: {url: 'postgresql://u:${KEY}@h/d'}\n"
    )
    config = load(write(text), {"KEY": "hunter2"})
    assert config.server.api_keys[0].reveal() == "hunter2"
    assert "hunter2" not in repr(config)
    assert "hunter2" not in str(config)
    with pytest.raises(TypeError):
        msgspec.json.encode(config)


@pytest.mark.parametrize(
    "line",
    [
        "    params_b: ${KEY}\n",
        "    released: ${KEY}\n",
        "    api_key: '${KEY} x'\n",
        "goals: {cost_kind: '${KEY}'}\n",
        "    base_url: ${KEY}\n",
        "    api_key: hunter2\n  bad: [\n",
        "    api_key: {hunter2: 1}\n",
    ],
)
def test_an_error_never_shows_a_secret(write, line):
    text = ONE if "base_url" not in line else "candidates:\n  - name: small\n"
    error = refusal(write(text + line), {"KEY": "hunter2"})
    assert "hunter2" not in str(error)


def test_a_config_cannot_be_changed(write):
    config = load(write(ONE), {})
    assert isinstance(config, Config)
    with pytest.raises(AttributeError):
        config.router = Path("elsewhere")  # type: ignore[misc]
