"""BM25 from the postings is BM25 by its formula and by bm25s, whatever was filtered, removed, merged or is lacking."""

import math
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pages import FLOATS, MODEL, add, embed

from visret import Retriever
from visret.errors import PageIndexError
from visret.index import PageIndex, terms
from visret.search.bm25 import BM25
from visret.types import PageRef, Question

TEXTS = [
    "the cat sat on the mat with another cat",
    "install.packages installs packages; see utils::install.packages",
    "git merge --no-ff and git rebase",
    "error E-1042 at 0x1F in the log",
    "the exact phrase stands here",
    "the phrase is not exact",
    "自然语言处理入门",
    "",
    "retrieval of pages, retrieved by a retriever",
    "the log of the merge of packages",
]
# bm25s 0.3.16: BM25(method="lucene", k1=1.2, b=0.75) of [terms.of_page(text) for text in TEXTS],
# get_scores(list(terms.of_question(question).terms)).
GOLDEN = {
    "the cat": [1.560999, 0, 0, 0.283978, 0.358437, 0.358437, 0, 0, 0, 0.43494],
    "install.packages of the log": [
        *(0.402894, 3.007644, 0, 0.890983, 0.358437, 0.358437, 0, 0, 0.677359, 2.719345),
    ],
}


def indexed(path, texts, storage=FLOATS, each=4):
    """An index of pages with these texts, in documents of `each` pages, a segment for each."""
    index = PageIndex.create(path, model=MODEL, storage=storage)
    with index.writing() as writer:
        for number, first in enumerate(range(0, len(texts), each)):
            doc = f"{number}.pdf"
            pages = [embed(doc, page, text=text) for page, text in enumerate(texts[first : first + each], 1)]
            add(writer, doc, pages, metadata={"odd": number % 2 == 1})
            writer.commit()
    return index


def found(index, question, k=99, where=None):
    """Page to score, best first."""
    snapshot = index.snapshot
    (ranking,) = BM25(snapshot).rank([Question(question, {})], k, snapshot.select(where))
    assert (np.diff(ranking.scores) <= 0).all()
    refs = [snapshot.ref(*snapshot.locate(key)) for key in ranking.keys.tolist()]
    return dict(zip(refs, ranking.scores.tolist(), strict=True))


def by_formula(texts, question):
    """The definition, page by page."""
    pages = [Counter(terms.of_page(text)) for text in texts]
    mean = sum(sum(page.values()) for page in pages) / len(pages)
    scores = []
    for page in pages:
        norm = 1.2 * (0.25 + 0.75 * sum(page.values()) / mean)
        score = 0.0
        for term in terms.of_question(question).terms:
            df = sum(term in other for other in pages)
            score += math.log(1 + (len(pages) - df + 0.5) / (df + 0.5)) * page[term] / (page[term] + norm)
        scores.append(score)
    return scores


@pytest.fixture
def index(tmp_path):
    with indexed(tmp_path / "i", TEXTS) as made:
        yield made


def ref(number, each=4):
    return PageRef(f"{number // each}.pdf", number % each + 1)


@pytest.mark.parametrize("question", GOLDEN)
def test_scores_are_those_of_bm25s(index, question):
    expected = {ref(number): score for number, score in enumerate(GOLDEN[question]) if score}
    assert found(index, question) == pytest.approx(expected, abs=1e-4)
    assert by_formula(TEXTS, question) == pytest.approx(GOLDEN[question], abs=1e-4)


@pytest.mark.parametrize(
    "question", ["the cat cat", "merge --no-ff", "E-1042 0x1F", "语言", "zebra", "packages of the log"]
)
def test_scores_are_those_of_the_formula(index, question):
    expected = {ref(number): score for number, score in enumerate(by_formula(TEXTS, question)) if score}
    assert found(index, question) == pytest.approx(expected, abs=1e-5)


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join), min_size=1, max_size=7), st.data())
@settings(max_examples=12)
def test_what_was_removed_and_merged_does_not_count(tmp_path_factory, texts, data):
    with indexed(tmp_path_factory.mktemp("i") / "i", texts, each=1) as index:
        gone = data.draw(st.sets(st.integers(0, len(texts) - 1), max_size=len(texts) - 1))
        with index.writing() as writer:
            for number in gone:
                writer.remove(f"{number}.pdf")
        left = {number: text for number, text in enumerate(texts) if number not in gone}
        scores = dict(zip(left, by_formula(list(left.values()), "a b d"), strict=True)) if any(left.values()) else {}
        expected = {PageRef(f"{number}.pdf", 1): score for number, score in scores.items() if score}
        assert found(index, "a b d") == pytest.approx(expected, abs=1e-5)
        before = found(index, "a b d")
        index.compact()
        assert found(index, "a b d") == before


