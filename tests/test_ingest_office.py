"""Office documents from file to highlight, through LibreOffice or a stand-in that copies, crashes or hangs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.office_files import needs_libreoffice, write_odt
from support.runs import best
from support.sheets import write_pdf
from support.waiting import wait_for_end

from visret import Retriever
from visret.documents import kinds, office
from visret.errors import DocumentError
from visret.index import renditions
from visret.ingest import encoding, process

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="the stand-in for LibreOffice is a script with a #! line"),
    pytest.mark.usefixtures("fresh_workers"),
]

# What a document says is what happens to it: the name of a PDF beside the stand-in, or this.
STAND_IN = """
import os, shutil, signal, subprocess, time
said = source.read_text().removeprefix('{{\\\\rtf ').rstrip('}}')
if said == 'crash':
    os.kill(os.getpid(), signal.SIGSEGV)
if said == 'hang':
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    pathlib.Path({note!r}).write_text(str(child.pid))
    time.sleep(600)
shutil.copy(pathlib.Path({folder!r}, said), out / 'document.pdf')
"""


@pytest.fixture
def installed(tmp_path, soffice):
    """installed(): from now on the stand-in is there."""
    write_pdf(tmp_path / "made" / "two.pdf", "red", "blue")
    write_pdf(tmp_path / "made" / "one.pdf", "yellow")
    return lambda: soffice(STAND_IN.format(note=str(tmp_path / "child"), folder=str(tmp_path / "made")))


@pytest.fixture
def none(monkeypatch, tmp_path):
    """No LibreOffice."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if office.program():
        pytest.skip("LibreOffice is where its installer puts it, and cannot be hidden")


def write_rtf(path, says):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{{\\rtf {says}}}")
    return path


def failures(report):
    return {Path(failure.path).name: failure.reason for failure in report.failed}


def kept(retriever):
    return sorted(path.name for path in (retriever._index.path / "renditions").glob("*/*"))


def test_documents_are_found_drawn_from_their_pdf_and_go_with_it(retriever, installed, tmp_path):
    installed()
    folder = tmp_path / "papers"
    two = write_rtf(folder / "two.rtf", "two.pdf")
    write_rtf(folder / "deep.RTF", "one.pdf")
    for name in ("~$two.rtf", ".~lock.two.rtf#", ".two.rtf", "two.xyz"):
        (folder / name).write_bytes(b"junk")
    report = retriever.add(folder)
    assert (report.documents, report.pages, report.failed) == (2, 3, [])
    assert best(retriever, "blue") == ("two.rtf", 2)
    hit = retriever.search("yellow", k=1)[0]
    assert (hit.ref, hit.source) == (("deep.RTF", 1), str((folder / "deep.RTF").resolve()))
    assert retriever.heatmap("blue", ("two.rtf", 2)).image().width > 60
    assert retriever.page(("two.rtf", 2)).image.getpixel((5, 5))[2] > 200
    assert retriever._index.verify() == []
    assert kept(retriever) == ["document.pdf"] * 2
    assert retriever.info()["bytes"] > sum(f.stat().st_size for f in retriever._index.path.rglob("*.pdf"))
    assert retriever.add(folder).unchanged == 2

    write_rtf(two, "one.pdf")
    with pytest.raises(DocumentError, match="changed"):
        retriever.page(("two.rtf", 2))
    assert retriever.add(folder).pages == 1
    assert sorted(hit.page for hit in retriever.search("red", where={"doc": "two.rtf"})) == [1]
    retriever.remove("two.rtf")
    retriever.compact()
    assert kept(retriever) == ["document.pdf"]
    assert retriever.page(hit).image.getpixel((5, 5))[:2] > (200, 200)


def test_each_bad_file_is_one_failure(retriever, installed, tmp_path, monkeypatch):
    installed()
    folder = tmp_path / "papers"
    for name in ("hang", "crash", "two.pdf"):
        write_rtf(folder / f"{name}.rtf", name)
    (folder / "empty.docx").write_bytes(b"")
    (folder / "locked.docx").write_bytes(kinds.OLE + "EncryptedPackage".encode("utf-16-le"))
    (folder / "words.rtf").write_text("no RTF")
    (folder / "some.xyz").write_bytes(b"PK")
    monkeypatch.setattr(office, "SECONDS", 0)
    report = retriever.add([folder, folder / "some.xyz"], page_seconds=4)
    assert report.pages == 2
    said = failures(report)
    assert set(said) == {"hang.rtf", "crash.rtf", "empty.docx", "locked.docx", "words.rtf", "some.xyz"}
    assert said["hang.rtf"] == "took more than 4 s and was given up"
    assert "cannot convert it (exit status -11)" in said["crash.rtf"]
    assert "is empty" in said["empty.docx"]
    assert "without a password" in said["locked.docx"]
    assert "'.xyz' are not read" in said["some.xyz"]
    assert ".docx" in said["some.xyz"]
    wait_for_end(int((tmp_path / "child").read_text()))
    assert kept(retriever) == ["document.pdf"]


