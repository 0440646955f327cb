"""What ``make run`` serves: the nano herd, asked by a person on the console page and by pasted lines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from herdwise.cli.demo_nano import EXAMPLES, GENERALIST
from herdwise.experts.families import EXPERT_FAMILIES
from herdwise.storage.outcomes import read_outcomes

ANSWERS = {
    "dates": "14 February 2021", "units": "2500", "roman": "MCMLXXXIV", "sums": "85",
    "sorting": "camera, filter, winter", "extract": "liam.rossi@mail.com",
    "identifiers": "yellow_window_history", "elements": "26", "countries": "Oslo, Lima",
    "verbs": "wrote, sang",
}  # fmt: skip
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


class Demo(NamedTuple):
    url: str
    shown: str
    folder: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The command as ``make run`` calls it, once it serves."""
    folder = tmp_path_factory.mktemp("demo")
    log = folder / "demo.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [BIN / "herdwise", "demo", "--dir", folder / "run", "--port", "0"],
            stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 300
        while "The config: " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        shown = log.read_text()
        [url] = {word for word in shown.split() if word.startswith("http://") and word.endswith("/v1")}
        yield Demo(url.removesuffix("/v1"), shown, folder / "run")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


def recorded_queries() -> dict[str, tuple[str, str, set[str]]]:
    """Family -> a query that its expert got right (if any, the generalist too), the answer, who was right."""
    train = read_outcomes("nano").split("train")
    right, names = train.matrix() == 1, np.array(train.herd.names)
    kinds, found = np.array(train.benchmarks), {}
    assert train.references is not None
    for family in EXPERT_FAMILIES:
        knew = (kinds == family) & right[:, names == family][:, 0]
        both = knew & right[:, names == GENERALIST][:, 0]
        row = np.flatnonzero(both if both.any() else knew)[0]
        found[family] = (train.texts[row], train.references[row], set(names[right[row]].tolist()))
    return found


async def test_a_query_of_each_family_is_answered_right_by_whom_the_router_predicted_best(demo: Demo) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium here (Debian's package `chromium`)")
    playwright = pytest.importorskip("playwright.async_api", reason="playwright drives the browser")
    asked = recorded_queries()
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        page.set_default_timeout(60_000)
        await page.goto(demo.url)
        await page.wait_for_selector("#examples button")
        assert await page.locator("#examples button").count() > len(EXPERT_FAMILIES)
        experts = set()
        for family, (query, answer, right) in asked.items():
            await page.fill("#query", query)
            await page.click("#ask")
            await page.wait_for_selector("#thumbs:not([hidden])")
            assert (await page.inner_text("#answer")).strip() == answer, query
            candidate = await page.inner_text("#facts div:first-child dd")
            assert candidate in right, query
            experts |= {candidate} & {family}
            best = await page.inner_text("#why div.scroll:nth-of-type(2) tbody tr:first-child td:first-child")
            assert best.strip() == candidate
            assert "by the trained router" in await page.inner_text("#why")
            assert await page.inner_text("#reason")
            await page.click("#up")
            await page.wait_for_selector("#thanked:has-text('Noted.')")
        assert len(experts) >= 3  # where the generalist knows it as well, either may be asked
        await page.click("#examples button:last-child")
        await page.wait_for_selector("#thumbs:not([hidden])")
        assert await page.locator("#history tr").count() == len(asked) + 1
        await page.click("#down")
        await page.wait_for_selector("#thanked:has-text('Noted.')")
        await browser.close()
    with sqlite3.connect(demo.folder / "ledger.db") as ledger:
        scores = [score for (score,) in ledger.execute("select score from feedback")]
    assert sorted(scores) == [0.0, *[1.0] * len(asked)]


def test_every_example_that_is_for_an_expert_is_answered_right(demo: Demo) -> None:
    for family, query in EXAMPLES.items():
        answer = post(demo.url, query)
        assert (family, answer["choices"][0]["message"]["content"]) == (family, ANSWERS[family]), query


def post(url: str, query: str) -> Any:
    import urllib.request

    body = {"model": "auto", "messages": [{"role": "user", "content": query}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def test_the_lines_that_it_shows_can_be_pasted(demo: Demo) -> None:
    assert "herd, routed (single)" in demo.shown
    line = next(line for line in demo.shown.splitlines() if line.startswith("curl "))
    pasted = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, timeout=60)  # noqa: S602
    head, _, body = pasted.stdout.replace("\r\n", "\n").partition("\n\n")
    answer = json.loads(body)
    assert f"x-herdwise-candidate: {answer['model']}" in head
    assert answer["choices"][0]["message"]["content"]
    code = demo.shown[demo.shown.index("from openai") : demo.shown.index("The config: ")]
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.split()[0] == answer["model"]
