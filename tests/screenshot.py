"""Make the pictures of the documents again: python tests/screenshot.py [FOLDER]

    found.png     the page that answers a question about the sample documents, marked, without its margins
    browser.png   the page in the browser, with the same question; it is drawn by chromium

They are written into FOLDER, which is examples/ where none is given. Look at them before you commit them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect, sync_playwright
from support.samples import FOLDER
from support.waiting import free_port

QUESTION = "Which machine gets less breeze because a building is in the way?"
SHOWN = 0, 90, 827, 920  # pixels of the page at 100 dpi: what is between its margins
VISRET = [sys.executable, "-m", "visret"]


def found(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*VISRET, "find", QUESTION, FOLDER, "-k", "1", "--pictures", folder], check=True)
        (picture,) = Path(folder).glob("*.png")
        with Image.open(picture) as page:
            page.crop(SHOWN).convert("RGB").quantize(200).save(out, optimize=True)


def browser(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        index, port = Path(folder, "samples.visret"), str(free_port())
        subprocess.run([*VISRET, "index", FOLDER, "--index", index], check=True)
        server = subprocess.Popen([*VISRET, "serve", index, "--port", port], stdout=subprocess.PIPE, text=True)
        try:
            server.stdout.readline()  # it says its address
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = chromium.new_page(viewport={"width": 1200, "height": 1000})
            tab.goto(f"http://127.0.0.1:{port}/")
            tab.get_by_label("Question", exact=True).fill(QUESTION)
            tab.keyboard.press("Enter")
            expect(tab.locator("#quoted")).to_contain_text("page", timeout=60_000)
            expect(tab.get_by_role("button", name="Ask", exact=True)).to_be_enabled(timeout=60_000)
            tab.evaluate("Promise.all(Array.from(document.images, image => image.decode()))")
            tab.evaluate("document.activeElement.blur()")
            tab.screenshot(path=out)
            with Image.open(out) as shot:
                shot.quantize(200).save(out, optimize=True)
        finally:
            server.terminate()
            server.wait()


def main(folder: str = str(FOLDER.parent)) -> None:
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {"VISRET_CACHE": cache, "VISRET_OCR": "glyph"}  # what a new installation reads with
        for make in (found, browser):
            make(Path(folder, f"{make.__name__}.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
