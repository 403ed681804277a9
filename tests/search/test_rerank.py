"""A reranker reads the first pages again; what it cannot score stays, in its order, and is named."""

from __future__ import annotations

import itertools
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image
from support.judge import Judge
from support.sheets import write_pdf

from visret import Page
from visret.errors import InvalidArgument, InvalidModelSpec, WeightsError
from visret.retriever import as_json, read_again
from visret.search import rerank
from visret.search.rerank import UNSCORED, Rerankers, Reranking
from visret.types import Hit, PageRef, Ranking

COLOURS = ["red", "green", "blue", "yellow"]


@pytest.fixture
def coloured(retriever):
    """Four pages of `toy`; a question about red finds them in this order: red, then the others."""
    pages = [
        Page.from_image(Image.new("RGB", (40, 40), colour), doc=colour, words=[(colour, (0.1, 0.1, 0.5, 0.2))])
        for colour in COLOURS
    ]
    retriever.add_pages(pages, ocr="never")
    return retriever


def order(hits):
    return [hit.doc for hit in hits]


def test_pages_are_ranked_again_by_what_the_reranker_says(coloured):
    first = order(coloured.search("red", k=4))
    assert first[0] == "red"
    table = dict(zip(first, (0.1, 0.7, 0.3, 0.9), strict=True))
    judge = Judge(table)
    hits = coloured.search("red", k=3, rerank=judge)
    assert order(hits) == [first[3], first[1], first[2]]
    assert [hit.score for hit in hits] == pytest.approx([0.9, 0.7, 0.3])
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits.warnings == ()
    # by batches, best first; text without a picture for a model that reads words
    assert [[doc for doc, _, _ in some] for some in judge.shown] == [first[:2], first[2:]]
    assert all(text == doc and not pictured for some in judge.shown for doc, text, pictured in some)


def test_equal_scores_keep_the_order_of_the_first_ranking(coloured):
    first = order(coloured.search("red", k=4))
    assert order(coloured.search("red", k=4, rerank=Judge(dict.fromkeys(COLOURS, 1.0)))) == first


def test_depth_says_how_many_pages_are_read_again(coloured):
    first = order(coloured.search("red", k=4))
    table = dict(zip(first, (0.1, 0.7, 5.0, 9.0), strict=True))
    judge = Judge(table)
    hits = coloured.search("red", k=4, rerank=judge, depth=2)
    assert order(hits) == [first[1], first[0], *first[2:]]
    assert [hit.score for hit in hits][2:] == [UNSCORED, UNSCORED]
    assert len(judge.shown) == 1
    assert hits.warnings == ()  # as it was asked
    assert order(coloured.search("red", k=1, rerank=Judge(table), depth=3)) == [first[2]]  # deeper than k


def test_time_that_is_up_leaves_the_rest_in_its_order(coloured, monkeypatch):
    first = order(coloured.search("red", k=4))
    clock = itertools.count(step=10)
    monkeypatch.setattr(rerank.time, "monotonic", lambda: next(clock))
    table = dict(zip(first, (0.1, 0.7, 5.0, 9.0), strict=True))
    hits = coloured.search("red", k=4, rerank=Judge(table, batch=2), seconds=5)
    assert order(hits) == [first[1], first[0], *first[2:]]
    (warning,) = hits.warnings
    assert warning.startswith("judge had no time for 2 of 4 pages, which stand behind the others in their order")
    one_by_one = coloured.search("red", k=4, rerank=Judge(table, batch=1), seconds=15)
    assert [hit.score for hit in one_by_one][2:] == [UNSCORED, UNSCORED]
    assert coloured.search("red", k=4, rerank=Judge(table, batch=1), seconds=1000).warnings == ()


@pytest.mark.parametrize(
    ("seconds", "batches"), [(None, [8, 4]), (100, [2, 8, 2]), (4, [2, 2, 1]), (3, [2, 1, 1]), (1, [2])]
)
def test_batches_fit_into_the_time_that_is_left(retriever, monkeypatch, seconds, batches):
    now = [0.0]
    monkeypatch.setattr(rerank.time, "monotonic", lambda: now[0])

    class Slow(Judge):
        def scores(self, question, pages):
            now[0] += len(pages)  # a second each
            return super().scores(question, pages)

    names = [f"{number}" for number in range(12)]
    retriever.add_pages([Page.from_image(Image.new("RGB", (40, 40), "red"), doc=name) for name in names], ocr="never")
    judge = Slow(dict.fromkeys(names, 1.0), modality="image", batch=8)
    hits = retriever.search("red", k=12, rerank=judge, seconds=seconds)
    assert [len(some) for some in judge.shown] == batches
    assert sum(hit.score == UNSCORED for hit in hits) == 12 - sum(batches)
    assert bool(hits.warnings) == (sum(batches) < 12)


