"""Words lead where the model knows little of a question: the hits, what explains them, the sentence that says so."""

import numpy as np
import pytest

from visret import Page, Retriever
from visret.search.leading import knows_little
from visret.types import QueryEmbedding

PAGES = {
    "fr": "Le juge aux cheveux clairs fume la pipe dans une alcôve.",
    "zh": "高速公路停车区占地三公顷",
    "en": "The judge with fair hair smokes in his chamber, and nobody in the court objects to that.",
    "code": "fz_new_context takes FZ_STORE_UNLIMITED and an allocator",
}


def asked(text, *tokens):
    return QueryEmbedding(text, np.ones((len(tokens), 1), np.float32), tokens, np.ones(len(tokens), bool))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (asked("the judge smokes", "the", "judge", "smokes"), False),
        (asked("le juge fume", "le", "ju", "ge", "fu", "me"), True),
        (asked("unbelievable", "un", "believable"), True),
        (asked("unbelievable stories of the sea", "un", "believable", "stories", "of", "the", "sea"), False),
        (asked("高速公路 PDF", "PDF"), True),
        (asked("what is that?", "what", "is", "that", "?"), False),
        (asked('$array[1] or "@array"?', "$", "array", "[", "1", "]", "or", '"', "@", "array", '"', "?"), False),
        (asked("le petit juge", "le", "pet", "it", "ju", "ge"), True),
    ],
)
def test_pieces_say_what_a_model_knows(query, expected):
    assert knows_little(query) is expected


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    with Retriever.create(tmp_path_factory.mktemp("i") / "i", model="all-minilm-l6-v2") as made:
        made.add_pages([Page.from_text(text, doc=doc) for doc, text in PAGES.items()])
        yield made


@pytest.mark.weights
@pytest.mark.parametrize(
    ("question", "doc"),
    [("juge aux cheveux clairs", "fr"), ("停车区占地", "zh"), ("fz_new_context FZ_STORE_UNLIMITED", "code")],
)
def test_words_lead_and_it_is_said(retriever, question, doc):
    hits = retriever.search(question)
    assert hits[0].doc == doc
    assert not hits[0].weak
    assert all(hit.weak for hit in hits[1:])
    assert hits[0].text == PAGES[doc]
    assert set(hits[0].scores) == {"late", "bm25"}
    assert hits.warnings == ("all-minilm-l6-v2 knows little of this question, so pages with its words come first",)
    why = retriever.heatmap(question, hits[0])
    ((_, explanation), *_) = next(retriever.explained([question]))
    assert why.tokens == explanation.tokens
    assert why.values.sum() == pytest.approx(hits[0].scores["bm25"], abs=1e-5)
    assert retriever.heatmap(question, hits[-1]).score == pytest.approx(
        hits[-1].scores["late"] + hits_length(retriever, hits[-1], question), abs=1e-4
    )


def hits_length(retriever, hit, question):
    return next(one.score - one.scores["late"] for one in retriever.search(question, by="late") if one.ref == hit.ref)


@pytest.mark.weights
def test_vectors_rank_what_the_model_knows_and_what_no_page_says(retriever):
    hits = retriever.search("who smokes at work")
    assert (hits[0].doc, hits.warnings, set(hits[0].scores)) == ("en", (), {"late"})
    hits = retriever.search("zzyzx qwrtk")
    assert set(hits[0].scores) == {"late"}
    assert all(hit.weak and hit.relevance == 0 for hit in hits)
    assert retriever.search("zzyzx qwrtk", weak=False) == []
    assert hits.warnings[-1] == (
        "all-minilm-l6-v2 knows little of this question, and no page that was searched has any of its words"
    )


@pytest.mark.weights
def test_a_way_that_is_named_is_taken(retriever):
    hits = retriever.search("juge aux cheveux clairs", by="late")
    assert set(hits[0].scores) == {"late"}
    assert hits.warnings == ()
