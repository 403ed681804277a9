"""A table of how good a retriever is: the right numbers, and no silent zero for a wrong name."""

import math

import pytest
from support.sheets import write_pdf

from visret import PageRef, Retriever, evaluate
from visret.errors import InvalidArgument


@pytest.fixture
def retriever(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        made.add(write_pdf(tmp_path / "a.pdf", "red", "green", "blue"))
        yield made


def test_numbers_are_those_of_the_ranking(retriever):
    red, green = PageRef("a.pdf", 1), PageRef("a.pdf", 2)
    first, second = (tuple(hit.ref for hit in retriever.search(colour, k=2)) for colour in ("red", "green"))
    assert first[0] == red
    assert second[0] == green
    made = evaluate.run(retriever, {"red": [red], "green": [("a.pdf", second[1].page)]}, k=2)
    assert [result.found for result in made.results] == [first, second]
    assert [result.ndcg for result in made.results] == pytest.approx([1, 1 / math.log2(3)])
    assert [result.recall for result in made.results] == [1, 1]
    assert (made.ndcg, made.recall, made.mrr) == pytest.approx(((1 + 1 / math.log2(3)) / 2, 1, 0.75))


def test_printed_it_is_a_table(retriever):
    made = evaluate.run(retriever, {"red": [("a.pdf", 1)], "green": [("a.pdf", 1)]}, k=1)
    assert str(made).splitlines() == [
        "  nDCG@1  recall@1  MRR@1  question",
        "   1.000     1.000  1.000  red",
        "   0.000     0.000  0.000  green",
        "   0.500     0.500  0.500  mean of 2 questions",
    ]


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ({"red": [("b.pdf", 1)]}, "'red': no document 'b.pdf'"),
        ({"red": []}, "'red': has no right page"),
        ({}, "no questions"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(retriever, questions, said):
    with pytest.raises(InvalidArgument, match=said):
        evaluate.run(retriever, questions)
