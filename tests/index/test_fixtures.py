"""An index made by each version that is readable: opened, searched, added to, compacted and verified.

format-N.zip was made by a visret of format N; `python tests/index/test_fixtures.py` made that of format 3. A fixture is
never made again.
"""

import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from support.pages import OLD_PAGES

from visret import Page, Retriever
from visret.errors import PageIndexError
from visret.index import PageIndex, layout
from visret.types import PageRef

HERE = Path(__file__).parent


def page(colour, doc, number=1):
    return Page.from_image(Image.new("RGB", (64, 64), colour), doc=doc, page=number)


def test_there_is_one_for_each_format():
    assert [f"format-{number}.zip" for number in layout.READABLE] == sorted(path.name for path in HERE.glob("*.zip"))
    assert layout.READABLE[-1] == layout.FORMAT


@pytest.mark.parametrize("number", layout.READABLE)
def test_it_lives_on(made_by, number):
    folder = made_by(number)
    with Retriever.open(folder) as retriever:
        before = {hit.ref: hit.scores["late"] for hit in retriever.search("red", k=9)}
        assert sorted(before) == OLD_PAGES
        retriever.add_pages([page("red", "new.pdf")], metadata={"year": 2026})
        retriever.remove("one.pdf")
        retriever.compact()
        after = {hit.ref: hit.scores["late"] for hit in retriever.search("red", k=9)}
        assert after.pop(PageRef("new.pdf", 1)) == pytest.approx(1)
        assert after == {ref: before[ref] for ref in OLD_PAGES[:2]}
        assert [hit.doc for hit in retriever.search("red", where={"year": 2026})] == ["new.pdf"]
    with closing(PageIndex.open(folder)) as index:
        assert index.verify() == []


@pytest.mark.parametrize("number", layout.READABLE)
def test_compaction_brings_what_single_vectors_need(made_by, number):
    with Retriever.open(made_by(number)) as retriever:
        with pytest.raises(PageIndexError, match="has no means: visret compact makes them"):
            retriever.search("red", by="dense")
        retriever.compact()
        assert retriever.search("red", k=1, by="dense")[0].ref == OLD_PAGES[0]


def test_what_format_3_added_is_still_there(made_by):
    with Retriever.open(made_by(3)) as retriever:
        assert retriever.document("inside.pdf").member == "letters/inside.pdf"
        assert [(lost.page, lost.what, lost.help) for lost in retriever.lost()] == [(None, "a letter", "look again")]


def make(folder):
    with Retriever.create(folder, model="toy") as made:
        made.add_pages([page("red", "colours.pdf", 1), page((200, 60, 60), "colours.pdf", 2), page("red", "one.pdf")])
        with made._index.writing() as writer:
            number = writer.add("inside.pdf", source="/papers/all.zip", member="letters/inside.pdf")
            writer.lose(number, None, "a letter", "look again")
            writer.finish(number)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(HERE / "format-3.zip", "x") as archive:
        make(Path(scratch, "index"))
        for path in sorted(Path(scratch, "index").rglob("*")):
            archive.write(path, path.relative_to(Path(scratch, "index")), zipfile.ZIP_DEFLATED)
