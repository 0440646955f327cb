"""Whether popular clients work unchanged: LangChain (for OpenAI and for Anthropic) and simonw/llm.

    python scripts/check_clients.py

Installs them into a throwaway virtual environment, starts an upstream of our own and `herdwise serve` on
loopback, and lets each client chat, stream and call a tool. Prints one line per check and their versions;
exit code 1 if one fails. Not part of CI: it downloads some 100 MB, and newer versions may behave otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("langchain", "langchain-openai", "langchain-anthropic", "llm")
CONFIG = """\
candidates:
  - name: small
    base_url: {base_url}
    model: bench
    quality: 0.5
    tools: true
    json_schema: true
    modalities: [text, image]
    context_tokens: 100000
ledger: {{enabled: false}}
server: {{log_level: WARNING}}
"""

LANGCHAIN = """
import sys
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool

url = sys.argv[1]

@tool
def look_up(text: str) -> str:
    "Looks up a text."
    return "found"

def make(kind):
    if kind == "anthropic":
        from langchain_anthropic import ChatAnthropic
        return ChatAnthropic(model="auto", base_url=url, api_key="any", max_retries=0)
    from langchain_openai import ChatOpenAI
    more = {"use_responses_api": True, "store": False} if kind == "openai, responses" else {}
    return ChatOpenAI(model="auto", base_url=url + "/v1", api_key="any", max_retries=0, **more)

def words(message):
    return message.text if isinstance(message.text, str) else message.text()

for kind in ("openai", "openai, responses", "anthropic"):
    model = make(kind)
    assert words(model.invoke("Hello")) == "echo: Hello", kind
    assert "".join(words(chunk) for chunk in model.stream("Hello")) == "echo: Hello", kind
    asked = [HumanMessage("Hello")]
    called = model.bind_tools([look_up]).invoke(asked)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("look_up", {"text": "Hello"}), called
    asked += [called, ToolMessage("found", tool_call_id=call["id"])]
    assert words(model.bind_tools([look_up]).invoke(asked)) == "echo: Hello", kind
    assert called.usage_metadata["output_tokens"] > 0
    print("ok   langchain,", kind)

from langchain_openai import OpenAI, OpenAIEmbeddings
assert OpenAI(model="auto", base_url=url + "/v1", api_key="any").invoke("Hello") == "echo: Hello"
print("ok   langchain, openai completions")
texts = ["one", "two"]
vectors = OpenAIEmbeddings(
    model="small", base_url=url + "/v1", api_key="any", check_embedding_ctx_length=False
).embed_documents(texts)
assert [len(vector) for vector in vectors] == [16, 16]
print("ok   langchain, openai embeddings")
"""

LLM_MODELS = """\
- model_id: herd
  model_name: auto
  api_base: {url}/v1
  can_stream: true
  supports_tools: true
  supports_schema: true
  vision: true
"""


@contextmanager
def running(command: list[str]) -> Iterator[IO[str]]:
    """What a process prints; it is ended with the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise SystemExit("no pipe")
        try:
            yield process.stdout
        finally:
            process.terminate()


def told(printed: IO[str]) -> str:
    """The URL in the JSON object that `serve --json` prints."""
    text = ""
    for line in printed:
        text += line
        if line.startswith("}"):
            return str(json.loads(text)["url"])
    raise SystemExit("serve ended before it was ready")


def check_llm(bin_dir: Path, folder: Path, url: str) -> None:
    """simonw/llm: a prompt, a stream and a tool call that it carries out itself."""
    home = folder / "llm"
    home.mkdir()
    (home / "extra-openai-models.yaml").write_text(LLM_MODELS.format(url=url), "utf-8")
    env = {**os.environ, "LLM_USER_PATH": str(home), "OPENAI_API_KEY": "any"}
    tool = "def look_up(text: str) -> str:\n    return 'found'\n"
    for what, more in (
        ("whole", ["--no-stream", "Hello"]),
        ("stream", ["Hello"]),
        ("tool", ["--functions", tool, "Hello"]),
    ):
        command = [str(bin_dir / "llm"), "prompt", "-m", "herd", *more]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.stdout.strip() != "echo: Hello":
            raise SystemExit(f"FAIL llm, {what}: {done.stdout}{done.stderr}")
        print(f"ok   llm, {what}")


def main() -> None:
    """Install, serve, check."""
    upstream = [sys.executable, str(ROOT / "tests" / "faulty_upstream.py"), "--model", "bench"]
    herdwise = str(Path(sys.executable).with_name("herdwise"))
    with tempfile.TemporaryDirectory() as name, running(upstream) as printed:
        folder = Path(name)
        config = folder / "herdwise.yaml"
        config.write_text(CONFIG.format(base_url=printed.readline().split()[1]), "utf-8")
        venv.create(folder / "venv", with_pip=True)
        bin_dir = folder / "venv" / "bin"
        subprocess.run([str(bin_dir / "pip"), "install", "-q", *PACKAGES], check=True)
        frozen = subprocess.run([str(bin_dir / "pip"), "freeze"], capture_output=True, text=True, check=True)
        wanted = (*PACKAGES, "openai", "anthropic")
        print(" ".join(line for line in frozen.stdout.split() if line.partition("==")[0] in wanted))
        with running([herdwise, "serve", "--config", str(config), "--port", "0", "--json"]) as said:
            url = told(said)
            program = [str(bin_dir / "python"), "-c", textwrap.dedent(LANGCHAIN), url]
            if subprocess.run(program, check=False).returncode:
                raise SystemExit("FAIL langchain")
            check_llm(bin_dir, folder, url)


if __name__ == "__main__":
    main()
