"""Documents inside files: each is a document of the index, and lives and goes with the file it is in."""

import io
import os
import shutil
import zipfile

import pytest
from PIL import Image
from support.runs import best, counts
from support.sheets import write_pdf

from visret import Retriever, cli
from visret.errors import DocumentError
from visret.ingest import recorder, report

MADE = {}  # a PDF says when it was made: the same colours are to be the same bytes


def pdf(tmp_path, *colours):
    if colours not in MADE:
        MADE[colours] = write_pdf(tmp_path / "made.pdf", *colours).read_bytes()
    return MADE[colours]


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


@pytest.fixture
def make(tmp_path):
    """Write an archive of PDFs of these colours, {name: colours} or {name: bytes}."""

    def write(name, files):
        path = tmp_path / "papers" / name
        path.parent.mkdir(exist_ok=True)
        made = {one: what if isinstance(what, bytes) else pdf(tmp_path, *what) for one, what in files.items()}
        path.write_bytes(zipped(made))
        return path

    return write


def test_each_is_a_document_under_a_name_that_says_where_it_lies(retriever, make):
    archive = make("letters.zip", {"a.pdf": ["red", "green"], "deep/b.pdf": ["blue"]})
    report = retriever.add(archive.parent)
    assert (report.failed, report.lost, report.ignored) == ([], [], [])
    assert counts(report) == (3, 3, 3, 0, 0)
    assert retriever.documents() == ["letters.zip", "letters.zip/a.pdf", "letters.zip/deep/b.pdf"]
    (hit,) = retriever.search("blue", k=1)
    assert (hit.ref, hit.source, hit.member) == (("letters.zip/deep/b.pdf", 1), str(archive), "deep/b.pdf")
    assert retriever.page(hit).image.getpixel((5, 5)) == (0, 0, 254)
    assert retriever.page(("letters.zip/a.pdf", 2)).image.getpixel((5, 5))[1] > 250
    with pytest.raises(DocumentError, match=r"letters\.zip: holds deep/b\.pdf; unpack it to open that by itself"):
        retriever.original(hit.doc)


def test_again_nothing_is_read(retriever, make):
    archive = make("letters.zip", {"a.pdf": ["red"], "b.pdf": ["blue"]})
    retriever.add(archive.parent)
    assert counts(retriever.add(archive.parent)) == (3, 0, 0, 3, 0)
    os.utime(archive, (1, 1))
    assert counts(retriever.add(archive.parent)) == (3, 0, 0, 3, 0)
    assert counts(retriever.add(archive.parent)) == (3, 0, 0, 3, 0)
    assert retriever.page(("letters.zip/b.pdf", 1)).image.getpixel((5, 5)) == (0, 0, 254)


def test_of_a_changed_archive_only_what_changed_is_read(retriever, make):
    archive = make("letters.zip", {"a.pdf": ["red"], "b.pdf": ["blue"], "c.pdf": ["green"]})
    retriever.add(archive.parent, metadata={"kept": True})
    make("letters.zip", {"a.pdf": ["red"], "b.pdf": ["magenta", "cyan"], "d.pdf": ["yellow"]})
    report = retriever.add(archive.parent)
    assert (report.pages, report.unchanged) == (3, 1)
    assert retriever.documents() == ["letters.zip/a.pdf", "letters.zip", "letters.zip/b.pdf", "letters.zip/d.pdf"]
    assert best(retriever, "magenta") == ("letters.zip/b.pdf", 1)
    assert len(retriever.search("red", k=9, where={"kept": True})) == 3  # what is new has none


def test_a_renamed_archive_takes_what_is_in_it_along(retriever, make):
    archive = make("letters.zip", {"a.pdf": ["red"], "inner.zip": zipped({"b.txt": b"x"})})
    retriever.add(archive.parent)
    before = retriever.documents()
    shutil.move(archive, archive.with_name("post.zip"))
    report = retriever.add(archive.parent, sync=True)
    assert (report.pages, report.removed) == (0, 0)
    assert retriever.documents() == [doc.replace("letters", "post") for doc in before]
    assert retriever.page(("post.zip/a.pdf", 1)).image.getpixel((5, 5)) == (254, 0, 0)


