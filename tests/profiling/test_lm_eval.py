"""Tasks of lm-evaluation-harness, with real ones defined here (extra ``lm-eval``)."""

from __future__ import annotations

import warnings
from pathlib import Path

import msgspec
import pytest

from herdwise.core.completion import Completion
from herdwise.core.errors import ConfigError, ItemsError
from herdwise.profiling.graders.base import GRADERS
from herdwise.profiling.sources import read_benchmark

pytest.importorskip("lm_eval", reason="needs the extra lm-eval: pip install 'herdwise[lm-eval]'")
# The harness and what it builds on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

GENERATE = """
task: herd_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, train: {data}}}}}
output_type: generate_until
test_split: test
fewshot_split: train
num_fewshot: 1
doc_to_text: "Question: {{{{q}}}}\\nAnswer:"
doc_to_target: "{{{{a}}}}"
generation_kwargs: {{until: ["Question:", "</s>"], do_sample: false, max_gen_toks: 32}}
filter_list:
  - name: last
    filter:
      - {{function: regex, regex_pattern: "(-?[0-9]+)", group_select: -1}}
      - {{function: take_first}}
  - name: strict
    filter:
      - {{function: regex, regex_pattern: "#### (-?[0-9]+)"}}
      - {{function: take_first}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
CHOOSE = """
task: herd_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{q}}}}\\nAnswer:"
doc_to_choice: ["red", "blue", "green"]
doc_to_target: "{{{{c}}}}"
metric_list:
  - {{metric: acc}}
"""
ROLLING = """
task: herd_rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{q}}}}"
metric_list:
  - {{metric: word_perplexity}}
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "data.json"
    rows = [{"q": f"{i} + 1?", "a": str(i + 1), "c": i % 3} for i in range(4)]
    data.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    for name, text in (("sums", GENERATE), ("choices", CHOOSE), ("rolling", ROLLING)):
        (folder / f"{name}.yaml").write_text(text.format(data=data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        datasets.disable_progress_bars()
    return folder


def test_a_task_that_generates_is_asked_and_graded_by_its_own_lights(tasks: Path) -> None:
    items = read_benchmark("lm_eval:herd_sums", options={"include_path": str(tasks)})
    assert [i.id for i in items] == [f"herd_sums-{i}" for i in range(4)]
    item = items[2]
    assert (item.text, item.reference, item.benchmark) == ("Question: 2 + 1?\nAnswer:", "3", "herd_sums")
    asked = item.messages[0]["content"]
    assert asked.count("Question:") == 2
    assert asked.endswith("Question: 2 + 1?\nAnswer:")
    assert item.request == {"temperature": 0.0, "max_tokens": 32, "stop": ["Question:", "</s>"]}
    grader = GRADERS.create(item.grader, **item.options)
    assert grader.check(item) is None
    for text, quality, answer in (
        ("2 plus 1 is 3.", 1.0, "3"),
        ("It is 4", 0.0, "4"),
        ("3\nQuestion: 5 + 5? 10", 1.0, "3"),
        ("no idea", 0.0, None),
        ("", 0.0, None),
    ):
        grade = grader.grade(item, Completion("ant", text))
        assert (grade.quality, grade.answer) == (quality, answer), text


def test_another_filter_of_the_task_can_read_the_answer(tasks: Path) -> None:
    options = {"include_path": str(tasks), "shots": 0}
    item = read_benchmark("lm_eval:herd_sums", options=options, grader_options={"filter": "strict"})[2]
    assert item.messages[0]["content"].count("Question:") == 1
    grader = GRADERS.create(item.grader, **item.options)
    assert grader.grade(item, Completion("ant", "3")).quality == 0.0
    assert grader.grade(item, Completion("ant", "#### 3")).quality == 1.0
    with pytest.raises(ItemsError, match="'loose' is none of last, strict"):
        read_benchmark("lm_eval:herd_sums", options=options, grader_options={"filter": "loose"})


def test_a_task_may_be_asked_without_its_stop_texts(tasks: Path) -> None:
    item = read_benchmark("lm_eval:herd_sums", options={"include_path": str(tasks), "stop": False})[2]
    assert "stop" not in item.request
    grader = GRADERS.create(item.grader, **item.options)
    assert grader.grade(item, Completion("ant", "Question: which? 3")).quality == 1.0


def test_another_grader_can_grade_a_task(tasks: Path) -> None:
    items = read_benchmark("lm_eval:herd_sums", options={"include_path": str(tasks)}, grader="numeric")
    assert {i.grader for i in items} == {"numeric"}
    assert items[0].options == {}


def test_choices_are_lettered_instead_of_compared_by_likelihood(tasks: Path) -> None:
    item = read_benchmark("lm_eval:herd_choices", options={"include_path": str(tasks)})[1]
    assert item.text == "Question: 1 + 1?\nA. red\nB. blue\nC. green"
    assert (item.grader, item.reference, item.choices) == ("choice", "B", ("red", "blue", "green"))


def test_what_chat_cannot_do_or_nobody_knows_is_refused(tasks: Path) -> None:
    options = {"include_path": str(tasks)}
    with pytest.raises(ItemsError, match="compares likelihoods"):
        read_benchmark("lm_eval:herd_rolling", options=options)
    with pytest.raises(ItemsError, match="'herd_nothing' is not known"):
        read_benchmark("lm_eval:herd_nothing", options=options)
    with pytest.raises(ItemsError, match="is a group or tag"):
        read_benchmark("lm_eval:mmlu", options=options)
    with pytest.raises(ItemsError, match="no such folder"):
        read_benchmark("lm_eval:herd_sums", options={"include_path": str(tasks / "none")})


def test_a_metric_that_is_no_quality_is_refused(tasks: Path) -> None:
    item = read_benchmark(
        "lm_eval:herd_sums", options={"include_path": str(tasks)}, grader_options={"metric": "bleu"}
    )[0]
    with pytest.raises(ConfigError, match="has no metric 'bleu'"):
        GRADERS.create(item.grader, **item.options).grade(item, Completion("ant", "1"))
