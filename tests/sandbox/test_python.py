"""The sandbox runs real code in real processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from herdwise.core.errors import ConfigError
from herdwise.sandbox.python import run_python


def alive(pid: int) -> bool:
    """A zombie that its new parent has not yet reaped is dead."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def test_code_reads_its_input_and_its_output_and_exit_code_come_back() -> None:
    result = run_python(
        "import sys\nprint(input()[::-1], 'é')\nsys.stderr.write('e')\nexit(3)", stdin="abc\n"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (3, "cba é\n", "e")
    assert not result.ok
    assert run_python("print(1)").ok


def test_an_error_in_the_code_is_its_own_and_names_its_line() -> None:
    result = run_python("x = 1\nraise ValueError('no')")
    assert result.exit_code == 1
    assert "line 2" in result.stderr
    assert "ValueError: no" in result.stderr


def test_code_that_does_not_parse_fails_with_its_syntax_error() -> None:
    assert "SyntaxError" in run_python("def (:").stderr


def test_an_endless_loop_is_killed_at_the_timeout() -> None:
    result = run_python("while True: pass", timeout_s=0.3)
    assert result.timed_out
    assert result.exit_code < 0
    assert not result.ok


def test_a_sleep_is_killed_at_the_timeout_though_it_uses_no_cpu() -> None:
    assert run_python("import time; time.sleep(60)", timeout_s=0.3).timed_out


def test_code_that_ignores_termination_is_killed_all_the_same() -> None:
    code = "import signal\nfor s in (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU):\n"
    code += "    signal.signal(s, signal.SIG_IGN)\nwhile True: pass"
    assert run_python(code, timeout_s=0.3).timed_out


def test_memory_beyond_the_limit_is_refused_to_it() -> None:
    result = run_python("x = b'x' * (300 << 20)", memory_mb=200)
    assert result.exit_code == 1
    assert "MemoryError" in result.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process in /proc")
def test_a_forked_child_does_not_outlive_the_call() -> None:
    code = "import os, time\npid = os.fork()\nif pid == 0:\n    time.sleep(60)\nprint(pid)"
    result = run_python(code)
    assert result.ok
    child = int(result.stdout)
    for _ in range(200):
        if not alive(child):
            break
        time.sleep(0.01)
    assert not alive(child)


@pytest.mark.skipif(
    not Path("/proc").is_dir() or os.getuid() == 0, reason="the limit holds on Linux, and not for root"
)
def test_forks_without_end_are_refused_to_it() -> None:
    code = "import os, time\nwhile True:\n    if os.fork() == 0:\n        time.sleep(60)"
    result = run_python(code, max_processes=8)
    assert "BlockingIOError" in result.stderr


def test_output_without_end_is_cut_and_said_to_be() -> None:
    result = run_python("while True: print('x' * 1000)", max_output_bytes=5000, max_file_mb=1)
    assert result.truncated
    assert len(result.stdout) == 5000
    assert not result.ok


def test_a_file_beyond_the_limit_is_refused_to_it() -> None:
    result = run_python("open('big', 'wb').write(b'x' * (3 << 20))", max_file_mb=1)
    assert "File too large" in result.stderr


def test_our_environment_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    result = run_python("import os; print(sorted(os.environ))")
    assert "OPENAI_API_KEY" not in result.stdout
    assert set(eval(result.stdout)) <= {"HOME", "LANG", "LC_CTYPE", "PATH"}  # noqa: S307 - a list it printed


def test_neither_our_packages_nor_our_directory_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("planted.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for module in ("planted", "numpy", "herdwise"):
        assert "ModuleNotFoundError" in run_python(f"import {module}").stderr


def test_the_launcher_leaves_the_code_no_names_to_lean_on() -> None:
    code = "print([n for n in globals() if not n.startswith('__')])"
    assert run_python(code).stdout == "[]\n"
    assert "NameError" in run_python("print(sys)").stderr


def test_its_directory_is_empty_its_own_and_gone_afterwards() -> None:
    code = "import os\nprint(os.getcwd())\nprint(os.listdir())\nopen('note', 'w').write('x')\nos.mkdir('sub')"
    where, listing = run_python(code).stdout.splitlines()
    assert listing == "['main.py']"
    assert not Path(where).exists()


def test_deleting_all_of_its_directory_harms_nothing_else(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.write_text("x")
    result = run_python("import os, shutil\nshutil.rmtree(os.getcwd())\nprint('done')")
    assert result.stdout == "done\n"
    assert keep.exists()


def test_input_that_is_never_read_hinders_nobody() -> None:
    assert run_python("print('done')", stdin="x" * 5_000_000).stdout == "done\n"


def test_output_that_is_not_utf8_is_replaced() -> None:
    assert run_python("import sys; sys.stdout.buffer.write(b'a\\xff')").stdout == "a\ufffd"


@pytest.mark.parametrize("limit", ["timeout_s", "memory_mb", "max_output_bytes", "max_file_mb"])
def test_a_limit_that_is_not_positive_is_refused(limit: str) -> None:
    with pytest.raises(ConfigError, match="positive"):
        run_python("pass", **{limit: 0})  # type: ignore[arg-type]