def test_pages_that_cannot_be_read_stand_behind_and_are_named(coloured):
    coloured.add_pages([Page.from_image(Image.new("RGB", (40, 40), "red"), doc="mute")], ocr="never")
    first = order(coloured.search("red", k=5))
    hits = coloured.search("red", k=5, rerank=Judge(dict.fromkeys(COLOURS, -3.0)))
    assert order(hits) == [*(doc for doc in first if doc != "mute"), "mute"]
    assert hits[-1].score == UNSCORED
    assert hits.warnings == (
        "judge could not score 1 of 5 pages, which stand behind the others: mute, page 1 (it finds nothing to read)",
    )


def test_a_score_that_is_no_number_is_named(coloured):
    table = {"red": np.nan, "green": 1.0, "blue": np.inf, "yellow": 0.0}
    hits = coloured.search("red", k=4, rerank=Judge(table))
    assert order(hits)[:2] == ["green", "yellow"]
    assert {hit.score for hit in hits[2:]} == {UNSCORED}
    (warning,) = hits.warnings
    assert "red, page 1 (its score is nan)" in warning
    assert "blue, page 1 (its score is inf)" in warning


def test_pictures_are_drawn_for_a_model_that_looks_at_pages_only(retriever, tmp_path, monkeypatch):
    write_pdf(tmp_path / "papers" / "one.pdf", "red", "blue")
    write_pdf(tmp_path / "papers" / "two.pdf", "yellow")
    retriever.add(tmp_path / "papers")
    table = {"one.pdf": 0.5, "two.pdf": 0.7}
    looks = Judge(table, modality="image")
    assert retriever.search("red", k=3, rerank=looks).warnings == ()
    assert all(pictured for some in looks.shown for _, _, pictured in some)
    (tmp_path / "papers" / "one.pdf").unlink()
    hits = retriever.search("red", k=3, rerank=Judge(table, modality="image"))
    assert [hit.doc for hit in hits] == ["two.pdf", "one.pdf", "one.pdf"]
    (warning,) = hits.warnings
    assert warning.startswith("judge could not score 2 of 3 pages")
    assert "one.pdf, page 1 (" in warning
    reads_too = Judge(table, modality="image")
    monkeypatch.setattr(reads_too, "can_read", lambda page: True)
    hits = retriever.search("red", k=3, rerank=reads_too)
    assert [hit.score for hit in hits] == pytest.approx([0.7, 0.5, 0.5])
    (warning,) = hits.warnings
    assert warning.startswith("judge read the text of 2 of 3 pages, whose pictures cannot be drawn: one.pdf, page 1 (")


def test_weak_is_what_the_reranker_says_where_it_says_anything(coloured):
    table = {"red": 0.2, "green": 0.8, "blue": 0.5, "yellow": 0.4}
    judge = Judge(table, options={"weak_below": 0.5})
    for explain in (True, False):
        hits = coloured.search("red", k=4, rerank=judge, explain=explain)
        assert {hit.doc: hit.weak for hit in hits} == {"green": False, "blue": False, "yellow": True, "red": True}
        assert {hit.doc: hit.relevance for hit in hits} == pytest.approx(table)
        strong = coloured.search("red", k=4, rerank=judge, weak=False)
        assert order(strong) == order(coloured.search("red", k=4, rerank=judge, min_score=0.5)) == ["green", "blue"]
        assert order(coloured.search("red", k=4, rerank=judge, min_score=0.6)) == ["green"]
    assert not any(hit.weak for hit in coloured.search("red", k=4, rerank=Judge(table)))
    unscored = Hit(PageRef("red", 1), UNSCORED, 1, "", None, weak=True)
    assert Reranking(judge).judged(unscored) is unscored  # as it would be without a reranker


def test_pages_that_were_not_read_are_not_known_to_be_relevant(coloured):
    judge = Judge(dict.fromkeys(COLOURS, 0.75), options={"weak_below": 0.5})
    hits = coloured.search("red", k=4, rerank=judge, depth=2)
    assert coloured.search("red", k=4, rerank=judge, depth=2, min_score=0.6) == hits[:2]


def test_logits_are_brought_to_the_scale_of_relevance(coloured):
    judge = Judge({"red": -2.0, "green": 0.0, "blue": -9.0, "yellow": 4.0}, options={"weak_below": -2.0})
    known = {hit.doc: hit.relevance for hit in coloured.search("red", k=4, rerank=judge)}
    assert known["red"] == 0.5
    assert 0 < known["blue"] < 0.01 < 0.8 < known["green"] < known["yellow"] < 1


def test_explanations_stand_in_the_order_of_the_reranker(coloured):
    judge = Judge(dict(zip(COLOURS, (0.1, 0.7, 0.3, 0.9), strict=True)), options={"weak_below": 0.2})
    hits = coloured.search("red", k=3, rerank=judge, depth=4)
    (explained,) = coloured.explained(["red"], k=3, rerank=judge, depth=4)
    assert [hit for hit, _ in explained] == hits
    assert [why.embedding.ref for _, why in explained] == [hit.ref for hit in hits]
    assert len(judge.shown[0]) == 2  # in batches


