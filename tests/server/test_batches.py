"""Questions together are answered as they are alone."""

import threading

import pytest

from visret import Retriever
from visret.errors import IndexFormatError, InvalidArgument, PageIndexError
from visret.server.batches import TOGETHER, Asked, Batches, Shown


class Slow(Retriever):
    """Waits before it answers, and writes down what was asked together."""

    def _pipeline(self):
        pipeline = super()._pipeline()
        rank = pipeline.rank

        def wait(questions, k, **named):
            self.asked.append((list(questions), k, named["where"]))
            self.entered.set()
            assert self.open.wait(60)
            return rank(questions, k, **named)

        pipeline.rank = wait
        return pipeline


@pytest.fixture
def retriever(papers, tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        made.add(papers)
    with Slow.open(tmp_path / "i.visret") as opened:
        opened.asked, opened.entered, opened.open = [], threading.Event(), threading.Event()
        yield opened


def alone(retriever, asked):
    with Retriever.open(retriever.info()["path"], model=retriever.encoder) as other:
        (hits,) = other.explained([asked.text], asked.k, where=asked.where, exact=asked.exact)
        return [Shown(hit, why.boxes, why.about) if asked.boxes else Shown(hit) for hit, why in hits]


def test_what_waits_goes_together_and_is_answered_as_if_alone(retriever, monkeypatch):
    monkeypatch.setattr("visret.server.batches.THREADS", 1)
    batches = Batches(retriever)
    first = batches.ask(Asked("red"))
    assert retriever.entered.wait(60)
    questions = [Asked(text, 2) for text in ("blue", "mauvish", "yellow", " ")]
    questions += [
        Asked("red", 2, {"doc": "two.pdf"}),
        Asked("blue", 2, {"colour": "red"}),
        Asked("blue", 3, boxes=False),
    ]
    answers = [batches.ask(question) for question in questions]
    forgotten = batches.ask(Asked("cyan"))
    assert forgotten.cancel()
    retriever.open.set()
    assert first.result(60) == alone(retriever, Asked("red"))
    for number in (0, 2, 4, 6):
        assert answers[number].result(60) == alone(retriever, questions[number])
    for number, reason in (
        (1, "toy knows the colours"),
        (3, "at least one word"),
        (5, "no page has metadata 'colour'"),
    ):
        with pytest.raises(InvalidArgument, match=reason):
            answers[number].result(60)
    together = [texts for texts, _, where in retriever.asked[1:] if where is None]
    assert together[0] == ["blue", "mauvish", "yellow", " ", "blue"]
    assert "cyan" not in {text for texts, *_ in retriever.asked for text in texts}
    assert {found.hit.doc for found in answers[4].result()} == {"two.pdf"}
    batches.close()


def test_a_crowd_is_answered_in_parts(retriever):
    retriever.open.set()
    batches = Batches(retriever)
    answers = [batches.ask(Asked("red", 1)) for _ in range(5 * TOGETHER)]
    assert {answer.result(60)[0].hit.page for answer in answers} == {1}
    assert max(len(texts) for texts, *_ in retriever.asked) <= TOGETHER
    batches.close()


def test_pages_committed_meanwhile_are_found(retriever, papers):
    retriever.open.set()
    batches = Batches(retriever)
    with Retriever.open(retriever.info()["path"]) as other:
        other.remove("one.pdf")
    assert [found.hit.doc for found in batches.ask(Asked("red")).result(60)] == ["two.pdf"]
    batches.close()


def test_defects_reach_who_asked(retriever, monkeypatch):
    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(retriever, "refresh", broken)
    batches = Batches(retriever)
    with pytest.raises(ZeroDivisionError):
        batches.ask(Asked("red")).result(60)
    batches.close()


def test_an_index_that_cannot_be_read_now_answers_from_what_was_read_before(retriever, monkeypatch, caplog):
    def gone():
        raise PageIndexError("i.visret", "cannot be reached")

    def damaged():
        raise IndexFormatError("i.visret", "is damaged")

    retriever.open.set()
    batches = Batches(retriever)
    monkeypatch.setattr(retriever, "refresh", gone)
    assert batches.ask(Asked("red", 1)).result(60)[0].hit.page == 1
    assert "from what was read before: i.visret: cannot be reached" in caplog.text
    monkeypatch.setattr(retriever, "refresh", damaged)
    with pytest.raises(IndexFormatError):
        batches.ask(Asked("red", 1)).result(60)
    batches.close()


@pytest.mark.parametrize(("k", "depth"), [(1, 16), (10, 16), (16, 16), (17, 32), (100, 128), (128, 128)])
def test_how_many_are_ranked_follows_from_k_alone(k, depth):
    assert Asked("red", k).ranked == depth
    assert Asked("red", k, rerank="judge").ranked == max(depth, 64)
    assert Asked("red", k, rerank="judge", depth=3).ranked == depth
    assert Asked("red", k).kind == Asked("blue", depth).kind
    assert Asked("red", k).kind != Asked("red", k, {"page": 1}).kind


def test_a_question_for_fewer_pages_gets_the_best_of_them(retriever):
    retriever.open.set()
    batches = Batches(retriever)
    many, few = batches.ask(Asked("red", 3)).result(60), batches.ask(Asked("red", 1)).result(60)
    assert (len(many), len(few)) == (3, 1)
    assert few[0] == many[0]
    batches.close()
