"""Ranking by single vectors is the best cosine with the mean of a run, whatever was filtered, removed or merged."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pages import FLOATS, MODEL, add, embed, without
from support.vectors import units

from visret import Page, Retriever, codec
from visret.choices import DENSE, LATE, NO_MODEL
from visret.codec import Codec
from visret.errors import PageIndexError
from visret.index import PageIndex
from visret.index.fields import MEANS
from visret.reduction import RUN, mean_count, means
from visret.search.dense import Dense, question_mean
from visret.types import QueryEmbedding, Question

SIZES = [1, 5, RUN - 1, RUN, RUN + 1, 3 * RUN, 300, 2, 40]
PAGES = [embed(f"{i % 3}.pdf", i // 3 + 1, n=n) for i, n in enumerate(SIZES)]


def plain_mean(vectors):
    mean = np.mean(vectors.astype(np.float64), axis=0)
    return mean / np.linalg.norm(mean)


def asked(seed=0, count=5, dim=8):
    """A question whose first and last vectors are markers."""
    content = np.array([False, *[True] * (count - 2), False])
    vectors = units(np.random.default_rng(seed), count, dim)
    return Question("", {LATE: QueryEmbedding("q", vectors, ("t",) * count, content)})


def expected(pages, question):
    """The definition, page by page, with the means rounded as they are stored."""
    query = question.encoded[LATE]
    mean, int8, scores = plain_mean(query.vectors[query.content]), Codec("int8", 8), {}
    for page in pages:
        n = len(page.vectors)
        runs = -(-n // RUN)
        cuts = [n * i // runs for i in range(runs + 1)]
        rows = [plain_mean(page.vectors[a:b]) for a, b in pairwise(cuts)]
        stored = codec.decode(codec.encode(np.array(rows, np.float32), int8), int8)
        scores[page.ref] = max(float(row @ mean) for row in stored)
    return scores


def found(index, question, k=99, where=None, scorer=None):
    """Page to score, best first."""
    snapshot = index.snapshot
    (ranking,) = (scorer or Dense(snapshot)).rank([question], k, snapshot.select(where))
    assert (np.diff(ranking.scores) <= 0).all()
    np.testing.assert_array_equal(ranking.parts[DENSE], ranking.scores)
    refs = [snapshot.ref(*snapshot.locate(key)) for key in ranking.keys.tolist()]
    return dict(zip(refs, ranking.scores.tolist(), strict=True))


@pytest.fixture
def path(tmp_path):
    """Three documents with three pages each, in three segments."""
    with PageIndex.create(tmp_path / "i", model=MODEL, storage=FLOATS) as index, index.writing() as writer:
        for number in range(3):
            add(writer, f"{number}.pdf", PAGES[number::3], metadata={"odd": number == 1})
            writer.commit()
    return tmp_path / "i"


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_a_plain_loop(path, seed):
    question = asked(seed)
    wanted = expected(PAGES, question)
    best = sorted(wanted, key=wanted.get, reverse=True)
    with PageIndex.open(path) as index:
        every = found(index, question)
        assert list(every) == best
        assert every == pytest.approx(wanted, abs=1e-5)
        assert list(found(index, question, 4)) == best[:4]
        odd = [ref for ref in best if ref.doc == "1.pdf"]
        assert list(found(index, question, where={"odd": True})) == odd
        assert list(found(index, question, 2, where={"odd": True})) == odd[:2]


def test_what_is_removed_is_not_found_and_compaction_changes_no_score(path):
    question = asked()
    wanted = expected([page for page in PAGES if page.ref.doc != "1.pdf"], question)
    with PageIndex.open(path) as index:
        with index.writing() as writer:
            writer.remove("1.pdf")
        removed = found(index, question)
        assert removed == pytest.approx(wanted, abs=1e-5)
        index.compact()
        assert len(index.snapshot.segments) == 1
        assert found(index, question) == removed


def test_an_index_without_means_says_what_makes_them(path):
    question = asked()
    with PageIndex.open(path) as index:
        before = found(index, question)
    without(path, 2, "means")
    with PageIndex.open(path) as index:
        with pytest.raises(PageIndexError, match="segment 2 has no means: visret compact makes them from the vectors"):
            Dense(index.snapshot)
        assert [line.split(":")[0] for line in index.stats().lacks] == ["3 pages have no means"]
        index.compact()
        assert index.stats().lacks == []
        assert index.verify() == []
        assert found(index, question) == before


def test_a_new_commit_takes_over_what_is_open(path):
    question = asked()
    with PageIndex.open(path) as index:
        scorer = Dense(index.snapshot)
        with index.writing() as writer:
            add(writer, "new.pdf", [embed("new.pdf", n=9)])
        later = Dense(index.snapshot, before=scorer)
        assert all(later._segments[number] is scorer._segments[number] for number in (1, 2, 3))
        assert found(index, question, scorer=later) == found(index, question)
        assert len(found(index, question, scorer=later)) == 10


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 700), run=st.integers(1, 300), seed=st.integers(0, 99))
@example(n=494, run=17, seed=0)  # where a rounded share of n is one below
def test_runs_hold_every_vector_once_and_are_alike(n, run, seed):
    vectors = units(np.random.default_rng(seed), n, 6)
    made = means(vectors, run)
    assert made.shape == (mean_count(n, run), 6)
    assert made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    cuts = [n * i // len(made) for i in range(len(made) + 1)]
    assert np.ptp(np.diff(cuts)) <= 1
    assert np.diff(cuts).max() <= run
    for row, first, end in zip(made, cuts, cuts[1:], strict=False):
        np.testing.assert_allclose(row, plain_mean(vectors[first:end]), atol=1e-3)


def test_vectors_that_cancel_out_leave_the_first_of_them():
    one = np.array([[0, 1]], np.float32)
    np.testing.assert_array_equal(means(np.concatenate([one, -one])), one)


def test_a_question_of_markers_alone_has_their_mean():
    vectors = units(np.random.default_rng(0), 3, 4)
    query = QueryEmbedding("?", vectors, ("a", "b", "c"), np.zeros(3, bool))
    np.testing.assert_allclose(question_mean(query), plain_mean(vectors)[None], atol=1e-6)


@pytest.fixture
def retriever(tmp_path):
    with Retriever.create(tmp_path / "colours", model="toy") as made:
        made.add_pages([Page.from_image(Image.new("RGB", (80, 80), name), doc=name) for name in ("red", "blue")])
        yield made


def test_a_search_by_single_vectors(retriever):
    hits = retriever.search("red", by="dense")
    assert [hit.doc for hit in hits] == ["red", "blue"]
    assert [hit.scores for hit in hits] == [{"dense": hit.score} for hit in hits]
    assert retriever.search("red", by="dense", explain=False)[0].score == hits[0].score
    why = retriever.heatmap("red", hits[0])
    assert why.values.sum() == pytest.approx(retriever.search("red", by="maxsim")[0].score, abs=1e-5)


@pytest.mark.weights
def test_it_goes_through_a_projection_and_a_change_of_it(tmp_path):
    pages = [Page.from_text(f"{word} of many kinds", doc=word) for word in ("apples", "bridges", "engines", "loans")]
    with Retriever.create(tmp_path / "i", dim=64) as made:
        made.add_pages(pages)
        assert made.search("bridges", by="dense")[0].doc == "bridges"
        made.compact(dim=32)
        assert made._index.snapshot.segments[0].stored(MEANS).codes.shape[1] == 32
        assert made.search("bridges", by="dense")[0].doc == "bridges"


def test_an_index_without_vectors_says_what_brings_them(tmp_path):
    with Retriever.create(tmp_path / "i", model=NO_MODEL) as made:
        made.add_pages([Page.from_text("words", doc="a")])
        with pytest.raises(PageIndexError, match="has no vectors: visret reindex --model NAME"):
            made.search("words", by="dense")
