"""Patterns are matched in a real process, which is ended where one takes for ever."""

from __future__ import annotations

import os
import queue
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from herdwise.sandbox.patterns import Match, Matcher, PatternError

ENDLESS = r"(a+)+$"


@pytest.fixture
def matcher() -> Iterator[Matcher]:
    made = Matcher()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("pattern", "text", "options", "found"),
    [
        (r"\d+", "1 and 22", {}, Match("22", "22")),
        (r"is (\d)", "is 1, is 2", {}, Match("is 2", "2")),
        (r"(x)?(?P<answer>\d)", "7", {}, Match("7", "7")),
        (r"(x)?\d", "7", {}, Match("7", None)),
        (r"\d+", "1 and 22", {"whole": True}, None),
        ("ÉTÉ", "un été", {"flags": re.IGNORECASE}, Match("été", "été")),
        ("a.b", "a\nb \ud800", {"flags": re.DOTALL}, Match("a\nb", "a\nb")),
        ("x", "", {}, None),
    ],
)
def test_the_last_match_is_what_re_finds(
    matcher: Matcher, pattern: str, text: str, options: dict[str, int], found: Match | None
) -> None:
    assert matcher.last(pattern, text, **options) == found


def test_an_endless_pattern_is_ended_and_the_next_one_matches(matcher: Matcher) -> None:
    with pytest.raises(PatternError, match="more than 2 seconds"):
        matcher.last(ENDLESS, "a" * 40 + "b")
    assert matcher.last("b", "a" * 40 + "b") == Match("b", "b")


def test_a_pattern_that_does_not_compile_says_so(matcher: Matcher) -> None:
    with pytest.raises(PatternError, match="unterminated"):
        matcher.last("(", "a")
    assert matcher.last("a", "a") == Match("a", "a")


def test_one_process_serves_all_threads_and_ends_with_close() -> None:
    matcher = Matcher()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda i: matcher.last(rf"{i}$", f"item {i}"), range(200)))
    assert [match.text for match in found if match] == [str(i) for i in range(200)]
    process = matcher._process
    assert process is not None
    matcher.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_the_answer_to_a_match_that_nobody_waited_for_is_not_the_next_ones(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(queue.SimpleQueue[str]):
        def get(self, block: bool = True, timeout: float | None = None) -> str:
            raise KeyboardInterrupt

    assert matcher.last("a", "a") == Match("a", "a")
    with monkeypatch.context() as at_the_wait:
        at_the_wait.setattr(matcher, "_lines", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            matcher.last("b", "b")
    assert matcher.last("c", "no such letter") == Match("c", "c")


def test_a_process_that_others_ended_is_not_called_slow(matcher: Matcher) -> None:
    assert matcher.last("a", "a") == Match("a", "a")
    process = matcher._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)  # so that it still lives when it is asked
    ending = threading.Timer(0.1, process.kill)
    ending.start()
    with pytest.raises(PatternError, match="ended with status -9"):
        matcher.last("b", "b")
    ending.join()
    assert matcher.last("c", "c") == Match("c", "c")


def test_ctrl_c_on_the_terminal_does_not_end_a_match(matcher: Matcher) -> None:
    assert matcher.last("a", "a") == Match("a", "a")
    process = matcher._process
    assert process is not None
    process.send_signal(signal.SIGINT)
    assert matcher.last("b", "b") == Match("b", "b")
    assert matcher._process is process
