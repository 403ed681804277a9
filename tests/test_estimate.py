"""An estimate is near what indexing then takes, and writes nothing."""

import numpy as np
import pytest
from support.sheets import write_pdf

from visret import Retriever
from visret.embedders._given import embedder_of
from visret.errors import DocumentError, InvalidArgument
from visret.ingest.estimate import estimate
from visret.reduction import Storage


@pytest.fixture
def papers(tmp_path):
    for number in range(12):
        write_pdf(tmp_path / "papers" / f"{number}.pdf", *["red", "green", "blue"][: 1 + number % 3])
    return tmp_path / "papers"


@pytest.mark.parametrize("storage", [Storage(), Storage(codec="float32"), Storage(pool=4)])
def test_pages_and_bytes_are_those_of_the_index(tmp_path, papers, toy, storage):
    (papers / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    about = estimate(papers, encoder=toy, storage=storage)
    assert sorted(papers.iterdir()) == sorted(papers.glob("*.pdf"))
    with Retriever.create(
        tmp_path / "i", model=toy, codec=storage.codec, pool=storage.pool, prune=storage.prune
    ) as made:
        report = made.add(papers)
        vectors = sum(file.stat().st_size for file in (tmp_path / "i").glob("segments/*/*"))
    assert (about.documents, about.pages) == (report.documents, report.pages) == (13, 24)
    assert about.bytes == sum(file.stat().st_size for file in papers.iterdir())
    assert about.seconds > 0
    assert vectors / 2 < about.index_bytes < vectors * 2


def test_single_vectors_beside_them_count_too(papers, toy):
    made = embedder_of(lambda texts: np.ones((len(texts), 400)), "ones", None)
    made.can_read = lambda page: True  # these pages have no words
    alone, both = estimate(papers, encoder=toy), estimate(papers, encoder=toy, beside=made)
    assert both.pages == alone.pages == 24
    assert both.index_bytes - alone.index_bytes == 24 * (400 + 4)


def test_files_that_are_not_opened_count_like_the_others(papers, toy, monkeypatch):
    monkeypatch.setattr("visret.ingest.estimate.SECONDS", 0)  # one file, one batch
    assert estimate(papers, encoder=toy).pages in {12, 24, 36}


def test_pages_a_model_cannot_read_are_left_out(papers, toy, tmp_path):
    (papers / "notes.txt").write_text("words", "utf8")  # 1 of 25 pages, without a picture
    about = estimate(papers, encoder=toy)
    assert (about.documents, about.pages) == (13, 24)


def test_nothing_to_estimate_from(papers, toy, tmp_path):
    with pytest.raises(InvalidArgument, match="leave no document"):
        estimate(papers, encoder=toy, include="*.png")
    assert estimate(papers, encoder=toy, exclude=["1*.pdf", "2.pdf"]).documents == 8
    (tmp_path / "notes.txt").write_text("words", "utf8")
    with pytest.raises(DocumentError, match="toy reads none"):
        estimate(tmp_path / "notes.txt", encoder=toy)
    with pytest.raises(DocumentError, match="toy reads none"):
        estimate(tmp_path / "nowhere", encoder=toy)


def test_the_old_place_of_an_estimate_says_the_new_one():
    with pytest.warns(DeprecationWarning, match="import it from visret.ingest.estimate"):
        from visret.estimate import estimate as old
    assert old is estimate