def test_a_page_without_a_score_is_said_in_json(coloured):
    hits = coloured.search("red", k=3, rerank=Judge(dict.fromkeys(COLOURS, 1.0)), depth=1)
    said = json.loads(json.dumps([as_json(hit) for hit in hits], allow_nan=False))
    assert [(hit["score"], hit["unscored"]) for hit in said] == [(1.0, False), (None, True), (None, True)]
    assert all("rerank" not in hit["scores"] for hit in said[1:])


def test_only_what_is_offered_can_be_asked_for(monkeypatch):
    loaded = []
    monkeypatch.setattr(rerank, "load_reranker", lambda name: loaded.append(name) or Judge({}))
    offered = Rerankers({"judge": "/models/judge"})
    for other in ("BAAI/bge-reranker-v2-m3", "/models/judge", "judge "):
        with pytest.raises(InvalidArgument, match=r"this server does not offer the reranker .*; it offers judge"):
            offered.of(other)
    with pytest.raises(InvalidArgument, match="it was started without one"):
        Rerankers({}).of("judge")
    assert loaded == []
    assert offered.of("judge") is offered.of("judge")
    assert loaded == ["/models/judge"]


def test_each_question_is_read_with_its_own_pages(coloured):
    judge = Judge({"red": 0.1, "green": 0.2, "blue": 0.3, "yellow": 0.4})
    found = coloured.search_many(["red", "blue"], k=2, rerank=judge, depth=2)
    assert [len(hits) for hits in found] == [2, 2]
    assert {doc for doc, _, _ in judge.shown[0]} != {doc for doc, _, _ in judge.shown[1]}
    for hits, alone in zip(found, ("red", "blue"), strict=True):
        assert hits == coloured.search(alone, k=2, rerank=judge, depth=2)


def test_a_filter_that_no_page_passes_finds_nothing(coloured):
    judge = Judge({})
    assert coloured.search("red", where={"doc": "none"}, rerank=judge) == []
    assert judge.shown == []


def test_wrong_arguments_are_refused(coloured):
    judge = Judge(dict.fromkeys(COLOURS, 1.0))
    for given, says in (
        ({"seconds": 1}, "give a reranker"),
        ({"depth": 3}, "give a reranker"),
        ({"rerank": judge, "depth": 0}, "depth must be a whole number, at least 1, got 0"),
        ({"rerank": judge, "seconds": 0}, "seconds must be a number above 0"),
        ({"rerank": judge, "k": "many"}, "k must be a whole number"),
        ({"rerank": 3}, "rerank takes the name of a reranker, or one that is loaded, got 3"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            coloured.search("red", **given)
    with pytest.raises(InvalidModelSpec, match="toy is no reranker"):
        coloured.search("red", rerank="toy")
    with pytest.raises(WeightsError, match="only code in its repository can run it"):
        coloured.search("red", rerank="jinaai/jina-reranker-v3")


def test_a_reranker_that_forgets_a_page_is_refused(coloured):
    class Forgetful(Judge):
        def scores(self, question, pages):
            return super().scores(question, pages)[1:]

    with pytest.raises(InvalidArgument, match=r"judge must return a score for each of 2 pages, got \(1,\)"):
        coloured.search("red", rerank=Forgetful(dict.fromkeys(COLOURS, 1.0)))


def test_an_empty_ranking_stays_empty(coloured):
    empty = Ranking(np.empty(0, np.int64), np.empty(0, np.float32))
    made = Reranking(Judge({})).again("red", empty, coloured._index.snapshot, partial(read_again, coloured))
    assert (len(made.ranking.keys), made.warnings) == (0, ())


@pytest.mark.heavy
def test_a_name_is_loaded_once_and_kept(coloured, tmp_path, monkeypatch):
    from support import tiny_rerankers

    from visret import load_reranker
    from visret.encoders import _torch

    with _torch.quiet():
        folder = str(tiny_rerankers.cross_encoder(tmp_path / "tiny"))
    loaded = []
    monkeypatch.setattr(
        rerank, "load_reranker", lambda name: loaded.append(name) or load_reranker(name, dtype="float32")
    )
    hits = coloured.search("red", k=4, rerank=folder)
    assert coloured.search("red", k=4, rerank=folder) == hits
    assert loaded == [folder]
    alone = load_reranker(folder, dtype="float32")
    for hit in hits:
        assert hit.score == pytest.approx(alone.scores("red", [Page.from_text(hit.doc, doc=hit.doc)])[0], abs=1e-5)
    coloured.close()
    assert coloured._rerankers._loaded == {}
    assert Rerankers().of(alone) is alone
