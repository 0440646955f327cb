import pytest

from herdwise.answers.malformed import read_malformed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1', "json"),
        ('Here:\n```json\n{"a": }\n```', "json"),
        ('```json\n{"a": [1, 2', "json"),
        ('[{"a": 1}, {"b"]', "json"),
        ('<tool_call>{"name": "look_up", "arguments": {</tool_call>', "tool_call"),
        ('[TOOL_CALLS][{"name": "look_up"', "tool_call"),
        ('{"a": 1}', None),
        ('Here:\n```json\n{"a": 1}\n```\nDone.', None),
        ("{x : x > 3} is a set.", None),
        ("[1] says so.", None),
        ("```python\n{1: 2\n```", None),
        ('<tool_call>{"name": "look_up", "arguments": {}}</tool_call>', None),
        ("", None),
    ],
)
def test_a_text_that_claims_to_be_json_must_parse(text: str, why: str | None) -> None:
    assert read_malformed(text) == why


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ({"name": "f", "arguments": '{"a": 1}'}, None),
        ({"name": "f", "arguments": ""}, None),
        ({"name": "f"}, None),
        ({"name": "f", "arguments": '{"a": '}, "tool_call"),
        ({"name": "f", "arguments": "[1]"}, "tool_call"),
        ({"name": "", "arguments": "{}"}, "tool_call"),
        (None, "tool_call"),
    ],
)
def test_a_tool_call_needs_a_name_and_an_object_of_arguments(function: object, why: str | None) -> None:
    assert read_malformed("", [{"type": "function", "function": function}]) == why
