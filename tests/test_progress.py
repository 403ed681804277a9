"""What a run says of itself while it goes on, and who looks ahead for it: real files, real processes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from support.sheets import write_pdf
from support.waiting import until, wait_for_end

from visret import Retriever, cli
from visret.encoders import toy
from visret.ingest import encoding, process, progress, reader, report, scout
from visret.ingest.costs import BLIND, WORDS, File
from visret.ingest.forecast import Forecast
from visret.ingest.options import ReadOptions

SENTENCE = "The lighthouse keeper repaired a broken lantern before the storm reached the harbour wall"


def write_pages(path, *pages):
    """A PDF; of each page: whether its text is a picture, and how many lines it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), pagesize=(612, 792))
    for scanned, lines in pages:
        if scanned:
            sheet = Image.new("RGB", (850, 1100), "white")
            pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
            for line in range(lines):
                pen.text((60, 60 + 30 * line), SENTENCE, "black", font)
            canvas.drawImage(ImageReader(sheet), 0, 0, 612, 792)
        else:
            for line in range(lines):
                canvas.drawString(40, 740 - 20 * line, SENTENCE)
        canvas.showPage()
    canvas.save()
    return path


# ---- what is told


@pytest.mark.usefixtures("fresh_workers")  # one that is there already has nothing to wait for
def test_it_is_told_from_the_start_to_the_end_in_one_thread(retriever, papers, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.05)
    monkeypatch.setattr(reader, "WAKE_SECONDS", 0.05)
    told = []

    def note(progress):
        now = progress.documents, progress.documents_total, progress.pages, progress.seconds_left
        told.append((*now, threading.current_thread()))

    report = retriever.add(papers, progress=note)
    calls = len(told)
    assert told[0][:4] == (0, 2, 0, None)  # in the first seconds too little is known
    assert told[-1][:4] == (2, 2, report.pages, 0)
    assert {thread for *_, thread in told} == {threading.current_thread()}
    assert calls > 4  # a process takes a third of a second to start, in which nothing comes
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("visret-")])
    assert len(told) == calls, "nothing is told after the end"


def test_it_is_told_that_pages_are_ahead(retriever, papers, monkeypatch):
    monkeypatch.setattr(report, "SILENT", 0)
    told = []
    retriever.add(papers, progress=lambda p: told.append((p.seconds_left, p.pages_total, p.pages_are_counted)))
    assert told[0][0] > 0
    assert told[-1] == (0, 3, True)


def test_a_callable_that_fails_while_nothing_comes_ends_the_run(retriever, papers, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.01)
    monkeypatch.setattr(reader, "WAKE_SECONDS", 0.01)
    calls = []

    def stop(progress):
        calls.append(progress)
        if len(calls) == 2:
            raise KeyError

    with pytest.raises(KeyError):
        retriever.add(papers, progress=stop)
    assert len(calls) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("visret-")]
    assert retriever.add(papers).pages + retriever.info()["pages"] >= 3


def test_the_meter_shows_a_figure_while_a_batch_takes_long(retriever, papers, monkeypatch, capsys):
    monkeypatch.setattr(cli, "SILENT", 0.1)
    monkeypatch.setattr(report, "SILENT", 0)
    said = []
    encode = toy.ToyEncoder.encode_pages

    def slow(self, pages):
        until(lambda: said.append(capsys.readouterr().err) or "".join(said))
        return encode(self, pages)

    monkeypatch.setattr(toy.ToyEncoder, "encode_pages", slow)
    meter = cli.Meter()
    try:
        retriever.add(papers, progress=meter)
    finally:
        meter.close()
    assert "0 of 3 pages, 0 of 2 files  0:00:00 left" in "".join(said) or "about" in "".join(said)
    assert "visret-meter" not in {thread.name for thread in threading.enumerate()}


# ---- who looks ahead


@pytest.fixture
def scouting(monkeypatch):
    """A function that lets a scout look at all files of a folder, and gives what it told."""
    monkeypatch.setattr(scout, "SHORT", -1)
    monkeypatch.setattr(scout, "DELAY", 0)
    monkeypatch.setattr(scout, "AT_ONCE", 99)
    monkeypatch.setattr(scout, "SHARE", 99)

    def look(folder, **options):
        files = [File(str(path), "pdf", path.stat().st_size) for path in sorted(folder.iterdir())]
        forecast = Forecast(files, ocr=options.get("ocr", "auto"), engine="glyph")
        with scout.Scout(files, ReadOptions(**options), forecast) as looks:
            until(lambda: not (looks.is_alive() and looks.looking))
        return forecast, looks

    return look


