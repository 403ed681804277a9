"""Pages like a page are those whose vectors are like its own."""

import numpy as np
import pytest
from PIL import Image
from support.word_model import WORDS, Words

from visret import Page, Retriever, load_encoder
from visret.errors import InvalidArgument
from visret.maxsim import reference
from visret.retriever import pipeline_of
from visret.search.like import MAX_VECTORS, question_of

TEXTS = {"red": "red red red", "reddish": "red red green", "green": "green green blue", "black": "black white black"}


@pytest.fixture(scope="module", params=["float32", "int8"])
def retriever(request, tmp_path_factory):
    with Retriever.create(tmp_path_factory.mktemp("like") / "i", model=Words(), codec=request.param) as made:
        made.add_pages([Page.from_text(text, doc=doc) for doc, text in TEXTS.items()], metadata={"shelf": "a"})
        made.add_pages([Page.from_text(" ".join(np.resize(WORDS, 300)), doc="long", page=n) for n in (1, 2)])
        yield made


def test_the_nearest_pages_are_found_and_the_page_itself_is_not(retriever):
    hits = retriever.search_like(("red", 1), where={"shelf": "a"})
    assert [hit.doc for hit in hits] == ["reddish", "green", "black"]
    assert [hit.rank for hit in hits] == [1, 2, 3]
    first = retriever.search("red", k=1)[0]
    assert retriever.search_like(first) == retriever.search_like(first.ref)
    assert retriever.search_like(("red", 1), where={"shelf": "a"}, offset=1, k=1) == hits[1:2]


def test_a_score_is_the_mean_of_the_maxima(retriever):
    question = retriever._index.embedding(("reddish", 1)).vectors
    for hit in retriever.search_like(("reddish", 1), exact=True):
        stored = retriever._index.embedding(hit.ref).vectors
        expected = reference.page_scores(question, stored, np.array([0, len(stored)]))[0] / len(question)
        assert hit.scores["late"] == pytest.approx(expected, abs=2e-3)


def test_text_and_pages_in_memory_are_encoded(retriever):
    for page in (TEXTS["green"], Page.from_text(TEXTS["green"], doc="x")):
        assert [hit.doc for hit in retriever.search_like(page, k=1)] == ["green"]  # it is not left out
    assert retriever.search_like("green blue", k=9, group_by="document")[0].doc == "green"
    assert len({hit.doc for hit in retriever.search_like("green blue", k=9, group_by="document")}) == 5
    assert [hit.page for hit in retriever.search_like(("long", 1), k=1, among="long", neighbours=1)] == [2, 1]


def test_a_long_page_is_asked_with_few_vectors(retriever):
    page = retriever._index.embedding(("long", 1))
    assert len(page.vectors) == 301
    query = pipeline_of(retriever).query(question_of(page))
    assert 1 < len(query.vectors) <= MAX_VECTORS
    assert retriever.search_like(("long", 1), k=1)[0].ref == ("long", 2)


def test_pictures_are_asked_with(tmp_path):
    with Retriever.create(tmp_path / "i", model=load_encoder("toy")) as made:
        colours = ["red", "green", "blue"]
        made.add_pages([Page.from_image(Image.new("RGB", (64, 64), colour), doc=colour) for colour in colours])
        for colour in colours:
            assert made.search_like(Image.new("RGB", (64, 64), colour), k=1)[0].doc == colour
        with pytest.raises(InvalidArgument, match="toy finds nothing to read on text"):
            made.search_like("red")


def test_what_cannot_be_asked_is_refused(retriever, tmp_path):
    for wrong, reason in (
        (3, "a hit, a Page, a picture or text"),
        ("", "at least one word"),
        (("x", 1), "no document"),
    ):
        with pytest.raises(InvalidArgument, match=reason):
            retriever.search_like(wrong)
    with Retriever.create(tmp_path / "i", model="none") as made:
        made.add_pages([Page.from_text("red", doc="red")])
        with pytest.raises(InvalidArgument, match="without a model"):
            made.search_like(("red", 1))