def test_an_archive_that_is_gone_takes_what_was_in_it_along(retriever, make):
    archive = make("letters.zip", {"a.pdf": ["red"]})
    make("other.zip", {"a.pdf": ["blue"]})
    retriever.add(archive.parent)
    archive.unlink()
    assert counts(retriever.add(archive.parent, sync=True)) == (2, 0, 0, 2, 1)
    assert retriever.documents() == ["other.zip", "other.zip/a.pdf"]
    retriever.remove("other.zip")
    assert retriever.documents() == []


def test_archives_in_archives(retriever, make, tmp_path):
    inner = zipped({"red.pdf": pdf(tmp_path, "red"), "more/blue.pdf": pdf(tmp_path, "blue")})
    archive = make("outer.zip", {"folder/inner.zip": inner, "green.pdf": ["green"]})
    report = retriever.add(archive)
    assert report.failed == []
    assert best(retriever, "blue") == ("outer.zip/folder/inner.zip/more/blue.pdf", 1)
    assert retriever.page(retriever.search("blue", k=1)[0]).image.getpixel((5, 5)) == (0, 0, 254)
    make("outer.zip", {"folder/inner.zip": inner, "green.pdf": ["yellow"]})
    assert retriever.add(archive).pages == 1  # the inner one is the same
    assert best(retriever, "blue") == ("outer.zip/folder/inner.zip/more/blue.pdf", 1)
    make("outer.zip", {"green.pdf": ["yellow"]})
    retriever.add(archive)
    assert retriever.documents() == ["outer.zip/green.pdf", "outer.zip"]


def test_they_end_somewhere(retriever, make, tmp_path):
    nested = {"deepest.pdf": pdf(tmp_path, "red")}
    for level in range(6):
        nested = {f"level{level}.zip": zipped(nested)}
    report = retriever.add(make("outer.zip", nested))
    (lost,) = report.lost
    assert lost.path.endswith("outer.zip/level5.zip/level4.zip/level3.zip/level2.zip")
    assert (lost.what, lost.help) == (
        "what is inside it from level1.zip on",
        "unpack it: visret reads documents in documents 4 deep",
    )


def test_what_cannot_be_read_in_one_is_named_and_the_rest_is_there(retriever, make):
    files = {"a.pdf": ["red"], "broken.pdf": b"%PDF-1.7 nothing", "run.exe": b"MZ", "b.dat": b"?", "c.dat": b"?"}
    archive = make("letters.zip", files)
    report = retriever.add(archive.parent)
    assert [(failure.path, failure.page) for failure in report.failed] == [(f"{archive}/broken.pdf", None)]
    (lost,) = report.lost
    assert (lost.path, lost.page, lost.what) == (
        str(archive),
        None,
        "3 files of kinds visret does not read: 2 .dat, 1 .exe",
    )
    assert best(retriever, "red") == ("letters.zip/a.pdf", 1)
    again = retriever.add(archive.parent)
    assert (again.failed, again.lost, again.pages) == (report.failed, report.lost, 0)
    assert retriever.lost() == report.lost
    assert retriever.unread()[0] == report.failed


def test_an_interrupted_archive_goes_on_where_it_was(retriever, make, monkeypatch):
    archive = make("letters.zip", {f"{n}.pdf": [colour] for n, colour in enumerate(["red", "green", "blue"] * 15)})
    monkeypatch.setattr(recorder, "COMMIT_SECONDS", (0.0, 0.0))

    def stop(progress):
        if progress.pages >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retriever.add(archive, progress=stop)
    assert retriever.document("letters.zip").state == "partial"
    done = sum(len(retriever.document(doc).pages) for doc in retriever.documents())
    assert 8 <= done < 45
    report = retriever.add(archive)
    assert (report.pages, report.failed) == (45 - done, [])
    assert retriever.document("letters.zip").state == "done"
    assert len(retriever.documents()) == 46


def test_metadata_is_that_of_the_file(retriever, make):
    archive = make("letters.zip", {"a.pdf": ["red"]})
    retriever.add(archive, metadata={"year": 2001})
    assert retriever.search("red", where={"year": 2001})[0].doc == "letters.zip/a.pdf"
    retriever.add(archive, metadata={"year": 2002})
    assert retriever.search("red", where={"year": 2002})[0].doc == "letters.zip/a.pdf"


