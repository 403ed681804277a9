"""An explanation says what it is an explanation of, whichever way the page was ranked."""

import pytest
from support.judge import Judge
from support.word_model import Words

from visret import Page, Retriever

TEXTS = {"a": "red green blue", "b": "red red grey", "c": "pink white red black"}
LATE = "the best matches of late interaction"


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    with Retriever.create(tmp_path_factory.mktemp("about") / "i", model=Words()) as made:
        made.add_pages([Page.from_text(text, doc=doc) for doc, text in TEXTS.items()])
        yield made


def first(retriever, by, **how):
    (found,) = retriever.explained(["red grey"], k=1, by=by, **how)
    return found[0]


def test_late_interaction_is_taken_apart(retriever):
    for by in ("late", "maxsim"):
        _, why = first(retriever, by)
        assert (why.scorer, why.about) == ("late", f"The places are {LATE}.")
    assert first(retriever, "late")[1].score == pytest.approx(first(retriever, "late")[0].score)


def test_words_are_taken_apart(retriever):
    hit, why = first(retriever, "bm25")
    assert (why.scorer, why.about) == ("bm25", "The places are the words of the question.")
    assert why.score == pytest.approx(hit.score, abs=1e-6)


def test_single_vectors_have_no_place(retriever):
    hit, why = first(retriever, "dense")
    (score,) = hit.scores.values()
    assert why.about == f"Ranked by dense {score:.2f}, which has no place on the page; the places are {LATE}."


@pytest.mark.parametrize("by", ["hybrid", "cascade"])
def test_a_fused_hit_has_the_places_of_one_and_the_words_of_the_other(retriever, by):
    hit, why = first(retriever, by)
    assert why.scorer == "late"
    assert why.scores == hit.scores
    assert why.score == pytest.approx(hit.scores["late"], abs=0.2)  # but for the length of the page
    assert sum(why.words.values()) == pytest.approx(hit.scores["bm25"], abs=1e-5)
    assert set(why.words) == {"red", "grey"}
    both = f"late {hit.scores['late']:.2f} and bm25 {hit.scores['bm25']:.2f}"
    words = f"red {why.words['red']:.2f}, grey {why.words['grey']:.2f}"
    assert why.about == f"Ranked by {both}; the places are {LATE}. Of the words: {words}."


def test_a_reranker_names_no_place(retriever):
    judge = Judge({"a": 0.1, "b": 0.2, "c": 0.9})
    hit, why = first(retriever, "hybrid", rerank=judge)
    assert hit.doc == "c"
    assert why.about.startswith("Ranked by a reranker, which names no place (late ")
    assert "rerank 0.90" in why.about
    assert set(why.words) == {"red"}


def test_a_hit_is_explained_by_what_found_it(retriever):
    for by in ("late", "bm25", "dense", "hybrid", "cascade"):
        hit, expected = first(retriever, by)
        why = retriever.heatmap("red grey", hit)
        assert (why.scorer, why.about, why.score) == (expected.scorer, expected.about, pytest.approx(expected.score))
    again = retriever.search("red grey", k=1, by="bm25", rerank=Judge(dict.fromkeys(TEXTS, 1.0)))[0]
    assert retriever.heatmap("red grey", again).scorer == "bm25"
    alone = retriever.heatmap("red grey", again.ref)  # nobody says how it was found
    assert (alone.scorer, alone.scores, alone.about) == ("late", {}, f"The places are {LATE}.")
