"""What BM25 found is explained by words: the shares of a page's words are those of its score."""

import numpy as np
import pytest

from visret import Page, Retriever
from visret.errors import InvalidArgument, PageIndexError
from visret.types import PageRef

LINES = ["the red fox", "and the grey wolf", "see install.packages of the wolf"]


@pytest.fixture
def retriever(tmp_path):
    """A page with words at places, and one of plain text."""
    words = [
        (word, (0.2 * at, 0.1 * line, 0.2 * at + 0.15, 0.1 * line + 0.05))
        for line, text in enumerate(LINES)
        for at, word in enumerate(text.split())
    ]
    from PIL import Image

    with Retriever.create(tmp_path / "i", model="none") as made:
        made.add_pages(
            [
                Page.from_image(Image.new("RGB", (100, 100), "white"), doc="placed", words=words),
                Page.from_text("\n".join([*LINES, "自然", "语言"]), doc="plain"),
                Page.from_text("nothing of it", doc="other"),
            ]
        )
        yield made


@pytest.mark.parametrize("question", ["wolf", "the grey wolf", "install.packages wol*", "the zebra", "自然语言 the"])
def test_the_parts_sum_to_the_score(retriever, question):
    (found,) = retriever.explained([question])
    assert found
    for hit, why in found:
        assert why.score == pytest.approx(hit.score, abs=1e-6)
        np.testing.assert_array_equal(why._similarity.max(axis=1), why.values)
        assert why.line == hit.text
    assert [hit for hit, _ in found] == retriever.search(question)


def test_boxes_and_spans_are_those_of_the_words(retriever):
    why = retriever.heatmap("grey wolf", PageRef("placed", 1))
    assert why.tokens == ("grey", "wolf")
    assert [(box.x0, box.y0, box.x1) for box in why.boxes] == [pytest.approx((0.4, 0.1, 0.75), abs=1e-6)] or [
        round(box.y0, 3) for box in why.boxes
    ] == [0.1, 0.1], "both words stand on the second line, though the third has a wolf too"
    assert why.image(legend=True).size[0] >= 100
    plain = retriever.heatmap("grey", PageRef("plain", 1))
    assert [LINES[1] == plain.line, [(s.start, s.end) for s in plain.spans]] == [True, [(20, 24)]]
    assert retriever.heatmap("zebra", PageRef("plain", 1)).spans == []


def test_what_no_single_word_gives_lies_nowhere(retriever):
    """A line of Chinese goes on in the next: the pair across the two is in no word."""
    why = retriever.heatmap("然语", PageRef("plain", 1))
    assert why.score > 0
    assert why.unplaced == pytest.approx(1)


def test_vectors_are_missed_in_one_sentence(retriever, tmp_path):
    with pytest.raises(PageIndexError, match="no vectors: visret reindex --model NAME reads and encodes all pages"):
        retriever.search("wolf", by="late")
    with Retriever.create(tmp_path / "empty", model="none") as empty:
        assert empty.search("wolf") == []
        with pytest.raises(InvalidArgument, match=r"has no vectors; .*visret reindex INDEX --model"):
            empty.search("wolf", by="late")
    with pytest.raises(InvalidArgument, match="without a model: no vectors can be stored"):
        retriever.compact(codec="binary")
    with pytest.raises(PageIndexError, match="leave out codec, dim, pool and prune"):
        Retriever.create(tmp_path / "j", model="none", codec="binary")
    with pytest.raises(InvalidArgument, match="a question needs at least one word"):
        retriever.search(" ")


def test_an_index_without_a_model_lives_on(retriever):
    facts = retriever.info()
    assert (facts["model"], facts["dim"], facts["vectors"], facts["pages"]) == ("none", 0, 0, 3)
    assert [line.split(":")[0] for line in facts["lacks"]] == ["3 pages have no vectors"]
    assert retriever.uses("none")
    before = retriever.search("wolf")
    retriever.remove("other")
    retriever.compact()
    assert [hit.ref for hit in retriever.search("wolf")] == [hit.ref for hit in before]
    assert retriever._index.verify() == []
    assert retriever.read(before[0])[0].text == retriever.page(before[0]).text
    retriever.reindex(model="toy")
    assert retriever.info()["lacks"] == []
    assert [hit.doc for hit in retriever.search("white")] == ["placed"]
    retriever.undo_reindex()
    assert [hit.ref for hit in retriever.search("wolf")] == [hit.ref for hit in before]
    assert retriever.search("wolf", where={"doc": "plain"})[0].doc == "plain"
