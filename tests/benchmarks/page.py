"""The page in the browser over a slow line: python tests/benchmarks/page.py INDEX [KILOBYTES]

For 50 KB a second and 100 ms of delay, or another speed: milliseconds until something is painted, until the question
can be typed, and until the documents are listed, of a first visit; then from Enter until the first hits, without the
limit. Each is the median of five visits with an empty cache. It needs chromium.
"""

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.append(str(Path(__file__).parents[1]))
from support.waiting import free_port

VISITS = 5
DELAY = 100  # milliseconds
QUESTIONS = ["how do I plot a histogram", "put a caption beside a figure", "change the margins", "license", "fonts"]


def slowed(tab, kilobytes):
    session = tab.context.new_cdp_session(tab)
    session.send("Network.enable")
    speed = {"downloadThroughput": kilobytes * 1024, "uploadThroughput": kilobytes * 1024, "latency": DELAY}
    session.send("Network.emulateNetworkConditions", {"offline": False, **speed})


def first_visit(chromium, address, kilobytes):
    """Milliseconds until the first paint, until the box takes text, until the documents are listed."""
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        tab = context.new_page()
        slowed(tab, kilobytes)
        begun = time.perf_counter()
        tab.goto(address, wait_until="commit")
        tab.locator("#question").press_sequentially("a")
        typed = 1000 * (time.perf_counter() - begun)
        tab.locator("#documents .name").first.wait_for()
        listed = 1000 * (time.perf_counter() - begun)
        paints = "performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"
        (painted,) = tab.evaluate(paints)
    return painted, typed, listed


def hits(chromium, address):
    """Milliseconds from Enter until the first hits are there, for each of the questions."""
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        tab = context.new_page()
        tab.goto(address)
        tab.locator("#documents .name").first.wait_for()
        for question in QUESTIONS:
            tab.locator("#question").fill(question)
            tab.evaluate("document.querySelector('.hits')?.replaceChildren()")
            begun = time.perf_counter()
            tab.keyboard.press("Enter")
            tab.locator("a.hit").first.wait_for()
            yield 1000 * (time.perf_counter() - begun)


def main(index, kilobytes="50"):
    port = str(free_port())
    command = [sys.executable, "-m", "visret", "serve", index, "--port", port, "--rate", "1000"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        server.stdout.readline()  # it says its address
        address = f"http://127.0.0.1:{port}/"
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            visits = [first_visit(chromium, address, int(kilobytes)) for _ in range(VISITS)]
            print(f"{kilobytes} KB/s, {DELAY} ms of delay, median of {VISITS} first visits, in milliseconds")
            names = "painted", "takes text", "documents listed"
            for name, times in zip(names, zip(*visits, strict=True), strict=True):
                print(f"{name:>18}  {statistics.median(times):7.0f}")
            print(f"{'Enter to hits':>18}  {statistics.median(hits(chromium, address)):7.0f}   without the limit")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
