"""Names that clients give, and files that are kept or not."""

import io

import pytest
from support.sheets import write_pdf

from visret import Retriever
from visret.errors import IndexLocked, InvalidArgument
from visret.index.layout import UPLOADS_LOCK
from visret.index.writer import writer_lock
from visret.ingest import encoding, recorder
from visret.server import uploads


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/cron.d/x.pdf", "x.pdf"),
        ("..\\..\\x.pdf", "x.pdf"),
        ("/etc/x.txt", "x.txt"),
        ("C:\\x.pdf", "x.pdf"),
        ("C:x.pdf", "C_x.pdf"),
        ("a.txt:stream.pdf", "a.txt_stream.pdf"),
        ("a\0\n\x1b[31m.pdf", "a[31m.pdf"),
        ("\u202efdp.x.pdf", "fdp.x.pdf"),
        ("<img src=x onerror=alert(1)>.png", "_img src=x onerror=alert(1)_.png"),
        (" .hidden.pdf", "hidden.pdf"),
        ("..pdf.md", "pdf.md"),
        ("é" * 500 + ".PDF", "é" * 116 + ".PDF"),
        ("漢" * 500 + ".pdf", "漢" * 78 + ".pdf"),
        ("\U0001f600" * 500 + ".pdf", "\U0001f600" * 59 + ".pdf"),
        ("\udcff.pdf", None),
        ("x.html", None),
        ("x", None),
        ("", None),
        ("..", None),
        (".pdf", None),
        ("dir/.pdf", None),
    ],
)
def test_a_name_means_nothing_to_the_file_system(given, kept):
    if kept is None:
        with pytest.raises(InvalidArgument, match="is not accepted"):
            uploads.safe_name(given)
    else:
        assert uploads.safe_name(given) == kept


def bring(retriever, tmp_path, *files, **named):
    given = [(name, io.BytesIO(content)) for name, content in files]
    return uploads.add(retriever, tmp_path / "i.visret", given, **named)


def names(tmp_path):
    return sorted(str(path.relative_to(tmp_path / "i.visret" / "uploads")) for path in tmp_path.rglob("uploads/**/*"))


def test_what_can_be_read_is_kept_and_nothing_else(retriever, tmp_path):
    red = write_pdf(tmp_path / "red.pdf", "red", "blue").read_bytes()
    report = bring(retriever, tmp_path, ("a.pdf", red), ("b.pdf", b"%PDF-1.7 no"), ("empty.png", b""))
    assert (report.added, report.pages, len(report.failed)) == (1, 2, 2)
    assert retriever.documents() == ["a.pdf"]
    assert names(tmp_path) == ["a.pdf"]
    assert bring(retriever, tmp_path, ("a.pdf", red)).unchanged == 1
    yellow = write_pdf(tmp_path / "yellow.pdf", "yellow").read_bytes()
    bring(retriever, tmp_path, ("a.pdf", yellow), ("a.pdf", red), metadata={"year": 2024})
    assert names(tmp_path) == ["a (2).pdf", "a.pdf"]
    assert retriever.search("yellow", k=1, where={"year": 2024})[0].doc == "a (2).pdf"
    assert retriever.document("a.pdf").metadata == {"year": 2024}, "the same file with other metadata"


def test_an_upload_takes_the_place_of_the_earlier_one_of_its_name(retriever, tmp_path, papers):
    retriever.add(papers)
    files = {name: write_pdf(tmp_path / f"{name}.pdf", name).read_bytes() for name in ("cyan", "green", "magenta")}
    first = bring(retriever, tmp_path, ("one.pdf", files["cyan"]), metadata={"year": 2024})
    assert first.files == [uploads.Brought("one.pdf", "uploads/one.pdf", "added", "done", 1, None)]
    for name in ("green", "magenta"):
        again = bring(retriever, tmp_path, ("../one.pdf", files[name]))
        assert again.files == [uploads.Brought("../one.pdf", "uploads/one.pdf", "replaced", "done", 1, None)]
        assert [hit.doc for hit in retriever.search(name, where={"year": 2024})] == ["uploads/one.pdf"]
        assert retriever.original("uploads/one.pdf").read_bytes() == files[name]
        assert len(names(tmp_path)) == 1
    assert bring(retriever, tmp_path, ("one.pdf", files["magenta"])).files[0].change == "unchanged"
    assert retriever.documents() == ["one.pdf", "two.pdf", "uploads/one.pdf"]
    assert (papers / "one.pdf").exists()


def test_what_cannot_be_read_replaces_nothing(retriever, tmp_path):
    red = write_pdf(tmp_path / "red.pdf", "red").read_bytes()
    bring(retriever, tmp_path, ("a.pdf", red))
    report = bring(retriever, tmp_path, ("a.pdf", b"%PDF-1.7 no"), ("b.txt", b"zebra"))
    assert [(one.doc, one.change) for one in report.files] == [(None, "failed"), ("b.txt", "added")]
    assert report.files[0].reason.endswith("; the earlier upload of this name stays")
    assert [(one.path, one.page) for one in report.failed] == [("a.pdf", None)]
    assert retriever.original("a.pdf").read_bytes() == red
    assert names(tmp_path) == ["a.pdf", "b.txt"]


