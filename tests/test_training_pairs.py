"""Questions made out of pages: of each kind, from the text that answers them."""

import random

from visret.training.pairs import TextPage, index_pairs, pairs_of
from visret.types import PageRef

PAGE = """# Turning pages over

A bittern is a heron that hides in reeds. It stands still for hours and looks at the sky with its beak up.
Figure 3: where bitterns were counted in spring
Most of them live near the coast, where the reeds are high and the water is never deep enough to freeze.
"""


def page(text, number=1, doc="a.txt"):
    return TextPage(PageRef(doc, number), text, None, None, [text] if text.strip() else [])


def of_kind(kind, text=PAGE, seed=0):
    return [pair for pair in pairs_of(page(text), random.Random(seed)) if pair.kind == kind]


def test_a_heading_asks_for_its_section():
    (pair,) = of_kind("heading")
    assert pair.question == "Turning pages over"
    assert pair.text.startswith("A bittern is")
    assert "Turning" not in pair.text


def test_a_caption_asks_for_its_page_without_itself():
    (pair,) = of_kind("caption")
    assert pair.question == "where bitterns were counted in spring"
    assert pair.question not in pair.text
    assert "near the coast" in pair.text


def test_a_term_asks_for_the_window_that_says_what_it_is():
    (pair,) = of_kind("definition")
    assert pair.question == "what is bittern?"
    assert "hides in reeds" in pair.text


def test_a_sentence_asks_for_its_window_with_or_without_itself():
    pairs = [pair for seed in range(20) for pair in of_kind("sentence", seed=seed)]
    assert {pair.question in pair.text for pair in pairs} == {True, False}
    assert all("#" not in pair.question and len(pair.question.split()) >= 5 for pair in pairs)


def test_an_entry_of_an_index_asks_for_the_page_it_names():
    """The printed numbers are two less than the pages of the file."""
    birds = ["bittern", "heron", "egret", "stork", "ibis", "crane", "grebe", "coot"]
    pages = [page(f"Chapter on the {bird} and how it lives", at + 3, "book.pdf") for at, bird in enumerate(birds)]
    entries = "\n".join(f"{bird}, {at + 1}" for at, bird in enumerate(birds))
    pages.append(page(f"{entries}\nunicorn, 4", 40, "book.pdf"))
    found = {pair.question: pair.ref.page for pair in index_pairs(pages)}
    assert found == {bird: at + 3 for at, bird in enumerate(birds)}
    assert index_pairs(pages[:-1]) == []


def test_a_page_without_words_gives_no_pairs():
    assert pairs_of(page(" "), random.Random(0)) == []
