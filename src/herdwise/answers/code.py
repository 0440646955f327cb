"""Code: what a question asks for and the tests that it gives, which programs are the same, which pass."""

from __future__ import annotations

import ast
import re
import secrets
from dataclasses import dataclass

from herdwise.answers.extract import read_code, without_thinking
from herdwise.sandbox.python import run_python

_ASKS = re.compile(
    r"\b(?:write|implement|complete|create|define|fix|schreibe?|implementiere|écri[sv]\w*|escrib\w*)\b[^.\n]{0,60}"
    r"\b(?:function|program|script|code|method|class|python|funktion|programm|fonction|programme|función|programa)\b"
    r"|写[^。\n]{0,20}(?:函数|程序|代码)|^\s*def \w+\(",
    re.IGNORECASE | re.MULTILINE,
)
_TEST = re.compile(r"^[ \t>]*(assert\b.+)$", re.MULTILINE)
_PYTHON = re.compile(r"^\s*(?:def |class |import |from \w+ import |async def |@\w)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a program under the tests that came with the question.

    Args:
        passed: whether all of them held.
        detail: why not: the last line of the error, or that time ran out.
    """

    passed: bool
    detail: str = ""


def asks_for_code(question: str) -> bool:
    """Whether a question wants a program.

    >>> asks_for_code("Write a Python function that adds two numbers."), asks_for_code("Who wrote Faust?")
    (True, False)
    """
    return _ASKS.search(question) is not None


def program_of(text: str) -> str | None:
    """The program that a completion gives: its last fenced block, or the whole text where that is Python."""
    fenced = read_code(text)
    if fenced is not None and fenced.strip():
        return fenced
    whole = without_thinking(text).strip()
    return whole if _PYTHON.match(whole) and _parsed(whole) is not None else None


def normal_program(program: str) -> str:
    """A program so that only what it does in so many words counts.

    Python without comments, docstrings, annotations and layout; other languages without layout. Names count.

    >>> normal_program("def f(a):\\n    '''Adds.'''\\n    return a+1  # more") == normal_program(
    ...     "def f(a: int) -> int:\\n  return (a + 1)")
    True
    """
    tree = _parsed(program)
    if tree is None:
        return " ".join(program.split())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and _is_docstring(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    try:
        return ast.unparse(tree)
    except RecursionError:  # it goes deeper than the parser does
        return " ".join(program.split())


def given_tests(question: str) -> list[str]:
    """The tests that a question gives: lines that begin with ``assert`` and parse as Python.

    >>> given_tests("Add one.\\nassert f(1) == 2\\nassert that it works")
    ['assert f(1) == 2']
    """
    lines = [match[1].strip() for match in _TEST.finditer(question)]
    return [line for line in lines if _parsed(line) is not None]


def run_tests(program: str, tests: list[str], *, timeout_s: float = 5.0) -> Verdict:
    """Run a program and then its tests in the sandbox. Blocks: call it off an event loop.

    The sandbox limits; it does not protect from malice (see ``sandbox.python``).
    """
    # A mark at the end, new each time: a program that exits early passes no test.
    mark = f"all tests were run {secrets.token_hex(8)}"
    done = run_python("\n".join([program, *tests, f"print({mark!r})"]), timeout_s=timeout_s)
    if done.ok and done.stdout.rstrip().endswith(mark):
        return Verdict(True)
    if done.timed_out:
        return Verdict(False, f"it ran longer than {timeout_s:g} s")
    lines = done.stderr.strip().splitlines()
    return Verdict(False, lines[-1] if lines else f"it ended with code {done.exit_code}")


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
