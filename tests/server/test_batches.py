"""Questions together are answered as they are alone."""

import threading

import pytest

from visret import Retriever
from visret.errors import InvalidQuery
from visret.retriever import as_json
from visret.server.batches import TOGETHER, Batches, Question


class Slow(Retriever):
    """Waits before it answers, and writes down what was asked together."""

    def explained(self, questions, k=10, **named):
        self.asked.append((list(questions), k, named["where"]))
        self.entered.set()
        assert self.open.wait(60)
        return super().explained(questions, k, **named)


@pytest.fixture
def retriever(papers, tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        made.add(papers)
    with Slow.open(tmp_path / "i.visret") as opened:
        opened.asked, opened.entered, opened.open = [], threading.Event(), threading.Event()
        yield opened


def alone(retriever, question):
    (hits,) = Retriever.explained(retriever, [question.text], question.k, where=question.where, exact=question.exact)
    return [as_json(hit, why.boxes) for hit, why in hits]


def test_what_waits_goes_together_and_is_answered_as_if_alone(retriever, monkeypatch):
    monkeypatch.setattr("visret.server.batches.THREADS", 1)
    batches = Batches(retriever)
    first = batches.ask(Question("red"))
    assert retriever.entered.wait(60)
    questions = [Question(text, 2) for text in ("blue", "mauvish", "yellow", " ")]
    questions += [Question("red", 2, {"doc": "two.pdf"}), Question("blue", 2, {"colour": "red"}), Question("blue", 3)]
    answers = [batches.ask(question) for question in questions]
    forgotten = batches.ask(Question("cyan"))
    assert forgotten.cancel()
    retriever.open.set()
    assert first.result(60) == alone(retriever, Question("red"))
    for number in (0, 2, 4, 6):
        assert answers[number].result(60) == alone(retriever, questions[number])
    for number, reason in (
        (1, "toy knows the colours"),
        (3, "at least one word"),
        (5, "no page has metadata 'colour'"),
    ):
        with pytest.raises(InvalidQuery, match=reason):
            answers[number].result(60)
    asked = [texts for texts, k, where in retriever.asked if k == 2 and where is None]
    assert asked[0] == ["blue", "mauvish", "yellow", " "]
    assert "cyan" not in {text for texts, *_ in retriever.asked for text in texts}
    assert {hit["doc"] for hit in answers[4].result()} == {"two.pdf"}
    batches.close()


def test_a_crowd_is_answered_in_parts(retriever):
    retriever.open.set()
    batches = Batches(retriever)
    answers = [batches.ask(Question("red", 1)) for _ in range(5 * TOGETHER)]
    assert {answer.result(60)[0]["page"] for answer in answers} == {1}
    assert max(len(texts) for texts, *_ in retriever.asked) <= TOGETHER
    batches.close()


def test_pages_committed_meanwhile_are_found(retriever, papers):
    retriever.open.set()
    batches = Batches(retriever)
    with Retriever.open(retriever.info()["path"]) as other:
        other.remove("one.pdf")
    assert [hit["doc"] for hit in batches.ask(Question("red")).result(60)] == ["two.pdf"]
    batches.close()


def test_defects_reach_who_asked(retriever, monkeypatch):
    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(retriever, "refresh", broken)
    batches = Batches(retriever)
    with pytest.raises(ZeroDivisionError):
        batches.ask(Question("red")).result(60)
    batches.close()
