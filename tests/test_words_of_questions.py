"""The words of a question: pieces put together, and those that tell what is asked."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from visret.explain.words import tells, words_of


def of(question, *tokens):
    return [(word.text, word.tokens, word.tells) for word in words_of(question, tokens, np.ones(len(tokens), bool))]


def test_pieces_are_one_word():
    assert of("Plot a histogram?", "plot", "a", "his", "##to", "gram", "?") == [
        ("Plot", (0,), True),
        ("a", (1,), False),
        ("histogram", (2, 3, 4), True),
        ("?", (5,), False),
    ]
    assert of("install.packages", "install", ".", "packages") == [("install.packages", (0, 1, 2), True)]


def test_a_token_that_is_not_in_the_question_is_a_word_of_its_own():
    assert of("naïve plot", "naive", "plot") == [("naive", (0,), True), ("plot", (1,), True)]


def test_markers_are_in_no_word():
    found = words_of("red", ("[Q]", "red", "[MASK]"), np.array([False, True, False]))
    assert [(word.text, word.tokens) for word in found] == [("red", (1,))]


def test_function_words_and_punctuation_tell_nothing():
    assert not any(map(tells, ("the", "The", "?", "und", "(of)", "")))
    assert all(map(tells, ("DEM", "harbour", "3", "C++")))


@given(st.lists(st.text(alphabet="abé.,-ß ", min_size=1, max_size=8), max_size=6), st.text(max_size=30))
def test_every_token_is_in_one_word(tokens, question):
    found = words_of(question, tokens, np.ones(len(tokens), bool))
    assert sorted(position for word in found for position in word.tokens) == list(range(len(tokens)))
