"""The picture of the page in the browser: python tests/screenshot.py OUT.png

Serves the sample documents, and asks in chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect, sync_playwright
from samples import FOLDER
from waiting import free_port

QUESTION = "Which machine gets less breeze because a building is in the way?"


def main(out: str) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        visret, index, port = [sys.executable, "-m", "visret"], Path(folder, "samples.visret"), str(free_port())
        subprocess.run([*visret, "index", FOLDER, "--index", index], check=False)  # 1: one of them is a scan
        server = subprocess.Popen([*visret, "serve", index, "--port", port], stdout=subprocess.PIPE, text=True)
        try:
            server.stdout.readline()  # it says its address
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1200, "height": 1000})
            tab.goto(f"http://127.0.0.1:{port}/")
            tab.get_by_label("Question", exact=True).fill(QUESTION)
            tab.keyboard.press("Enter")
            expect(tab.locator("#quoted")).to_contain_text("page", timeout=60_000)
            expect(tab.get_by_role("button", name="Ask", exact=True)).to_be_enabled(timeout=60_000)
            tab.evaluate("Promise.all(Array.from(document.images, image => image.decode()))")
            tab.evaluate("document.activeElement.blur()")
            tab.screenshot(path=out)
            Image.open(out).quantize(200).save(out, optimize=True)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