def test_reindexed_from_the_archive(retriever, make):
    archive = make("letters.zip", {"a.pdf": ["red"], "b.pdf": ["blue"]})
    retriever.add(archive)
    before = retriever.documents()
    report = retriever.reindex(codec="float16")
    assert (report.pages, report.failed) == (2, [])
    assert retriever.documents() == before
    assert best(retriever, "blue") == ("letters.zip/b.pdf", 1)
    archive.unlink()
    report = retriever.add(archive.parent)
    with pytest.raises(DocumentError, match="is no longer there"):
        retriever.page(("letters.zip/b.pdf", 1))


def test_an_archive_takes_the_place_of_a_document(retriever, make):
    old = make("old.zip", {"a.pdf": ["red"], "b.pdf": ["green"]})
    new = make("new.zip", {"a.pdf": ["blue"]})
    retriever.add(old)
    report = retriever.replace("old.zip", new)
    assert report.failed == []
    assert sorted(retriever.documents()) == ["old.zip", "old.zip/a.pdf"]
    assert retriever.search("blue", k=1)[0].source == str(new)


def test_a_crash_costs_the_page_and_the_rest_is_read(retriever, make, breaks):
    archive = make("letters.zip", {"a.pdf": ["red"], "b.pdf": ["green", "blue"], "c.pdf": ["yellow"]})
    breaks({"2.pdf": {1: "crash"}})  # unpacked under numbers
    report = retriever.add(archive)
    assert [(failure.path, failure.page) for failure in report.failed] == [(f"{archive}/b.pdf", 1)]
    assert {hit.ref for hit in retriever.search("red", k=9)} == {
        ("letters.zip/a.pdf", 1),
        ("letters.zip/b.pdf", 2),
        ("letters.zip/c.pdf", 1),
    }


def test_a_document_that_crashes_when_it_is_opened_is_given_up(retriever, make, breaks):
    archive = make("letters.zip", {"a.pdf": ["red"], "b.pdf": ["green"], "c.pdf": ["yellow"]})
    breaks({"2.pdf": {0: "crash"}})
    report = retriever.add(archive)
    assert [(failure.path, failure.page) for failure in report.failed] == [(f"{archive}/b.pdf", None)]
    assert best(retriever, "yellow") == ("letters.zip/c.pdf", 1)
    assert retriever.document("letters.zip").state == "done"


def test_other_kinds_of_files_are_counted_and_listed(tmp_path, capsys):
    folder = tmp_path / "papers"
    write_pdf(folder / "one.pdf", "red")
    for name in ("a.xyz", "b.xyz", "sub/c.odd", "Makefile", "Thumbs.db", ".hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"?")
    index = ["index", str(folder), "--index", str(tmp_path / "x.visret"), "--model", "toy"]
    assert cli.main(index) == 0
    said = capsys.readouterr().err
    assert "4 files of kinds visret does not read: 2 .xyz, 1 without ending, 1 .odd (--json lists them)" in said
    with Retriever.open(tmp_path / "x.visret") as retriever:
        report = retriever.add(folder, exclude="sub")
        assert sorted(report.ignored) == [str(folder / name) for name in ("Makefile", "a.xyz", "b.xyz")]


def test_a_picture_in_an_archive(retriever, make):
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "yellow").save(out, "png")
    archive = make("letters.zip", {"scan.png": out.getvalue()})
    retriever.add(archive)
    assert best(retriever, "yellow") == ("letters.zip/scan.png", 1)


def test_what_is_missing_is_said_in_a_line_a_file(tmp_path, capsys):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "a.txt").write_bytes("Die Fähre fährt nicht bei Sturm.\n".encode() * 20 + b"ein \xff Byte\n")
    index = ["index", str(folder), "--index", str(tmp_path / "x.visret"), "--model", "toy"]
    cli.main(index)
    said = f"missing: {folder / 'a.txt'}: one byte that is not UTF-8 (save the file as UTF-8)\n"
    assert said in capsys.readouterr().err
    cli.main(index)
    assert said in capsys.readouterr().err  # of what was read before, too


def test_many_losses_make_one_line():
    lost = [report.Lost("a.pdf", page, "a stamp", "flatten it") for page in range(1, 9)]
    lost += [report.Lost("a.pdf", None, f"the attachment {name}", "unpack it") for name in "abc"]
    assert cli._losses(lost) == (
        "a stamp, pages 1, 2, 3, 4, 5 and 3 more (flatten it); the attachment a (unpack it); "
        "the attachment b (unpack it); and 1 more (--json lists them)"
    )
