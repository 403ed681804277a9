"""Names that clients give, and files that are kept or not."""

import io

import pytest
from sheets import write_pdf

from visret import Retriever
from visret.errors import InvalidQuery
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
        with pytest.raises(InvalidQuery, match="is not taken"):
            uploads.safe_name(given)
    else:
        assert uploads.safe_name(given) == kept


@pytest.fixture
def retriever(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        yield made


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
    assert [hit.doc for hit in retriever.search("yellow", where={"year": 2024})] == ["a (2).pdf"]


def test_a_file_of_many_pages_is_refused(retriever, tmp_path):
    pages = write_pdf(tmp_path / "three.pdf", "red", "blue", "red").read_bytes()
    report = bring(retriever, tmp_path, ("a.pdf", pages), most_pages=2)
    assert "has 3 pages; 2 are the most" in report.failed[0].reason
    assert names(tmp_path) == []
    assert bring(retriever, tmp_path, ("a.pdf", pages), most_pages=3).pages == 3


def test_a_kind_that_is_not_taken_stops_all(retriever, tmp_path):
    with pytest.raises(InvalidQuery, match=r"'b\.exe' is not taken"):
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
        with pytest.raises(InvalidQuery, match="metadata is"):
            uploads.parse_metadata(text)
