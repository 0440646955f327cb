"""The faulty server, when it behaves, is what the official client expects; so are the tests built on it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import openai
import pytest

PROGRAM = Path(__file__).with_name("faulty_upstream.py")
HELLO: Any = [{"role": "user", "content": "Hello there"}]


async def test_the_official_client_is_served_whole_and_streamed_with_true_usage(faulty_upstream: Any) -> None:
    up = await faulty_upstream(api_key="sk-1")
    async with openai.AsyncOpenAI(base_url=up.base_url, api_key="sk-1", max_retries=0, timeout=120) as client:
        chat = client.chat.completions
        done = await chat.create(model="test-model", messages=HELLO)
        assert done.choices[0].message.content == "echo: Hello there"
        assert done.usage is not None
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (2, 3)
        options: Any = {"include_usage": True}
        stream = await chat.create(model="test-model", messages=HELLO, stream=True, stream_options=options)
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "echo: Hello there"
        assert chunks[-1].usage == done.usage
        assert [m.id async for m in client.models.list()] == ["test-model"]
        vectors = await client.embeddings.create(model="test-model", input=["a", "b", "a"])
        first, second, third = (d.embedding for d in vectors.data)
        assert first == third != second


async def test_the_official_client_sees_its_faults_as_openais_errors(faulty_upstream: Any) -> None:
    up = await faulty_upstream()
    up.behave(["rate_limited", "context_length_exceeded", "server_error", "ok"])
    async with openai.AsyncOpenAI(base_url=up.base_url, api_key="sk-1", max_retries=0, timeout=120) as client:
        for error in (openai.RateLimitError, openai.BadRequestError, openai.InternalServerError):
            with pytest.raises(error):
                await client.chat.completions.create(model="test-model", messages=HELLO)
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="another", messages=HELLO)


def test_it_runs_as_a_program_and_answers_from_a_file(tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps({"capital of France": "Paris"}))
    command = [sys.executable, str(PROGRAM), "--model", "a", "--model", "b", "--answers", str(answers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            url = program.stdout.readline().split()[1]
            body = {"model": "b", "messages": [{"role": "user", "content": "The capital of France?"}]}
            request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        finally:
            program.kill()
    assert answer["model"] == "b"
    assert answer["choices"][0]["message"]["content"] == "Paris"
