"""The console page, in a real browser."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest

KEY = "secret-key"
EXAMPLES = ("What is two and two?", "Sort the list.")


@pytest.fixture
async def page() -> AsyncIterator[Any]:
    """A page of Debian's Chromium; what the page's own script logs as an error fails the test."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium here (Debian's package `chromium`)")
    playwright = pytest.importorskip("playwright.async_api", reason="playwright drives the browser")
    problems: list[str] = []
    async with playwright.async_playwright() as driver:
        # Root may not use Chromium's sandbox; the page is our own.
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = await browser.new_page()
        shown.on("pageerror", lambda error: problems.append(str(error)))
        shown.on(
            "console",
            lambda message: (
                problems.append(message.text) if "Content Security Policy" in message.text else None
            ),
        )
        yield shown
        await browser.close()
    assert problems == []


async def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in await page.locator(selector).all_inner_texts()]


async def test_the_page_asks_shows_why_and_takes_thumbs(endpoint: Any, page: Any) -> None:
    e = await endpoint(console_examples=EXAMPLES)
    await page.goto(e.url)
    await page.wait_for_selector("#examples button")
    assert await texts(page, "#examples button") == list(EXAMPLES)
    await page.fill("#query", "Is it true?")
    await page.click("#ask")
    await page.wait_for_selector("#thumbs:not([hidden])")
    shown = await page.inner_text("#answer")
    assert shown
    facts = await page.inner_text("#facts")
    assert "large" in facts
    assert "70B" in facts
    assert re.search(r"Asked\s+1 of 2", facts)
    headings = await texts(page, "#why h3")
    assert headings[:2] == ["Who was asked", "Who was predicted good (as the config declares)"]
    rows = await texts(page, "#why div.scroll:nth-of-type(2) tbody tr")
    assert rows[0].split("\t")[:2] == ["large", "80.0%"]
    assert rows[1].split("\t")[:2] == ["small", "60.0%"]
    await page.click("#down")
    await page.wait_for_selector("#thanked:has-text('Noted.')")
    assert await page.is_disabled("#up")
    [row] = await texts(page, "#history tr")
    assert row.startswith("Is it true?")
    assert "\N{THUMBS DOWN SIGN}" in row
    with sqlite3.connect(e.ledger_path) as ledger:
        assert ledger.execute("select score from feedback").fetchall() == [(0.0,)]


async def test_an_example_is_asked_by_a_click_and_a_chosen_candidate_answers(
    endpoint: Any, page: Any
) -> None:
    e = await endpoint(console_examples=EXAMPLES)
    await page.goto(e.url)
    await page.wait_for_selector("#examples button")
    await page.select_option("#model", "small")
    await page.click("#examples button:has-text('Sort')")
    await page.wait_for_selector("#thumbs:not([hidden])")
    assert "small" in await page.inner_text("#facts")
    assert (await page.input_value("#query")) == EXAMPLES[1]


async def test_a_key_is_asked_for_and_a_wrong_one_is_told(endpoint: Any, page: Any) -> None:
    e = await endpoint(api_keys=(KEY,))
    await page.goto(e.url)
    await page.wait_for_selector("#key-form:not([hidden])")
    await page.fill("#key", "wrong")
    await page.click("#key-form button")
    await page.wait_for_selector("#problem:not([hidden])")
    await page.fill("#key", KEY)
    await page.click("#key-form button")
    await page.wait_for_selector("#key-form", state="hidden")
    await page.fill("#query", "Hello")
    await page.keyboard.press("Control+Enter")
    await page.wait_for_selector("#thumbs:not([hidden])")


async def test_what_a_model_writes_is_text_and_errors_are_told(endpoint: Any, page: Any) -> None:
    markup = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    e = await endpoint()
    await page.goto(e.url)
    await page.fill("#query", markup)
    await page.click("#ask")
    await page.wait_for_selector("#thumbs:not([hidden])")
    assert await page.inner_text("#answer") == f"echo: {markup}"
    assert await page.title() == "herdwise"
    await page.fill("#cost-weight", "-1")
    await page.eval_on_selector("#ask-form", "form => { form.noValidate = true }")
    await page.click("#ask")
    await page.wait_for_selector("#problem:not([hidden])")
    assert "cost_weight" in await page.inner_text("#problem")


async def test_the_page_loads_nothing_from_elsewhere_and_can_be_switched_off(endpoint: Any) -> None:
    e = await endpoint()
    for path in ("/", "/console/app.js", "/console/style.css"):
        reply = await e.send("GET", path)
        assert reply.status == 200
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert not re.search(rb"https?://", reply.raw)
    off = await endpoint(console=False)
    assert (await off.send("GET", "/")).status == 404
