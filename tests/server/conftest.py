"""Servers, each in a thread, and the browser that visits them."""

import asyncio
import shutil
import tempfile
import threading

import pytest
import uvicorn
from support.waiting import until

from visret.server import app
from visret.server.guard import Rules


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """Where servers keep what visitors bring."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        patch.setenv("GRADIO_IS_E2E_TEST", "1")  # a closed tab is forgotten after a second, not an hour
        yield folder


@pytest.fixture(scope="module")
def serve(temporary):
    """Runs the application: serve(index) -> its address. model: reads uploads."""
    servers, threads, loops = [], [], []
    new_loop = asyncio.new_event_loop

    def start(index=None, *, model="toy", folders=True, lab=True, port=0, llm=None, keys=()):
        listener = app.listen("127.0.0.1", port)
        built = app.build(index, Rules(rate=0, keys=keys), folders=folders, model=model, lab=lab, llm=llm)
        servers.append(uvicorn.Server(app.configuration(built)))
        threads.append(threading.Thread(target=servers[-1].run, kwargs={"sockets": [listener]}))
        threads[-1].start()
        until(lambda: servers[-1].started)
        start.last = servers[-1], threads[-1]
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    with pytest.MonkeyPatch.context() as patch:
        # gradio makes event loops for its locks and forgets them, which would warn
        patch.setattr(asyncio, "new_event_loop", lambda: loops.append(new_loop()) or loops[-1])
        yield start
        for server in servers:
            server.should_exit = True
        for thread in threads:
            thread.join()
    for loop in loops:
        loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture(scope="module")
def chromium():
    """Debian's chromium, driven by playwright, which must end with the file: while it runs, asyncio.run cannot."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium here: apt install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # machines are shared
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
