"""Several processes that answer at one address."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.serving import Server
from support.waiting import until, wait_for_end

from visret import Page, Retriever, cli
from visret.errors import VisretError
from visret.server import app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of the server in /proc")


def children(pid):
    """The processes that a process has started and that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


@contextlib.contextmanager
def asleep(pid):
    """Let a process sleep, so that another one has to answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def page(colour):
    return Page.from_image(Image.new("RGB", (64, 96), colour), doc=colour)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("workers") / "i.visret"
    with Retriever.create(path, model="toy") as retriever:
        retriever.add_pages([page("red")])
    return path


@pytest.fixture(scope="module")
def server(index):
    server = Server(index, "--no-ui", "--workers", "2", "--rate", "5000")
    assert server.search("red")["hits"][0]["doc"] == "red"
    until(lambda: len(children(server.process.pid)) == 2)
    yield server
    workers = children(server.process.pid)
    status, said, complaints = server.stop(signal.SIGTERM)
    for worker in workers:
        wait_for_end(worker)
    assert (status, said) == (128 + signal.SIGTERM, f"visret: http://127.0.0.1:{server.port}/\n")
    assert complaints == ""


def test_each_process_sees_what_others_commit_whatever_it_is_asked_first(server, index):
    with Retriever.open(index) as other:
        other.add_pages([page("blue")])
        for worker in children(server.process.pid):
            with asleep(worker):
                assert server.ask("/page/blue/1.png").status == 200
                assert server.search("blue")["hits"][0]["doc"] == "blue"
        other.remove("blue")
        for worker in children(server.process.pid):
            with asleep(worker):
                assert server.ask("/page/blue/1.png").status == 404
                assert json.loads(server.ask("/health").content)["documents"] == 1


def test_what_would_change_the_index_is_refused_with_a_reason(server):
    asked = [
        server.upload(("red.png", b"")),
        server.ask("/documents/red", "DELETE"),
        server.ask("/documents/red", "PATCH", {"year": 2024}),
    ]
    for answer in asked:
        assert answer.status == 403
        assert "this server only reads, as several processes" in json.loads(answer.content)["detail"]
    assert server.search("red")["hits"][0]["doc"] == "red"


@pytest.mark.long
def test_a_process_that_dies_is_named_and_another_takes_its_place(index):
    server = Server(index, "--no-ui", "--workers", "2", "--fuse", f"again={index}")
    assert "again" in server.search("red")["hits"][0]["scores"]  # no option is lost on its way to the processes
    first, second = children(server.process.pid)
    os.kill(first, signal.SIGKILL)
    wait_for_end(first)
    until(lambda: len(children(server.process.pid)) == 2)
    with asleep(second):
        assert server.search("red")["hits"][0]["doc"] == "red"
    status, _, complaints = server.stop(signal.SIGINT)
    assert status == 128 + signal.SIGINT
    assert f"process {first} of the server was ended by signal 9; another one takes its place\n" in complaints
    assert complaints.endswith("visret: stopped\n")


@pytest.mark.long
def test_no_process_stays_behind_when_their_parent_is_killed(index):
    server = Server(index, "--no-ui", "--workers", "2")
    server.search("red")
    workers = children(server.process.pid)
    server.stop(signal.SIGKILL)
    for worker in workers:
        wait_for_end(worker)


@pytest.mark.long
def test_processes_that_cannot_begin_end_the_command(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "fastapi").mkdir()
    (tmp_path / "fastapi" / "__init__.py").write_text("raise SystemExit('broken in the processes alone')")
    code = (
        "from visret.server import app; from visret.server.guard import Rules; from visret.errors import VisretError\n"
        f"try: app.serve({str(index)!r}, Rules(), port=0, ui=False, workers=2)\n"
        "except VisretError as error: print(error)"
    )
    hidden = f"import sys; sys.path.remove({str(tmp_path)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", hidden + code], capture_output=True, text=True, timeout=120, check=True
    )
    assert "no process of the server could begin: the first ended with status 1" in done.stdout
    assert "broken in the processes alone" in done.stderr


def test_the_page_in_the_browser_is_not_offered_by_several(index, capsys):
    assert cli.main(["serve", str(index), "--workers", "2"]) == 2
    assert "--no-ui: the page in the browser keeps the uploads" in capsys.readouterr().err


def test_windows_serves_with_one(index, monkeypatch):
    monkeypatch.setattr(app.several.os, "name", "nt")
    with pytest.raises(VisretError, match="on Windows one process serves"):
        app.several.check(2, ui=False)
