"""What the best pages for questions about something else reach is measured in the index, and marks weak hits."""

import json
import re
import sqlite3
from contextlib import closing
from zlib import crc32

import numpy as np
import pytest
from support.word_model import WORDS, Words, vector

from visret import Page, QueryEmbedding, Retriever
from visret.errors import IndexFormatError
from visret.index.catalogue import Floor
from visret.retriever import pipeline_of
from visret.search import elsewhere
from visret.search.pipeline import SPAN, strength

LINE = 0.2


class English(Words):
    """It knows any word: one of the eight, somewhat blurred, stands for it."""

    def __init__(self, languages=("en",)):
        super().__init__()
        self.spec = type(self.spec)(
            "words", "words", "", "1", "text", 8, "", 0.0, options={"weak_below": LINE}, languages=languages
        )

    def query(self, text):
        words = text.split()
        seeds = [crc32(word.encode()) for word in words]
        rows = [vector(WORDS[seed % 8]) + np.random.default_rng(seed).normal(0, 1, 8) for seed in seeds]
        vectors = np.array([row / np.linalg.norm(row) for row in rows], np.float32)
        return QueryEmbedding(text, vectors, tuple(words), np.ones(len(words), bool))


def pages(start, stop):
    def words(n):
        return " ".join(WORDS[(n * 3 + i * i) % 8] for i in range(1 + n % 4))

    return [Page.from_text(words(n), doc=str(n)) for n in range(start, stop)]


def floor(retriever):
    return pipeline_of(retriever).snapshot.floor


@pytest.fixture
def retriever(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model=English()) as made:
        made.add_pages(pages(0, 40))
        yield made


def test_the_questions_are_short_and_long_and_none_comes_twice():
    both = [*elsewhere.SHORT, *elsewhere.LONG]
    assert len({question.strip() for question in both}) == len(both) == 80
    assert np.median([len(question.split()) for question in elsewhere.SHORT]) <= 5
    assert np.median([len(question.split()) for question in elsewhere.LONG]) >= 14
    assert not any(re.search(r"[\n?]|\s\s", question) for question in both)


def test_it_is_the_quantile_of_the_best_pages(retriever):
    expected = []
    for questions in (elsewhere.SHORT, elsewhere.LONG):
        found = [next(retriever.explained([question], k=1, by="late")) for question in questions]
        reached = [strength(why.values, why.query.content) for ((_, why),) in found]
        expected.append(sorted(reached)[int(elsewhere.QUANTILE * len(reached))])
    measured = floor(retriever)
    assert measured.pages == 40
    assert [measured.short, measured.long] == pytest.approx(expected, abs=0.05)


def test_it_is_measured_when_there_are_enough_pages_and_again_when_they_have_grown_by_half(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model=English()) as made:
        made.add_pages(pages(0, elsewhere.LEAST - 1))
        assert floor(made) is None
        made.add_pages(pages(31, 40))
        first = floor(made)
        assert first.pages == 40
        made.add_pages(pages(40, 59))
        assert floor(made) == first
        made.add_pages(pages(59, 60))
        second = floor(made)
        assert second.pages == 60
        made.remove([str(number) for number in range(50)])
        assert floor(made) == second
        made.compact()
        assert floor(made).pages == 10
    with Retriever.open(tmp_path / "i.visret", model=English()) as opened:
        assert floor(opened).pages == 10
    with Retriever.open(tmp_path / "i.visret") as without:  # its model is nowhere to be found
        without.compact()
        assert floor(without).pages == 10


def test_models_of_other_languages_and_without_a_line_have_none(tmp_path):
    for languages, options in ((("fr",), {"weak_below": LINE}), (("en",), {})):
        model = English(languages)
        model.spec = type(model.spec)("words", "words", "", "1", "text", 8, "", 0.0, options, languages=languages)
        with Retriever.create(tmp_path / f"{languages}", model=model) as made:
            made.add_pages(pages(0, 40))
            assert floor(made) is None
    with Retriever.create(tmp_path / "none", model="none") as made:
        made.add_pages(pages(0, 40))
        assert floor(made) is None


def test_the_line_moves_towards_the_floor_and_no_further_than_the_span(retriever, monkeypatch):
    pipeline = pipeline_of(retriever)
    short, long = "red green blue pink", " ".join(["red green blue pink"] * 4)

    def line(question, measured):
        monkeypatch.setattr(pipeline.snapshot, "floor", measured)
        return pipeline._weak_below(retriever.encoder.query(question))

    assert line(short, None) == LINE
    assert line(short, Floor(40, 0.25, 0.22)) == pytest.approx(0.25)
    assert line(long, Floor(40, 0.25, 0.22)) == pytest.approx(0.22)
    assert line("red", Floor(40, 0.25, 0.22)) == pytest.approx(0.25)  # nothing is extrapolated
    assert 0.22 < line(short + " " + short, Floor(40, 0.25, 0.22)) < 0.25
    assert line(short, Floor(40, 0.9, 0.9)) == pytest.approx(LINE + SPAN)
    assert line(short, Floor(40, 0.0, 0.0)) == pytest.approx(LINE)


def test_pages_between_the_line_and_the_floor_are_weak(retriever, monkeypatch):
    pipeline = pipeline_of(retriever)
    monkeypatch.setattr(pipeline.snapshot, "floor", None)
    before = retriever.search("red green", k=40)
    weakest = [hit for hit in before if not hit.weak][-1]
    why = retriever.heatmap("red green", weakest)
    reached = strength(why.values, why.query.content)
    monkeypatch.setitem(retriever.encoder.spec.options, "weak_below", reached - 0.01)
    assert not next(hit for hit in retriever.search("red green", k=40) if hit.ref == weakest.ref).weak
    monkeypatch.setattr(pipeline.snapshot, "floor", Floor(40, reached + 0.01, reached + 0.01))
    assert next(hit for hit in retriever.search("red green", k=40) if hit.ref == weakest.ref).weak


def test_what_makes_no_sense_is_a_damaged_catalogue(retriever, tmp_path):
    retriever.close()
    with closing(sqlite3.connect(tmp_path / "i.visret" / "catalogue.sqlite")) as catalogue, catalogue:
        catalogue.execute("UPDATE settings SET value = ? WHERE key = 'floor'", (json.dumps({"pages": "many"}),))
    with pytest.raises(IndexFormatError, match="damaged"):
        Retriever.open(tmp_path / "i.visret")
