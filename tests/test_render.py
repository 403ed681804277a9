"""Reading in another process: the same pages as here, and a worker that dies takes one page with it at most."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas
from soak import mutate
from support.samples import FOLDER
from support.sheets import write_pdf
from support.waiting import wait_for_end
from support.workers import BREAKING

from visret import Page, Retriever, documents
from visret.errors import VisretError
from visret.ingest import discovery, messages, process, reader, report
from visret.ingest import worker as worker_process
from visret.ingest.options import ReadOptions
from visret.ingest.progress import Teller, Watch
from visret.ingest.tasks import Task, file_ahead
from visret.models import registry

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta")
pytestmark = pytest.mark.usefixtures("fresh_workers")
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and memory limits are POSIX")


@pytest.fixture
def papers(tmp_path):
    """a.pdf with three pages, b.pdf with all colours and c.pdf with one."""
    write_pdf(tmp_path / "papers" / "a.pdf", *COLOURS[:3])
    write_pdf(tmp_path / "papers" / "b.pdf", *COLOURS)
    write_pdf(tmp_path / "papers" / "c.pdf", "white")
    return tmp_path / "papers"


@pytest.fixture
def worker():
    made = process.Worker()
    yield made
    made.close()


def failures(report):
    """{(file, page): reason}"""
    return {(Path(failure.path).name, failure.page): failure.reason for failure in report.failed}


def indexed(retriever):
    return sorted(hit.ref for hit in retriever.search("red", k=99))


ALL = [("a.pdf", page) for page in (1, 2, 3)] + [("b.pdf", page) for page in range(1, 7)] + [("c.pdf", 1)]


# ---- what comes of a file


@pytest.fixture(scope="module")
def of_each_kind(tmp_path_factory):
    """One of each kind; the PDFs have words over line ends, turned pages, scans, and text that is not Unicode."""
    folder = tmp_path_factory.mktemp("documents")
    canvas = Canvas(str(folder / "secret.pdf"), encrypt="sesame")
    canvas.drawString(72, 72, "hidden words")
    canvas.save()
    sheets = [Image.new("RGB", (40, 30), colour) for colour in COLOURS[:3]]
    sheets[0].save(folder / "many.tiff", save_all=True, append_images=sheets[1:])
    sheets[1].convert("CMYK").save(folder / "picture.jpg")
    (folder / "notes.txt").write_text("one \ud83d\udca1\fIdéfix" + " word" * 2000, "utf-8", "surrogatepass")
    return [*sorted(FOLDER.glob("*.pdf")), *sorted(folder.iterdir())]


@pytest.mark.parametrize("image", [True, False])
def test_pages_are_those_that_are_read_here(of_each_kind, worker, image):
    kinds = set()
    for path in of_each_kind:
        request = messages.Request(str(path), ReadOptions(password="sesame", pictures=image), hash=True)
        hashed, opened, *pages = worker.read(request, doc="x")
        assert hashed.hash == messages.sha256(path)
        with documents.open_document(path, password="sesame") as document:
            assert opened.pages == len(document) == len(pages)
            for number, page in enumerate(pages, 1):
                here = document.page(number, doc="x", image=image)
                assert (page.ref, page.size_pt, page.plain) == (here.ref, here.size_pt, here.plain)
                assert page.words == here.words
                assert (page.image is None) == (here.image is None)
                if here.image is not None:
                    assert (page.image.mode, page.image.size) == ("RGB", here.image.size)
                    assert page.image.tobytes() == here.image.tobytes()
                kinds |= {(path.suffix, bool(page.words), any(word.rest for word in page.words or ()))}
    assert (".pdf", True, True) in kinds  # words over a line end were among them


def test_pages_that_are_not_wanted_are_not_read(worker, papers):
    opened, *pages = worker.read(messages.Request(str(papers / "b.pdf"), skip=(1, 2, 5)), doc="b")
    assert opened.pages == 6
    assert [page.ref for page in pages] == [("b", 3), ("b", 4), ("b", 6)]


def test_one_worker_reads_file_after_file_and_says_what_is_wrong(worker, papers, tmp_path):
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (unread,) = worker.read(messages.Request(str(tmp_path / "bad.pdf")), doc="x")
    assert (unread.page, unread.reached) == (None, True)
    assert "damaged" in unread.reason
    (unread,) = worker.read(messages.Request(str(tmp_path / "gone.pdf"), hash=True), doc="x")
    assert unread == messages.Unread(None, "No such file or directory", reached=False)
    assert len(list(worker.read(messages.Request(str(papers / "a.pdf")), doc="x"))) == 4


def test_what_a_worker_logs_is_logged_here(worker, papers, caplog):
    whole = (papers / "b.pdf").read_bytes()
    (papers / "b.pdf").write_bytes(whole.replace(b"%%EOF", b"%%___"))
    with caplog.at_level(logging.WARNING, logger="visret.documents.pdf"):
        list(worker.read(messages.Request(str(papers / "b.pdf")), doc="x"))
    assert [(record.name, record.levelname) for record in caplog.records] == [("visret.documents.pdf", "WARNING")]
    assert "end is missing" in caplog.text


def test_starting_is_light():
    code = "import sys, visret.ingest.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "visret.documents" in loaded
    assert not {"torch", "transformers", "scipy", "multiprocessing", "sqlite3", "visret.index"} & set(loaded)


# ---- what dies


@POSIX
def test_a_crash_costs_the_page(retriever, papers, breaks):
    breaks({"a.pdf": {2: "crash"}})
    report = retriever.add(papers)
    assert list(failures(report)) == [("a.pdf", 2)]
    assert "signal 11" in failures(report)["a.pdf", 2]
    assert indexed(retriever) == [ref for ref in ALL if ref != ("a.pdf", 2)]
    assert (report.added, report.pages) == (3, 9)
    breaks({})
    assert failures(retriever.add(papers)) == failures(report)  # not tried again ...
    assert retriever.add(papers, retry_failed=True).failed == []  # ... unless asked
    assert indexed(retriever) == ALL


@pytest.mark.parametrize("at", [0, 1, "close"])
def test_a_worker_that_ends_while_it_opens_begins_or_closes_a_file(retriever, papers, breaks, at):
    breaks({"a.pdf": {at: "exit"}})
    report = retriever.add(papers)
    lost = {0: [("a.pdf", None)], 1: [("a.pdf", 1)], "close": []}[at]
    assert list(failures(report)) == lost
    assert all("exit 3" in reason for reason in failures(report).values())
    assert report.pages == {0: 7, 1: 9, "close": 10}[at]


def test_a_file_that_crashes_again_and_again_is_given_up(retriever, papers, breaks):
    breaks({"b.pdf": {2: "exit", 3: "exit", 5: "exit"}})
    report = retriever.add(papers)
    assert list(failures(report)) == [("b.pdf", 2), ("b.pdf", 3), ("b.pdf", 5), ("b.pdf", None)]
    assert "page 5" in failures(report)["b.pdf", None]
    assert indexed(retriever) == [ref for ref in ALL if ref not in {("b.pdf", page) for page in (2, 3, 5, 6)}]
    assert retriever._index.snapshot.document("b.pdf").state == "failed"


@pytest.mark.parametrize(("at", "lost"), [(2, ("a.pdf", 2)), (0, ("a.pdf", None))])
def test_a_hang_is_ended(tmp_path, papers, breaks, at, lost):
    breaks({"a.pdf": {at: "hang"}})
    with Retriever.create(tmp_path / "h.visret", model="toy") as retriever:
        report = retriever.add(papers, page_seconds=2)
        assert list(failures(report)) == [lost]
        assert "took more than 2" in failures(report)[lost]
        assert ("c.pdf", 1) in indexed(retriever)


def test_a_file_is_not_believed_to_have_a_million_pages(retriever, tmp_path):
    path = write_pdf(tmp_path / "one.pdf", "red", "blue")
    claim = path.read_bytes().replace(b"/Count 2", b"/Count 999999")
    path.write_bytes(claim)
    report = retriever.add(path)
    assert report.pages == 2
    assert [failure.page for failure in report.failed] == [*range(3, 103), None]
    assert report.failed[-1].reason == "was given up at page 102 of 999,999, after 100 bad ones"


@pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is known to hold on Linux")
def test_memory_is_limited(retriever, papers, breaks):
    breaks({"a.pdf": {2: "memory"}, "b.pdf": {3: "killed"}})
    report = retriever.add(papers)
    assert failures(report)["a.pdf", 2] == "needs more than 1 GiB of memory; reduce it"
    assert "lack of memory" in failures(report)["b.pdf", 3]
    assert report.pages == 8


def test_a_bug_is_told_with_its_type_and_place(retriever, papers, breaks):
    breaks({"a.pdf": {2: "defect"}, "b.pdf": {0: "defect"}})
    report = retriever.add(papers)
    assert list(failures(report)) == [("a.pdf", 2), ("b.pdf", None)]
    for reason in failures(report).values():
        assert reason.startswith("a bug in visret: KeyError: 'nothing\\nthere' (wrapper.py, line ")


def test_what_a_library_prints_does_no_harm(retriever, papers, breaks):
    breaks({"a.pdf": {1: "print", 3: "print"}})
    assert retriever.add(papers).failed == []
    assert indexed(retriever) == ALL


def test_a_worker_that_does_not_start_stops_the_run(retriever, papers, monkeypatch):
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", "raise SystemExit(5)"))
    with pytest.raises(VisretError, match=r"does not start.*exit 5"):
        retriever.add(papers)
    monkeypatch.undo()
    assert retriever.add(papers).pages == 10


def test_damaged_files_stop_nothing_and_all_are_told_of(tmp_path):
    canvas = Canvas(str(tmp_path / "words.pdf"), pagesize=(90, 60), pageCompression=0)
    for page in range(3):
        canvas.drawString(9, 9, f"page {page}")
        canvas.acroForm.checkbox(x=40, y=40, size=9)
        canvas.showPage()
    canvas.save()
    sources = [tmp_path / "words.pdf", write_pdf(tmp_path / "colours.pdf", *COLOURS)]
    (tmp_path / "damaged").mkdir()
    files = mutate.write(tmp_path / "damaged", sources, 30, seed=0)
    assert len({file.read_bytes() for file in files}) > 27
    outcome = mutate.soak(tmp_path, files)
    assert outcome.wrong == []
    assert (outcome.files, outcome.failed_files > 3, outcome.pages > 30) == (30, True, True)


# ---- order, bounds, ends


def reader_of(tasks):
    """What reads them, watched by something that nobody listens to."""
    options, lanes = ReadOptions(), reader.lane_count(len(tasks))
    spec, files = registry.resolve("toy"), [file_ahead(task) for task in tasks]
    watch = Watch(Teller(report.Progress(), lambda _: None), files, lanes=lanes, options=options, spec=spec, room=1)
    return reader.Reader(tasks, options, watch)


def test_several_workers_give_files_in_order(retriever, papers, breaks, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    breaks({"a.pdf": {1: "exit"}, "c.pdf": {0: "exit"}})
    tasks = [
        Task(discovery.Source(path, path.name), path.name, number, 0, None, {4} if number == 1 else set())
        for number, path in enumerate(sorted(papers.iterdir()))
    ]
    with reader_of(tasks) as reads:
        assert len(reads.lanes) == 3
        read = list(reads)
    pages = [item.page.ref for item in read if item.page]
    assert pages == [ref for ref in ALL[1:-1] if ref != ("b.pdf", 4)]
    assert [item.task.doc for item in read if item.is_last] == ["a.pdf", "b.pdf", "c.pdf"]


def test_pages_wait_for_the_encoder_within_a_bound(papers, monkeypatch):
    monkeypatch.setattr(reader, "AHEAD_BYTES", 3 * 4 * 128 * 192)  # three pages of 64 x 96 points, at 144 dpi
    task = Task(discovery.Source(papers / "b.pdf", "b"), "b", 1, 0, None, set())
    with reader_of([task]) as reads:
        buffer, read = reads.lanes[0].buffer, iter(reads)
        with buffer.changed:
            buffer.changed.wait_for(lambda: buffer.bytes == reader.AHEAD_BYTES)
        for _ in range(8):
            next(read)
            with buffer.changed:
                assert buffer.bytes == sum(size for _, size in buffer.items) <= reader.AHEAD_BYTES


def test_stopping_ends_the_worker_at_once(papers, breaks):
    breaks({"a.pdf": {2: "hang"}})
    task = Task(discovery.Source(papers / "a.pdf", "a"), "a", 1, 0, None, set())
    with reader_of([task]) as reads:
        assert [type(item.answer).__name__ for item in islice(reads, 2)] == ["Hashed", "Page"]
        process = reads.lanes[0].workers.current._process
    assert process.returncode is not None
    assert "visret-reader" not in {thread.name for thread in threading.enumerate()}


SCRIPT = """
import sys
from visret import Retriever
from visret.ingest import process
process.COMMAND = (sys.executable, "-P", sys.argv[1], sys.argv[2])
started = process.Worker.__init__
def tell(self):
    started(self)
    print(self._process.pid, flush=True)
