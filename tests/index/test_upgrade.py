"""Indexes of earlier formats.

format-2.zip was made by the last visret of format 2: toy vectors of pages made in memory, rows of two files that are
not there, a document that was removed, and what it was before a reindex beside it.
"""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from support.pages import OLD_PAGES

from visret import Retriever
from visret.errors import DuplicateDocument, PageIndexError
from visret.index import PageIndex, upgrade
from visret.types import Grid, PageEmbedding, PageRef


@pytest.fixture
def old(made_by):
    return made_by(2)


def format_of(folder):
    with closing(sqlite3.connect(folder / "catalogue.sqlite")) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def page(doc):
    vectors = np.eye(4, dtype=np.float32)
    return PageEmbedding(PageRef(doc, 1), (600.0, 800.0), vectors, Grid(2, 2))


def write(folder, doc="new.pdf", **place):
    with PageIndex.open(folder) as index, index.writing() as writer:
        number = writer.add(doc, **place)
        writer.put(number, page(doc))
        writer.lose(number, 1, "a stamp", "flatten it")
        writer.finish(number)
    return number


def test_it_is_read_as_it_is(old):
    before = {file: file.read_bytes() for file in old.rglob("*") if file.is_file()}
    with Retriever.open(old) as retriever:
        assert sorted(hit.ref for hit in retriever.search("red", k=9)) == OLD_PAGES
        assert retriever.search("red", k=1)[0].scores["late"] == pytest.approx(1)
        documents = [retriever.document(doc) for doc in retriever.documents()]
        assert [(d.doc, d.source, d.member, d.lost) for d in documents] == [
            ("colours.pdf", None, "", ()),
            ("one.pdf", None, "", ()),
            ("a.pdf", "/papers/a.pdf", "", ()),
            ("b.pdf", "/papers/b.pdf", "", ()),
        ]
        assert PageIndex.open(old).verify() == []
        assert (retriever.info()["documents_with_losses"], retriever.info()["documents_with_losses_unknown"]) == (0, 2)
    assert before == {file: file.read_bytes() for file in old.rglob("*") if file.is_file()}
    assert format_of(old) == 2


def test_the_first_writer_upgrades_it_and_keeps_everything(old):
    with PageIndex.open(old) as index:
        before = list(index.snapshot.documents())
    number = write(old, source="/papers/new.zip", member="inside/new.pdf")
    assert format_of(old) == 3
    with PageIndex.open(old) as index:
        *kept, new = index.snapshot.documents()
        assert kept == before
        assert (new.number, new.member) == (number, "inside/new.pdf")
        assert new.lost == ((1, "a stamp", "flatten it"),)
        assert number > max(document.number for document in before) + 1  # that of the removed one is not used again
        assert index.verify() == []
    with Retriever.open(old) as retriever:
        assert {hit.ref for hit in retriever.search("red", k=9)} == {*OLD_PAGES, PageRef("new.pdf", 1)}
        assert (retriever.info()["documents_with_losses"], retriever.info()["documents_with_losses_unknown"]) == (1, 2)


def test_a_place_is_taken_once_a_file_holds_many(old):
    write(old, source="/papers/x.zip", member="1.pdf")
    write(old, "other.pdf", source="/papers/x.zip", member="2.pdf")
    with pytest.raises(DuplicateDocument, match=r"1\.pdf in /papers/x\.zip is in the index already, as 'new\.pdf'"):
        write(old, "third.pdf", source="/papers/x.zip", member="1.pdf")


def test_what_it_was_before_is_still_there(old):
    with Retriever.open(old) as retriever:
        retriever.undo_reindex()
        assert len(retriever.documents()) == 4
        assert {hit.ref for hit in retriever.search("red", k=9)} == {*OLD_PAGES, *(PageRef("a.pdf", n) for n in (1, 2))}
        retriever.undo_reindex()
        assert [hit.ref for hit in retriever.search("red", k=1)] == [PageRef("colours.pdf", 1)]
    write(old)
    assert PageIndex.open(old).verify() == []


def test_it_is_reindexed(old):
    with Retriever.open(old) as retriever:
        retriever.reindex(codec="float16")
        assert sorted(hit.ref for hit in retriever.search("red", k=9)) == OLD_PAGES
    assert PageIndex.open(old).verify() == []


def test_an_upgrade_that_fails_leaves_it_as_it_was(old, monkeypatch):
    before = (old / "catalogue.sqlite").read_bytes()

    def fail(name):
        if name == "lost":
            raise sqlite3.OperationalError("disk I/O error")
        return made(name)

    made = upgrade._table
    monkeypatch.setattr(upgrade, "_table", fail)
    with pytest.raises(PageIndexError, match="cannot write, so nothing of this commit was kept: disk I/O error"):
        write(old)
    assert (old / "catalogue.sqlite").read_bytes() == before
    monkeypatch.undo()
    write(old)
    assert PageIndex.open(old).verify() == []


def test_a_file_goes_with_the_documents_in_it(old):
    write(old, source="/papers/x.zip")
    write(old, "x.zip/1.pdf", source="/papers/x.zip", member="1.pdf")
    with Retriever.open(old) as retriever:
        retriever.remove("new.pdf")
        assert not {"new.pdf", "x.zip/1.pdf"} & set(retriever.documents())
