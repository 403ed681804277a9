"""Pages made in memory are one more source of a run: nothing is lost, and an error publishes nothing. With `toy`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.runs import best

from visret import Page
from visret.encoders.toy import ToyEncoder
from visret.errors import InvalidArgument, NoPicture
from visret.ingest.report import EmptyPage, Failure, Lost
from visret.types import Loss


def sheet(colour, doc, page=1):
    return Page.from_image(Image.new("RGB", (64, 96), colour), doc=doc, page=page)


def kept(retriever):
    """The names of the pictures that an index keeps."""
    return sorted(path.name for path in (Path(retriever._index.path) / "renditions").glob("*/*"))


def test_pages_of_a_document_may_come_between_those_of_another(retriever):
    pages = [
        sheet("red", "x", 2),
        sheet("green", "y//z"),
        sheet("blue", "x"),
        Page.from_text("words", doc="y//z", page=2),
    ]
    report = retriever.add_pages(pages)
    assert (report.documents, report.added, report.pages) == (2, 2, 3)
    assert report.empty == [EmptyPage("y//z", 2)]  # under the name that it was given
    assert best(retriever, "red") == ("x", 2)
    assert [(document.state, document.pages) for document in map(retriever.document, ("x", "y//z"))] == [
        ("done", (1, 2)),
        ("done", (1,)),
    ]
    assert kept(retriever) == ["1.webp", "1.webp", "2.webp"]
    assert retriever._index.verify() == []


def test_an_error_on_the_way_leaves_the_index_as_it_was(retriever):
    retriever.add_pages([sheet("red", "x", 1), sheet("green", "x", 2)])

    def broken():
        yield sheet("blue", "x", 1)
        yield from (sheet("white", f"w{i}") for i in range(10))
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        retriever.add_pages(broken())
    with pytest.raises(InvalidArgument, match="page 1 of 'x' is given twice"):
        retriever.add_pages([sheet("blue", "x"), sheet("blue", "x")])
    assert list(retriever.documents()) == ["x"]
    assert best(retriever, "green") == ("x", 2)


def test_without_their_pictures_pages_are_found_and_not_drawn(retriever):
    assert retriever.add_pages([sheet("red", "x"), sheet("green", "y")], pictures=False).pages == 2
    assert kept(retriever) == []
    assert best(retriever, "green") == ("y", 1)
    with pytest.raises(NoPicture, match="was added without a picture"):
        retriever.picture(("y", 1))


def test_what_is_missing_from_a_page_is_reported_and_stays_known(retriever):
    loss = Loss("a stamp", "scan it again")
    report = retriever.add_pages([replace(sheet("red", "x"), lost=(loss,))])
    assert report.lost == [Lost("x", 1, *loss)]
    assert retriever.document("x").lost == ((1, *loss),)


def test_a_page_that_cannot_be_stored_is_named_and_stops_no_other(retriever, monkeypatch):
    whole = ToyEncoder.encode_pages

    def spoilt(self, pages):
        return [
            replace(one, vectors=np.full_like(one.vectors, np.nan)) if one.ref.doc == "bad" else one
            for one in whole(self, pages)
        ]

    monkeypatch.setattr(ToyEncoder, "encode_pages", spoilt)
    report = retriever.add_pages([sheet("red", "bad"), sheet("green", "good")])
    assert report.pages == 1
    assert [(one.path, one.page) for one in report.failed] == [("bad", 1)]
    assert isinstance(report.failed[0], Failure)
    assert best(retriever, "green") == ("good", 1)