def test_a_filter_changes_no_score(index):
    every = found(index, "the log of packages")
    odd = found(index, "the log of packages", where={"odd": True})
    assert odd == {page: score for page, score in every.items() if page.doc == "1.pdf"}
    assert odd
    assert found(index, "the log of packages", k=1) == dict([max(every.items(), key=lambda one: one[1])])
    assert found(index, "the", where={"doc": "none"}) == {}


def test_equal_scores_come_in_the_order_of_pages(tmp_path):
    with indexed(tmp_path / "i", ["same words"] * 9) as index:
        assert list(found(index, "words", k=5)) == [ref(number) for number in range(5)]


@pytest.mark.parametrize(
    ("question", "pages"),
    [
        ("install.packages", [1, 9]),
        ("--no-ff", [2]),
        ("0x1f", [3]),
        ("e-1042", [3]),
        ('"exact phrase"', [4]),
        ('"the log"', [3, 9]),
        ('"the log" git', [3, 9]),
        ('"no such words"', []),
        ("retriev*", [8]),
        ("pack*", [1, 9]),
        ("处理", [6]),
        ("门", [6]),
        ("言", [6]),
        ('"语言处理"', [6]),
        ("...", []),
        ("", []),
    ],
)
def test_what_is_typed_is_found(index, question, pages):
    assert sorted(found(index, question)) == [ref(number) for number in pages]


def test_phrases_are_looked_for_until_there_are_enough(index):
    assert list(found(index, '"the log"', k=1)) == list(found(index, '"the log"'))[:1]


def test_what_is_kept_of_terms_is_bounded(index, monkeypatch):
    expected = found(index, "the log of packages")
    monkeypatch.setattr("visret.search.bm25.MAX_KEPT", 3)
    assert found(index, "the log of packages") == expected
    scorer = BM25(index.snapshot)
    scorer.rank([Question("the log of packages", {})], 3, index.snapshot.select())
    assert len(scorer._looked) == 1


def test_a_beginning_counts_as_one_word(index):
    pages = Counter(
        {number: sum(term.startswith("retriev") for term in terms.of_page(t)) for number, t in enumerate(TEXTS)}
    )
    (score,) = found(index, "retriev*").values()
    mean = sum(len(terms.of_page(text)) for text in TEXTS) / len(TEXTS)
    norm = 1.2 * (0.25 + 0.75 * len(terms.of_page(TEXTS[8])) / mean)
    assert score == pytest.approx(math.log(1 + 9.5 / 1.5) * pages[8] / (pages[8] + norm), abs=1e-6)
    assert pages[8] == 3


def test_a_hit_quotes_the_line_that_is_worth_most(tmp_path):
    text = "the the the of\nthe Retriever\nnothing\nthe retriever of 自然\n语言 pages"
    with indexed(tmp_path / "i", [text, "the of", "the of", "other"]) as index:
        scorer, key = BM25(index.snapshot), index.snapshot.keys(np.array([1]), np.array([0]))[0]

        def line(question):
            return scorer.explain(Question(question, {}), int(key)).line

        assert line("the of retriever") == "the retriever of 自然"
        assert line("retriev* nothing") == "nothing" or line("retriev*") == "the Retriever"
        assert line("语言") == "语言 pages"
        assert line("zebra") == ""
        assert not scorer.explain(Question("the retriever", {}), int(key)).weak
        assert scorer.explain(Question("the zebra in winter", {}), int(key)).weak


def test_an_index_from_before_says_what_makes_it_work(tmp_path):
    with zipfile.ZipFile(Path(__file__).parents[1] / "index" / "format-3.zip") as archive:
        archive.extractall(tmp_path)
    with Retriever.open(tmp_path) as retriever:
        with pytest.raises(PageIndexError, match="has no postings: visret compact makes them"):
            retriever.search("red", by="bm25")
        retriever.compact()
        assert retriever.search("red", by="bm25") == []


def test_no_model_is_loaded_for_words(tmp_path):
    indexed(tmp_path / "i", TEXTS).close()
    with Retriever.open(tmp_path / "i") as retriever:
        hits = retriever.search("git rebase merge", by="bm25")
        assert [hit.ref for hit in hits] == [ref(2), ref(9)]
        assert hits[0].text == TEXTS[2]
        assert not hits[0].weak
        assert hits[1].weak
        assert hits.warnings == ()
        assert retriever.search("git zebra", by="bm25").warnings == (
            "no page has 'zebra'; the pages were ranked by the other words of this question",
        )
        assert retriever.search("zebr* stripes", by="bm25").warnings == (
            "no page has any word of this question ('stripes', 'zebr*')",
        )
        assert [hit.text for hit in retriever.search("git rebase merge", by="bm25", explain=False)] == ["", ""]
        assert retriever._loaded is None
