"""Make the pictures of the documents again: python tests/screenshot.py [FOLDER]

    found.png     the page that answers a question about the sample documents, marked, without its margins
    browser*.png  the page in the browser, drawn by chromium: with the same question, the first screen, on a phone, dark

They are written into FOLDER, which is examples/ where none is given. Look at them before you commit them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import sync_playwright
from support.samples import FOLDER
from support.waiting import free_port

QUESTION = "Which machine gets less breeze because a building is in the way?"
SHOWN = 0, 90, 827, 920  # pixels of the page at 100 dpi: what is between its margins
LARGE, SMALL = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SCREENS = {  # the file -> the question, and how the page is looked at
    "browser.png": (QUESTION, {"viewport": LARGE}),
    "browser-start.png": ("", {"viewport": LARGE}),
    "browser-phone.png": (QUESTION, {"viewport": SMALL}),
    "browser-dark.png": (QUESTION, {"viewport": LARGE, "color_scheme": "dark"}),
}
VISRET = [sys.executable, "-m", "visret"]


def found(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*VISRET, "find", QUESTION, FOLDER, "-k", "1", "--pictures", folder], check=True)
        (picture,) = Path(folder).glob("*.png")
        with Image.open(picture) as page:
            page.crop(SHOWN).convert("RGB").quantize(200).save(out, optimize=True)


def browser(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        index, port = Path(made, "samples.visret"), str(free_port())
        subprocess.run([*VISRET, "index", FOLDER, "--index", index], check=True)
        server = subprocess.Popen([*VISRET, "serve", index, "--port", port], stdout=subprocess.PIPE, text=True)
        try:
            server.stdout.readline()  # it says its address
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, (question, how) in SCREENS.items():
                tab = chromium.new_page(**how)
                tab.goto(f"http://127.0.0.1:{port}/{question and '?q=' + quote(question)}")
                tab.locator("a.hit mark" if question else "#tries a").first.wait_for(timeout=60_000)
                if question and how["viewport"]["width"] > 800:
                    tab.locator(".frame").first.wait_for(timeout=60_000)
                tab.wait_for_load_state("networkidle")
                tab.evaluate("Promise.all(Array.from(document.images, image => image.src && image.decode()))")
                tab.evaluate("document.activeElement.blur()")
                tab.screenshot(path=folder / name)
                tab.close()
                with Image.open(folder / name) as shot:
                    shot.convert("RGB").quantize(200).save(folder / name, optimize=True)
        finally:
            server.terminate()
            server.wait()


def main(folder: str = str(FOLDER.parent)) -> None:
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {"VISRET_CACHE": cache, "VISRET_OCR": "glyph"}  # what a new installation reads with
        found(Path(folder, "found.png"))
        browser(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
