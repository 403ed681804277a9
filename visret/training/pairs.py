"""Questions with a text that answers them, out of pages that nobody has labelled.

    pairs_of(ref, text, word_boxes, size_pt, windows)   # of one page
    index_pairs(pages)                                  # of the index of a book

A pair is of one of these kinds:

    heading     a heading, and the text below it
    caption     what stands in the caption of a figure or a table, and the rest of its page
    definition  a term, and the window with the sentence that says what it is
    sentence    a sentence, and its window, half of the time without the sentence: then its sense must find the window
    index       an entry of the index of a book, and the page that it names
    written     a question that a language model wrote for a window (`written`), if one is given

A window is a part of a page that the model reads at once.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from visret.explain.layout import laid_out
from visret.explain.words import FUNCTION_WORDS
from visret.types import PageRef

__all__ = ["KINDS", "Pair", "TextPage", "index_pairs", "pairs_of"]

KINDS = ("heading", "caption", "definition", "sentence", "index", "written")
"""The kinds of pairs."""

_CAPTION = re.compile(
    r"(?:figure|fig\.|table|tab\.|listing|algorithm|abbildung|abb\.|tabelle|figura|tabla|tableau|tabella)\s*"
    r"[\dIVXA-Z][\w.-]*[.:)]?\s+(?P<said>\S.*)",
    re.I,
)
_NUMBERED = re.compile(
    r"(?:#+|(?:chapter|section|appendix|kapitel|chapitre)?\s*\d{1,2}(?:\.\d{1,2})*\.?)\s+(?=[^\W\d_])", re.I
)
_DEFINED = re.compile(
    r"(?:(?:a|an|the)\s+)?(?P<term>[^\W\d_][\w-]*(?:\s[\w-]+){0,3})\s+(?:is|are|denotes|means|refers to)\s+"
    r"(?:a|an|the|any|one)\s+\S",
    re.I,
)
_ENTRY = re.compile(r"(?P<term>[^\W\d_][^,\d]{2,48}?)[,.\s]+(?P<pages>\d{1,4}(?:,\s*\d{1,4})*)$")
_SENTENCE = re.compile(r"[^\s.!?].*?[.!?](?=\s|$)", re.S)
_LARGE = 1.15  # a line so much higher than most of its page is a heading
_WORDS = 150  # of a text that is no window
_FEW_WORDS = 12  # fewer answer nothing
_ENTRIES = 8  # lines with entries that make a page one of an index


class Pair(NamedTuple):
    """A question and a text that answers it.

    question, text: what a model reads. ref: the page that the text stands on. kind: one of KINDS.
    """

    question: str
    text: str
    ref: PageRef
    kind: str


class TextPage(NamedTuple):
    """A page as training sees it.

    text: its words, with line feeds between lines. word_boxes: (w, 4), None for plain text. size_pt: as in Page.
    windows: the parts of the text that the model reads at once.
    """

    ref: PageRef
    text: str
    word_boxes: np.ndarray | None
    size_pt: tuple[float, float] | None
    windows: Sequence[str]


def pairs_of(page: TextPage, rng: random.Random, *, sentences: int = 2) -> list[Pair]:
    """Return the pairs of one page, but for those of an index. sentences: how many of a window, at most."""
    laid = laid_out(page.text, page.word_boxes, page.size_pt)
    lines = list(laid.texts)
    heights = None if laid.boxes is None else laid.boxes[:, 3] - laid.boxes[:, 1]
    captions = {at: match["said"] for at, line in enumerate(lines) if (match := _CAPTION.match(line))}
    heads = [at for at, line in enumerate(lines) if at not in captions and _is_heading(line, heights, at)]
    found = []
    for at, said in captions.items():
        rest = " ".join(lines[:at] + lines[at + 1 :])
        found.append(Pair(said, _around(rest, len(" ".join(lines[:at]).split())), page.ref, "caption"))
    for at, end in pairwise([*heads, len(lines)]):
        below = " ".join(lines[at + 1 : end]).split()[:_WORDS]
        if len(below) >= _FEW_WORDS:
            found.append(Pair(_NUMBERED.sub("", lines[at], count=1), " ".join(below), page.ref, "heading"))
    running = "\n".join("\n" if at in captions or at in heads else line for at, line in enumerate(lines))
    stated = [" ".join(match[0].split()) for part in running.split("\n\n") for match in _SENTENCE.finditer(part)]
    stated = [sentence for sentence in stated if _says_something(sentence)]
    for window in page.windows:
        whole = " ".join(window.split())
        inside = [sentence for sentence in stated if sentence in whole]
        for sentence in rng.sample(inside, min(sentences, len(inside))):
            without = whole.replace(sentence, " ", 1).split()
            hidden = rng.random() < 0.5 and len(without) >= _FEW_WORDS
            found.append(Pair(sentence, " ".join(without) if hidden else whole, page.ref, "sentence"))
        defined = filter(None, map(_DEFINED.match, inside))
        found += [Pair(f"what is {term}?", whole, page.ref, "definition") for term in map(_term, defined) if term]
    return found


def index_pairs(pages: Sequence[TextPage]) -> list[Pair]:
    """Return the pairs of the indexes of books.

    The number that is printed on a page differs from its place in the file. The difference is the one with which most
    entries find their words; an entry whose words are not on its page is left out.
    """
    books: Mapping[str, dict[int, TextPage]] = defaultdict(dict)
    for page in pages:
        books[page.ref.doc][page.ref.page] = page
    found = []
    for book in books.values():
        entries = [entry for page in book.values() for entry in _entries(page)]
        words = {number: " ".join(page.text.split()).casefold() for number, page in book.items()}
        shifts: Counter[int] = Counter()
        for term, printed, here in entries:
            shifts.update(number - printed for number, text in words.items() if number != here and term in text)
        if not shifts:
            continue
        ((shift, _),) = shifts.most_common(1)
        for term, printed, here in entries:
            number = printed + shift
            if number != here and term in words.get(number, ""):
                held = (window for window in book[number].windows if term in " ".join(window.split()).casefold())
                if window := next(held, None):
                    found.append(Pair(term, " ".join(window.split()), book[number].ref, "index"))
    return found


def _entries(page: TextPage) -> list[tuple[str, int, int]]:
    """Return the entries of a page of an index: term, number of the page, and where the entry stands; else nothing."""
    matches = [match for line in page.text.splitlines() if (match := _ENTRY.fullmatch(line.strip()))]
    if len(matches) < _ENTRIES:
        return []
    return [
        (match["term"].strip().casefold(), int(number), page.ref.page)
        for match in matches
        for number in match["pages"].split(",")
    ]


def _term(match: re.Match[str]) -> str:
    """Return what a sentence defines; "" for a part of another sentence, as in "this is a"."""
    term = match["term"]
    return "" if FUNCTION_WORDS & set(term.casefold().split()) else term


def _is_heading(line: str, heights: np.ndarray | None, at: int) -> bool:
    words = line.split()
    if not 1 <= len(words) <= 12 or line[-1] in ".,;:!0123456789" or sum(map(str.isalpha, line)) < 4:
        return False
    if _NUMBERED.match(line):
        return True
    return heights is not None and bool(heights[at] > _LARGE * np.median(heights))


def _around(text: str, at: int, most: int = _WORDS) -> str:
    """Return at most so many words of a text, around the word with this number."""
    words = text.split()
    first = max(0, min(at - most // 2, len(words) - most))
    return " ".join(words[first : first + most])


def _says_something(sentence: str) -> bool:
    """Return whether a sentence is of use as a question: of five to thirty words, most of its signs letters."""
    letters = sum(character.isalpha() or character == " " for character in sentence)
    return 5 <= len(sentence.split()) <= 30 and letters > 0.75 * len(sentence)