def test_a_document_waits_for_libreoffice(none, retriever, installed, tmp_path, monkeypatch):
    path = write_rtf(tmp_path / "papers" / "two.rtf", "two.pdf")
    with monkeypatch.context() as patch:
        assert failures(retriever.add(path)) == {"two.rtf": office.MISSING}
        patch.setattr(process.Worker, "__init__", lambda _: pytest.fail("it is tried again"))
        assert failures(retriever.add(path)) == {"two.rtf": office.MISSING}
    installed()
    assert retriever.add(path).pages == 2
    assert best(retriever, "blue") == ("two.rtf", 2)


@pytest.mark.heavy
def test_html_has_words_without_libreoffice(none, retriever, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<h1>Harbour</h1><p>The lighthouse keeper repaired a broken lantern.</p>")
    assert failures(retriever.add(path)) == {"page.html": office.MISSING}  # it looks at pages
    with Retriever.create(tmp_path / "w.visret") as words:
        assert words.add(path).pages == 1
        hit = words.search("broken lantern", k=1)[0]
        assert hit.text == "The lighthouse keeper repaired a broken lantern."
        assert words.page(hit).plain.startswith("Harbour\n\n")
        with pytest.raises(DocumentError, match="plain text"):
            words.picture(hit)


def test_stopped_it_goes_on_with_the_pdf_it_has(none, retriever, installed, tmp_path, monkeypatch, stopping_at_page_2):
    path = write_rtf(tmp_path / "papers" / "two.rtf", "two.pdf")
    nothing = os.environ["PATH"]
    installed()
    monkeypatch.setattr(encoding, "BATCH_PAGES", {"image": 1, "text": 1})
    with stopping_at_page_2(), pytest.raises(KeyboardInterrupt):
        retriever.add(path)
    assert retriever.info()["partial"] == 1
    monkeypatch.setenv("PATH", nothing)
    report = retriever.add(path)
    assert (report.pages, report.failed) == (1, [])
    assert best(retriever, "blue") == ("two.rtf", 2)
    assert retriever._index.verify() == []


def test_a_damaged_pdf_is_found_dropped_and_made_again(retriever, installed, tmp_path):
    installed()
    path = write_rtf(tmp_path / "papers" / "two.rtf", "two.pdf")
    retriever.add(path)
    number = retriever._index.snapshot.docs()["two.rtf"]
    file = renditions.pdf_of(retriever._index.path, number)
    file.write_bytes(file.read_bytes() + b" ")
    assert retriever._index.verify() == ["renditions/000001/document.pdf is damaged (its checksum differs)"]
    lost = retriever._index.repair()
    assert lost == ["two.rtf: the PDF it was converted to was dropped; bring its file in again"]
    retriever.refresh()
    with pytest.raises(DocumentError, match="is lost; index it again"):
        retriever.picture(("two.rtf", 1))
    assert retriever.add(path).pages == 2
    assert retriever.picture(("two.rtf", 2)).getpixel((5, 5))[2] > 200
    assert retriever._index.verify() == []


def test_a_crash_of_the_pdf_library_leaves_the_pdf_that_pages_came_from(retriever, installed, tmp_path, monkeypatch):
    installed()
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text(
        "import os\nfrom visret import documents\nfrom visret.ingest import worker\npage = documents.Document.page\n"
        "def breaking(self, number, **options):\n"
        "    if number == 1 and self.path.name == 'document.pdf':\n        os._exit(3)\n"
        "    return page(self, number, **options)\n"
        "documents.Document.page = breaking\nworker.main()\n"
    )
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-P", str(wrapper)))
    report = retriever.add(write_rtf(tmp_path / "papers" / "two.rtf", "two.pdf"))
    assert (report.pages, [failure.page for failure in report.failed]) == (1, [1])
    assert best(retriever, "blue") == ("two.rtf", 2)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_libreoffice_does_not_outlive_the_run(installed, tmp_path, end):
    installed()
    script = (
        f"from visret import Retriever\nwith Retriever.create({str(tmp_path / 's.visret')!r}, model='toy') as r:\n"
        f"    r.add({str(write_rtf(tmp_path / 'papers' / 'a.rtf', 'hang'))!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True) as process:
        note = tmp_path / "child"
        while not (note.exists() and note.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        child = int(note.read_text())
        os.kill(child, 0)
        os.killpg(process.pid, end)
        process.wait()
    wait_for_end(child)


@pytest.mark.heavy
@needs_libreoffice
def test_real_documents_are_found_and_marked(tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    write_odt(folder / "minutes.odt")
    (folder / "page.html").write_text("<h1>Harbour</h1><p>The lighthouse keeper repaired a broken lantern.</p>")
    with Retriever.create(tmp_path / "w.visret") as retriever:
        report = retriever.add(folder)
        assert (report.pages, report.failed) == (2, [])
        hit = retriever.search("broken lantern", k=1)[0]
        assert hit.ref == ("page.html", 1)
        words = {word.text: word.box for word in retriever.page(hit).words}
        best = retriever.heatmap("broken lantern", hit).boxes[0]
        assert best.x0 < words["broken"][2] < words["lantern."][0] < best.x1
        assert best.y0 < sum(words["broken"][1::2]) / 2 < best.y1
        assert retriever.search("minutes of the quarter", k=1)[0].ref == ("minutes.odt", 1)
        assert retriever.picture(("minutes.odt", 1)).size[1] > 1000
