"""Servers, each in a thread."""

import asyncio
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
    from visret.server import ui

    servers, threads, loops, models = [], [], [], []
    build, new_loop = ui.build, asyncio.new_event_loop

    def start(index=None, *, model="toy", folders=True):
        models.append(model)
        listener = app.listen("127.0.0.1", 0)
        servers.append(uvicorn.Server(app.configuration(app.build(index, Rules(rate=0), folders=folders))))
        threads.append(threading.Thread(target=servers[-1].run, kwargs={"sockets": [listener]}))
        threads[-1].start()
        until(lambda: servers[-1].started)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ui, "build", lambda *given, **named: build(*given, model=models[-1], **named))
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