process.Worker.__init__ = tell
with Retriever.create(sys.argv[3], model="toy") as retriever:
    print(retriever.add(sys.argv[4]).pages)
"""


def start(tmp_path, papers, plan):
    """A script without a main guard that indexes the papers."""
    (tmp_path / "wrapper.py").write_text(BREAKING)
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = [tmp_path / "wrapper.py", json.dumps(plan), tmp_path / "s.visret", papers]
    command = [sys.executable, tmp_path / "script.py", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_worker_outlives_its_parent(tmp_path, papers, end):
    with start(tmp_path, papers, {"b.pdf": {2: "hang"}}) as process:
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        os.killpg(process.pid, end)
        said = process.communicate()[1]
        assert process.returncode == -end
        wait_for_end(pid)
    assert ("KeyboardInterrupt" in said) == (end == signal.SIGINT)


def test_a_script_needs_no_main_guard_and_a_thread_may_add(tmp_path, papers):
    with start(tmp_path, papers, {}) as process:
        said, wrong = process.communicate()
        assert (said.split()[-1], wrong, process.returncode) == ("10", "", 0)
    counts = []
    with Retriever.create(tmp_path / "t.visret", model="toy") as retriever:
        thread = threading.Thread(target=lambda: counts.append(retriever.add(papers).pages))
        thread.start()
        thread.join()
    assert counts == [10]


def test_frames_survive_anything_in_names_and_words(tmp_path, worker):
    name = (
        "caf? 日本.pdf" if os.name == "nt" or sys.platform == "darwin" else os.fsdecode(b"caf\xe9 \n \xed\xa0\xbd.pdf")
    )
    path = write_pdf(tmp_path / "plain.pdf", "red").rename(tmp_path / name.replace("?", "é"))
    assert len(list(worker.read(messages.Request(str(path)), doc="x"))) == 2
    page = Page.from_image(
        Image.new("RGB", (3, 2), "red"), doc="x", page=7, words=[("\udce9x", (0.1, 1e-300, np.pi / 10, 1.0))]
    )
    header, raw = messages.packed(page)
    again = messages.unpacked(json.loads(json.dumps(header)), memoryview(b"".join(raw)), "x")
    assert (again.ref, again.size_pt, again.words) == (page.ref, page.size_pt, page.words)


# ---- other systems, by substitution


@POSIX
def test_a_user_with_many_pipes_reads_as_well(retriever, papers, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("fcntl.fcntl", refuse)
    assert retriever.add(papers).pages == 10


@POSIX
def test_a_system_without_a_limit_reads_as_well(monkeypatch):
    def refuse(*_):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr("resource.setrlimit", refuse)
    worker_process._limit()


@pytest.fixture
def windows(monkeypatch):
    """What the calls of Windows were given; nothing in it may make a Path."""
    called = []
    fake = {"SEM_FAILCRITICALERRORS": 1, "SEM_NOGPFAULTERRORBOX": 2, "SetErrorMode": called.append}
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(**fake))
    monkeypatch.setattr("subprocess.CREATE_NO_WINDOW", 8, raising=False)
    monkeypatch.setattr("subprocess.CREATE_NEW_PROCESS_GROUP", 16, raising=False)
    environment = process._environment()
    monkeypatch.setattr(process, "_environment", lambda: environment)
    monkeypatch.setattr(os, "name", "nt")
    return called


@POSIX
def test_on_windows_a_worker_has_no_window_and_a_group_of_its_own(windows, monkeypatch):
    def popen(command, **given):
        windows.append(given)
        raise InterruptedError

    monkeypatch.setattr("subprocess.Popen", popen)
    with pytest.raises(InterruptedError):
        process.Worker()
    assert windows[0]["creationflags"] == 24
    assert "start_new_session" not in windows[0]


@POSIX
def test_on_windows_a_crash_opens_no_window_and_the_end_takes_the_children(windows, monkeypatch):
    worker_process._limit()
    monkeypatch.setattr("subprocess.run", lambda command, **_: windows.append(command))
    process.end(7)
    assert windows == [3, ["taskkill", "/F", "/T", "/PID", "7"]]


def test_a_crash_on_windows_is_told_by_its_number(monkeypatch):
    worker = object.__new__(process.Worker)
    worker._expired, worker._process = None, SimpleNamespace(returncode=0xC0000005)
    assert "(exit 0xc0000005)" in worker._epitaph()
