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
from visret.search.weakness import REACH, SEVERAL, judge_of, strength

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


def test_they_are_the_quantiles_of_the_first_pages(tmp_path):
    pairs = [np.random.default_rng(n).choice(WORDS, 2, replace=False) for n in range(40)]
    with Retriever.create(tmp_path / "i.visret", model=English()) as made:
        made.add_pages([Page.from_text(" ".join(words), doc=str(n)) for n, words in enumerate(pairs)])
        check_quantiles(made)


def check_quantiles(retriever):
    expected = []
    for of in (max, np.mean):
        for questions in (elsewhere.SHORT, elsewhere.LONG):
            found = [next(retriever.explained([question], k=SEVERAL, by="late")) for question in questions]
            reached = [of([strength(why.values, why.query.content) for _, why in pages]) for pages in found]
            expected.append(sorted(reached)[int(elsewhere.QUANTILE * len(reached))])
    measured = floor(retriever)
    assert measured.pages == 40
    assert measured[1:] == pytest.approx(expected, abs=0.05)
    assert measured.several_short < measured.short


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


def asked(tokens):
    """A question of so many tokens, and pages that match each of them as well as they are told."""
    query = QueryEmbedding("", np.eye(tokens, dtype=np.float32), ("",) * tokens, np.ones(tokens, bool))
    return query, lambda *answers: [np.full(tokens, one, np.float32) for one in answers]


FLOOR = Floor(40, 0.4, 0.3, 0.35, 0.25)


def test_a_question_is_about_the_index_by_its_best_page_or_by_several():
    query, pages = asked(4)  # of a short question
    for first, on_subject in (
        ((0.41, 0, 0, 0, 0), True),  # a word that stands on one page only
        ((0.36, 0.36, 0.36, 0.36, 0.36), True),
        ((0.39, 0.34, 0.34, 0.34, 0.33), False),
        ((0.36, 0.36, 0.36, 0.36), False),  # too few to speak together
        ((0.41,), True),
    ):
        verdict = judge_of(query, LINE, FLOOR, pages(*first), lambda: 0.0)(*pages(first[0]))
        assert verdict.weak != on_subject
        assert (verdict.relevance >= 0.5) == on_subject
    assert not judge_of(query, LINE, None, pages(0.21), lambda: 0.0)(*pages(0.21)).weak  # nothing was measured


def test_long_questions_need_less_and_nothing_is_extrapolated():
    def passes(tokens, answers):
        query, pages = asked(tokens)
        return not judge_of(query, LINE, FLOOR, pages(answers), lambda: 0.0)(*pages(answers)).weak

    assert [passes(tokens, 0.31) for tokens in (1, 4, 16, 40)] == [False, False, True, True]
    assert [passes(tokens, 0.39) for tokens in (1, 4, 5, 16)] == [False, False, True, True]
    assert passes(1, 0.41)


def test_an_index_about_everyday_subjects_does_not_call_everything_weak():
    query, pages = asked(4)
    least = LINE + REACH * (1 - LINE)
    for answers, weak in ((least + 0.01, False), (least - 0.01, True)):
        everyday = Floor(40, 0.9, 0.9, 0.9, 0.9)
        assert judge_of(query, LINE, everyday, pages(answers), lambda: 0.0)(*pages(answers)).weak == weak


def test_a_page_is_left_behind_if_it_is_nearer_to_any_page_than_to_the_best():
    query, pages = asked(4)
    judge = judge_of(query, LINE, None, pages(0.9, 0.6), lambda: 0.5)
    assert [judge(*pages(answers)).weak for answers in (0.9, 0.75, 0.71, 0.69, 0.5)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    # pages that are all alike are not much poorer than the best of them
    alike = judge_of(query, LINE, None, pages(0.9, 0.8), lambda: 0.85)
    assert not alike(*pages(0.8)).weak
    asked_for = []
    strong = judge_of(query, LINE, None, pages(0.9), lambda: asked_for.append(1) or 0.5)
    assert not strong(*pages(0.8)).weak
    assert not asked_for  # the other pages are looked at where that matters


def test_a_page_that_is_weak_by_itself_is_weak_whatever_is_measured():
    query, pages = asked(4)
    verdict = judge_of(query, LINE, Floor(40, 0, 0, 0, 0), pages(0.19), lambda: 0.0)(*pages(0.19))
    assert verdict.weak
    assert verdict.relevance == pytest.approx(0.475)
    unknown = QueryEmbedding("", np.eye(1, dtype=np.float32), ("",), np.zeros(1, bool), ("no word is known",))
    assert judge_of(unknown, LINE, None, [], lambda: 0.0)(np.ones(1, np.float32)) == (True, 0.0)
    assert judge_of(query, None, None, pages(0.1), lambda: 0.0)(*pages(0.1)) == (False, None)


def test_what_is_said_of_a_page_does_not_depend_on_how_many_are_wanted(retriever):
    whole = retriever.search("red green", k=40)
    assert {hit.weak for hit in whole} == {True, False}
    for k, offset in ((1, 0), (3, 0), (2, 7)):
        assert retriever.search("red green", k=k, offset=offset) == whole[offset : offset + k]


def test_what_was_measured_marks_pages_in_a_search(retriever, monkeypatch):
    pipeline = pipeline_of(retriever)
    monkeypatch.setattr(pipeline.snapshot, "floor", None)
    before = retriever.search("red green", k=40)
    assert not before[0].weak
    monkeypatch.setitem(retriever.encoder.spec.options, "weak_below", 0.7)
    high = Floor(40, 1.0, 1.0, 1.0, 1.0)
    monkeypatch.setattr(pipeline.snapshot, "floor", high)
    after = retriever.search("red green", k=40)
    assert [hit.ref for hit in after] == [hit.ref for hit in before]
    assert all(one.weak >= other.weak for one, other in zip(after, before, strict=True))


def test_an_index_of_an_earlier_version_is_measured_anew(retriever, tmp_path):
    retriever.close()
    with closing(sqlite3.connect(tmp_path / "i.visret" / "catalogue.sqlite")) as catalogue, catalogue:
        catalogue.execute(
            'UPDATE settings SET key = \'floor\', value = \'{"pages": 40, "short": 0.3, "long": 0.2}\''
            " WHERE key = 'floors'"
        )
    with Retriever.open(tmp_path / "i.visret", model=English()) as opened:
        assert floor(opened) is None
        assert opened.search("red green")[0].relevance is not None
        assert elsewhere.is_due(pipeline_of(opened).snapshot)


def test_what_makes_no_sense_is_a_damaged_catalogue(retriever, tmp_path):
    retriever.close()
    with closing(sqlite3.connect(tmp_path / "i.visret" / "catalogue.sqlite")) as catalogue, catalogue:
        catalogue.execute("UPDATE settings SET value = ? WHERE key = 'floors'", (json.dumps({"pages": "many"}),))
    with pytest.raises(IndexFormatError, match="damaged"):
        Retriever.open(tmp_path / "i.visret")
