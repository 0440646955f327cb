"""Python code, graded by the item's own tests in a limited subprocess."""

from __future__ import annotations

import ast
import secrets
from typing import ClassVar

from herdwise.answers.extract import read_code, without_thinking
from herdwise.core.completion import Completion
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import Grade, Grader
from herdwise.sandbox.python import SandboxResult, run_python


class PythonTests(Grader):
    """1 where the completion's code passes all tests, else 0; a text without Python code is a wrong answer.

    The code is the last Python block of the completion, or the whole of it where it has no block but is
    Python. The program is prefix, code and tests in one file; the tests fail by raising, as ``assert``
    does. Code that leaves the program before the tests end has not passed them.

    Args:
        tests: Python source.
        prefix: source in front of the code, such as imports that the question promised.
        timeout_s, memory_mb: of the run; see ``herdwise.sandbox.python.run_python``, also for what the
            sandbox does not protect from.
    """

    name: ClassVar[str] = "python_tests"
    instruction: ClassVar[str] = "Give the whole code in one ```python block."

    def __init__(
        self, *, tests: str = "", prefix: str = "", timeout_s: float = 10.0, memory_mb: int = 512
    ) -> None:
        self.tests, self.prefix, self.timeout_s, self.memory_mb = tests, prefix, timeout_s, memory_mb

    def check(self, item: Item) -> str | None:
        """It needs tests that are Python."""
        del item
        if not self.tests.strip():
            return "tests: is missing; the python_tests grader runs them on the code."
        for field, source in (("tests", self.tests), ("grader_options.prefix", self.prefix)):
            try:
                ast.parse(source)
            except (SyntaxError, ValueError) as error:
                return f"{field}: is not Python: {error}."
        return None

    def grade(self, item: Item, completion: Completion) -> Grade:
        """See the class. Blocks while the code runs."""
        del item
        code = _code(completion.text)
        if code is None:
            return Grade(0.0, None, "no Python code could be read")
        passed = secrets.token_hex(16)
        program = f"{self.prefix}\n{code}\n\n{self.tests}\n\nprint({passed!r})\n"
        result = run_python(program, timeout_s=self.timeout_s, memory_mb=self.memory_mb)
        # Leaving early with exit code 0 is not passing: the last line must have been reached.
        right = result.ok and result.stdout.rstrip().endswith(passed)
        return Grade(float(right), code, "" if right else _why(result))


def _code(text: str) -> str | None:
    block = read_code(text, "python")
    if block is not None:
        return block.strip("\n")
    whole = without_thinking(text).strip()
    try:
        tree = ast.parse(whole)
    except (SyntaxError, ValueError):
        return None
    # One word, or a sentence in quotes, is Python too, but no program.
    return whole if any(not isinstance(node, ast.Expr) for node in tree.body) else None


def _why(result: SandboxResult) -> str:
    if result.timed_out:
        return "timed out"
    if result.truncated:
        return "printed without end"
    if result.exit_code == 0:
        return "left before the tests ended"
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"ended with exit code {result.exit_code}"
