"""Make docs/images/console.png: a query asked on the console page of the demo, as a person sees it.

    python scripts/picture_console.py [--query TEXT] [--out FILE]

Runs `herdwise demo` in a folder of its own and asks with headless Chromium (Debian's packages `chromium` and
`fonts-noto-color-emoji`; playwright comes with the development tools).
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
QUERY = "i have 60 euros adn get 25 more, how much is it"
WIDTH = 900
_MARGIN = 20
_READY_S, _POLL_S = 300, 0.2


def main() -> None:
    """Serve, ask, picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "console.png")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("there is no chromium here; on Debian: apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "demo.log"
        with log.open("w") as output:
            herdwise = str(Path(sys.executable).parent / "herdwise")
            command = [herdwise, "demo", "--dir", folder, "--port", "0"]
            demo = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            picture(served_at(log, demo), given.query, given.out, chromium)
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.wait()
    print(f"{given.out}: {given.out.stat().st_size / 1e3:.0f} kB")


def served_at(log: Path, demo: subprocess.Popen[bytes]) -> str:
    """The endpoint's address, once it answers."""
    deadline = time.monotonic() + _READY_S
    while "The config: " not in log.read_text():
        if demo.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the demo does not serve:\n{log.read_text()}")
        time.sleep(_POLL_S)
    return next(word for word in log.read_text().split() if word.endswith("/v1")).removesuffix("/v1")


def picture(url: str, query: str, out: Path, chromium: str) -> None:
    """Ask on the page; write what it shows, down to the last prediction, as a PNG."""
    with sync_playwright() as driver:
        # Root may not use Chromium's sandbox; the page is our own.
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": WIDTH}, color_scheme="light")
        page.goto(url)
        page.wait_for_selector("#examples button")
        for _ in range(2):  # the first answer also loads the model
            page.fill("#query", query)
            page.click("#ask")
            page.wait_for_selector("#thumbs:not([hidden])")
        box = page.locator("#why > div").nth(1).bounding_box()
        if box is None:
            sys.exit("the page shows no predictions")
        bottom = box["y"] + box["height"] + page.evaluate("() => window.scrollY")
        page.screenshot(
            path=out, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom + _MARGIN}
        )
        browser.close()


if __name__ == "__main__":
    main()
