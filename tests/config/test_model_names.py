"""A name gives away a size or a known twin only where it says so."""

from __future__ import annotations

import doctest

import pytest

from herdwise.config import model_names
from herdwise.config.model_names import alike, sizes
from herdwise.routing.declared import known_quality


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(model_names).failed == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen2.5-0.5b-instruct", (0.5, None)),
        ("hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", (1.0, None)),
        ("/models/Meta-Llama-3.1-70B-Instruct-Q8_0.gguf", (70.0, None)),
        ("gemma3n:e4b", (None, None)),
        ("Mixtral-8x22B-v0.1", (None, None)),
        ("gpt-4o", (None, None)),
        ("phi3:medium-128k", (None, None)),
        ("model-7b-draft-1b", (None, None)),
    ],
)
def test_a_size_is_read_only_where_the_name_states_one(name, expected):
    assert sizes(name) == expected


@pytest.mark.parametrize("name", sorted(known_quality()))
def test_a_known_candidate_is_like_itself(name):
    assert alike(name, known_quality()) == name


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("llama3.1:8b", "Meta-Llama-3.1-8B-Instruct"),
        ("mistral:7b-instruct-v0.2-q4_K_M", "Mistral-7B-Instruct-v0.2"),
        ("/models/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "Meta-Llama-3.1-8B-Instruct"),
        ("qwen:7b-chat-v1.5", "Qwen1.5-7B-Chat"),
        ("gemma:7b", "gemma-7b"),
        ("gemma:7b-instruct", None),
        ("llama3.2:8b", None),
        ("llama3.1:70b-x", None),
        ("mistral:7b", None),
        ("deepseek-coder-v2", None),
        ("something-else", None),
    ],
)
def test_a_twin_agrees_in_family_version_and_size(name, twin):
    assert alike(name, known_quality()) == twin