def test_a_scout_counts_pages_and_sees_which_ocr_will_read(tmp_path, scouting):
    folder = tmp_path / "papers"
    write_pages(folder / "digital.pdf", *[(False, 30)] * 9)
    write_pages(folder / "scan.pdf", (True, 30), (True, 5))
    write_pages(folder / "mixed.pdf", *[(False, 30), (True, 20)] * 6)
    folder.joinpath("broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    forecast, looked = scouting(folder, ocr="auto", pictures=False)
    ahead = forecast.ahead
    pages = {Path(key).name: ahead.pages[i] for key, i in ahead.place.items()}
    assert pages == {"digital.pdf": 9, "scan.pdf": 2, "mixed.pdf": 12, "broken.pdf": 0}
    left = {Path(key).name: ahead.left()[i] for key, i in ahead.place.items()}
    assert left["digital.pdf"][WORDS] == pytest.approx(9, abs=0.5)
    assert left["scan.pdf"][BLIND] == 2
    assert left["mixed.pdf"][BLIND] == 6  # of a file that is mixed, it looks at all pages
    dense, bare = (look.words for look in ahead.looks[ahead.place[str(folder / "scan.pdf")]].values())
    assert 250 < dense < 900  # 30 lines of 14 words
    assert bare < dense / 3
    assert looked.workers.current is None


def test_a_scout_skips_a_file_that_ends_its_worker(tmp_path, scouting, monkeypatch):
    for name in "abc":
        write_pages(tmp_path / "papers" / f"{name}.pdf", *[(False, 30)] * 2)
    died = []
    receive = process.Worker._receive

    def dying(self, seconds):
        frame = receive(self, seconds)
        if "pages" in frame[0] and not died:
            died.append(self)
            self.close()
            raise process.Died("crashed")
        return frame

    monkeypatch.setattr(process.Worker, "_receive", dying)
    forecast, looked = scouting(tmp_path / "papers", pictures=False)
    assert looked.crashes == 1
    assert sorted(forecast.ahead.pages[~(forecast.ahead.looked.sum(axis=1) == 0)]) == [2, 2]


def test_a_scout_does_not_look_at_pages_of_files_that_are_too_long(tmp_path, scouting):
    write_pages(tmp_path / "papers" / "a.pdf", *[(False, 30)] * 5)
    write_pages(tmp_path / "papers" / "b.pdf", (False, 30))
    forecast, _ = scouting(tmp_path / "papers", max_pages=4)
    assert sorted(forecast.ahead.pages) == [0, 1]


@pytest.mark.long
@pytest.mark.heavy
def test_a_scout_has_a_page_read_where_ocr_will_take_long(tmp_path, scouting, glyph, monkeypatch):
    monkeypatch.setattr(scout, "MUCH_OCR", 0)
    monkeypatch.setattr(scout, "TRIES", 1)
    for name in "ab":
        write_pages(tmp_path / "papers" / f"{name}.pdf", (True, 3))
    forecast, looked = scouting(tmp_path / "papers", ocr="auto", pictures=False)
    assert looked.tries == 1
    assert forecast.costs.reading[BLIND].weight > 0
    assert not looked.loaded  # OCR takes much memory: its process is gone


def test_a_short_run_is_not_looked_ahead_of(retriever, papers, monkeypatch):
    monkeypatch.setattr(scout, "DELAY", 0)
    monkeypatch.setattr(scout.Scout, "_look", lambda *_: pytest.fail("it was"))
    assert retriever.add(papers).pages == 3


SCRIPT = """
import os, sys, time
from visret import Retriever
from visret.encoders import toy
from visret.ingest import process, scout
scout.SHORT, scout.DELAY, scout.AT_ONCE, scout.SHARE = -1, 0, 99, 99
started = process.Worker.__init__
def tell(self):
    started(self)
    os.write(1, b"%d\\n" % self._process.pid)  # in one piece: two threads tell
process.Worker.__init__ = tell
toy.ToyEncoder.encode_pages = lambda self, pages: [time.sleep(0.1) for _ in range(600)]
with Retriever.create(sys.argv[1], model="toy") as retriever:
    retriever.add(sys.argv[2])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_scout_outlives_its_run(tmp_path, papers, end):
    command = [sys.executable, "-c", SCRIPT, tmp_path / "s.visret", papers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        pids = [int(process.stdout.readline()) for _ in range(2)]
        os.killpg(process.pid, end)
        process.communicate()
        for pid in pids:
            wait_for_end(pid)


def test_a_big_run_is_looked_ahead_of(tmp_path, scouting, monkeypatch):
    """The whole way: a run whose files are looked at while the first is encoded."""
    for name in "abcd":
        write_pdf(tmp_path / "papers" / f"{name}.pdf", "red", "blue")
    looked = threading.Event()
    encode, tell = toy.ToyEncoder.encode_pages, Forecast.looked
    monkeypatch.setattr(Forecast, "looked", lambda *found: (tell(*found), looked.set()))
    monkeypatch.setattr(reader, "AHEAD_BYTES", 1)  # no file is read before it is its turn

    def wait(self, pages):
        looked.wait(30)
        return encode(self, pages)

    monkeypatch.setattr(toy.ToyEncoder, "encode_pages", wait)
    monkeypatch.setitem(encoding.BATCH_PAGES, "image", 1)
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        assert retriever.add(tmp_path / "papers").pages == 8
    assert looked.is_set()


@pytest.mark.heavy
def test_pages_in_another_language_are_said_once_a_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(encoding.BATCH_PAGES, "text", 1)
    for name, text in {"a": "Где находится библиотека", "b": "a house", "c": "图书馆在哪里", "d": "что это"}.items():
        (tmp_path / f"{name}.txt").write_text(text, "utf8")
    with Retriever.create(tmp_path / "i.visret", model="all-minilm-l6-v2") as retriever:
        retriever.add(tmp_path)
    (said,) = [message for message in caplog.messages if "another language" in message]
    assert "; 3 of 4 pages are" in said
    assert said.endswith(": a.txt, c.txt, d.txt; the model multilingual reads them")
