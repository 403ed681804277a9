"""A filter becomes a tree once; what the trees mean is in test_snapshot.py."""

import numpy as np
import pytest

from visret.errors import InvalidArgument
from visret.index.filters import EXAMPLES, And, AnyOf, Not, Or, Range, parse

KEYS = frozenset({"year", "tags"})


@pytest.mark.parametrize(
    ("where", "tree"),
    [
        ({}, And(())),
        ({"doc": 5}, And((AnyOf("doc", ("5",)),))),
        ({"year": [2020, np.int64(2021), None]}, And((AnyOf("year", (2020, 2021, None)),))),
        (
            {"year": {"!=": 1, ">=": 2020, "==": [2, "3"], "<": 2024}, "page": 1},
            And(
                (
                    Range("year", ((">=", 2020), ("<", 2024))),
                    AnyOf("year", (2, "3")),
                    Not(AnyOf("year", (1,))),
                    AnyOf("page", (1,)),
                )
            ),
        ),
        (
            {"or": [{"tags": "x"}, {"not": {"tags": "y"}}], "and": []},
            And((Or((And((AnyOf("tags", ("x",)),)), And((Not(And((AnyOf("tags", ("y",)),))),)))), And(()))),
        ),
    ],
)
def test_an_object_becomes_a_tree(where, tree):
    assert parse(where, KEYS) == tree


def test_leaves_tell_of_one_value():
    passes = AnyOf("year", (1, "a", None, True)).test()
    assert [passes(value) for value in (1, 1.0, "1", "a", None, True, False, 2)] == [
        True, True, False, True, True, True, False, False,
    ]  # fmt: skip
    passes = Range("year", ((">=", 1), ("<", 2.5))).test()
    assert [passes(value) for value in (0, 1, 2.4, 2.5, "2", True, None)] == [
        False, True, True, False, False, False, False,
    ]  # fmt: skip


def test_the_first_thing_that_is_wrong_is_said():
    with pytest.raises(InvalidArgument, match=r"no page has metadata 'yaer'; .* doc, page, source, tags, year"):
        parse({"year": 1, "yaer": {"min": 1}, "or": 5}, KEYS)
    deep = {}
    for _ in range(5000):
        deep = {"not": deep}
    with pytest.raises(RecursionError):
        parse(deep, KEYS)


def test_the_examples_of_the_documents_are_filters():
    for where in EXAMPLES.values():
        assert parse(where, ["year", "draft", "doc", "page"]).parts