def test_the_old_one_answers_until_the_new_one_is_read(retriever, tmp_path, stopping_at_page_2, monkeypatch):
    monkeypatch.setattr(recorder, "COMMIT_SECONDS", (0.0, 0.0))
    monkeypatch.setitem(encoding.BATCH_PAGES, "image", 1)
    bring(retriever, tmp_path, ("a.pdf", write_pdf(tmp_path / "red.pdf", "red").read_bytes()))
    new = write_pdf(tmp_path / "new.pdf", "green", "blue").read_bytes()
    with stopping_at_page_2(), pytest.raises(KeyboardInterrupt):
        bring(retriever, tmp_path, ("a.pdf", new))
    assert retriever.document("a.pdf").pages == (1,)
    assert retriever.search("red")[0].scores["late"] > 0.9
    assert names(tmp_path) == ["a.pdf"]
    bring(retriever, tmp_path, ("a.pdf", new))
    assert retriever.document("a.pdf").pages == (1, 2)


def test_what_a_killed_server_left_is_finished_or_deleted(retriever, tmp_path, papers, stopping_at_page_2, monkeypatch):
    monkeypatch.setitem(encoding.BATCH_PAGES, "image", 1)
    retriever.add(papers)
    folder = tmp_path / "i.visret" / "uploads"
    bring(retriever, tmp_path, ("whole.pdf", write_pdf(tmp_path / "red.pdf", "red").read_bytes()))
    half = write_pdf(folder / "half.pdf", "red", "green")
    with stopping_at_page_2(), pytest.raises(KeyboardInterrupt):  # while it is read
        retriever.add([half], metadata={"year": 2024})
    write_pdf(folder / "one.pdf", "cyan")  # before it is read, or after its document was removed; of a name in papers
    (folder / ".incoming" / "0").mkdir(parents=True)  # before that
    (folder / ".incoming" / "0" / "x.pdf").write_bytes(b"x")
    assert retriever.document("half.pdf").state == "partial"
    with writer_lock(folder.parent, UPLOADS_LOCK), pytest.raises(IndexLocked):  # they are another server's
        uploads.recover(retriever, folder.parent)
    assert len(list(folder.iterdir())) == 4
    uploads.recover(retriever, folder.parent)
    assert names(tmp_path) == ["half.pdf", "whole.pdf"]
    assert [hit.page for hit in retriever.search("green", k=1, where={"year": 2024})] == [2]
    assert retriever.document("half.pdf").state == "done"


def test_a_file_that_another_version_of_the_index_names_is_kept(retriever, tmp_path):
    bring(retriever, tmp_path, ("old.pdf", write_pdf(tmp_path / "red.pdf", "red").read_bytes()))
    retriever.reindex(codec="float32")
    bring(retriever, tmp_path, ("new.pdf", write_pdf(tmp_path / "cyan.pdf", "cyan").read_bytes()))
    retriever.undo_reindex()
    uploads.recover(retriever, tmp_path / "i.visret")
    assert names(tmp_path) == ["new.pdf", "old.pdf"]


def test_an_index_that_was_moved_keeps_its_files(retriever, tmp_path):
    bring(retriever, tmp_path, ("a.pdf", write_pdf(tmp_path / "red.pdf", "red").read_bytes()))
    retriever.close()
    moved = (tmp_path / "i.visret").rename(tmp_path / "elsewhere")
    with Retriever.open(moved) as other:
        uploads.recover(other, moved)
    assert (moved / "uploads" / "a.pdf").exists()


def test_a_file_of_many_pages_is_refused(retriever, tmp_path):
    pages = write_pdf(tmp_path / "three.pdf", "red", "blue", "red").read_bytes()
    report = bring(retriever, tmp_path, ("a.pdf", pages), most_pages=2)
    assert "has 3 pages; at most 2 are read" in report.failed[0].reason
    assert names(tmp_path) == []
    assert bring(retriever, tmp_path, ("a.pdf", pages), most_pages=3).pages == 3


def test_a_kind_that_is_not_taken_stops_all(retriever, tmp_path):
    with pytest.raises(InvalidArgument, match=r"'b\.exe' is not accepted"):
        bring(retriever, tmp_path, ("a.txt", b"red"), ("b.exe", b"MZ"))
    assert names(tmp_path) == []


def test_a_document_goes_with_its_file_if_it_was_uploaded(retriever, tmp_path, papers):
    retriever.add(papers)
    bring(retriever, tmp_path, ("one.pdf", write_pdf(tmp_path / "cyan.pdf", "cyan").read_bytes()))
    assert retriever.documents() == ["one.pdf", "two.pdf", "uploads/one.pdf"]
    for doc in retriever.documents():
        uploads.remove(retriever, tmp_path / "i.visret", doc)
    assert names(tmp_path) == []
    assert (papers / "one.pdf").exists()
    assert (papers / "two.pdf").exists()


def test_metadata_is_an_object():
    assert uploads.parse_metadata("") is None
    assert uploads.parse_metadata("{}") == {}
    assert uploads.parse_metadata('{"a": 1}') == {"a": 1}
    for text in ("[1]", "{", "[" * 100_000, "nul"):
        with pytest.raises(InvalidArgument, match="metadata is"):
            uploads.parse_metadata(text)
