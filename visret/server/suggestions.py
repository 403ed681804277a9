"""Questions that an index answers, made of headings on its own pages; each is asked, and kept if it finds its page."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from statistics import median
from weakref import WeakKeyDictionary

from visret.errors import VisretError
from visret.retriever import Retriever
from visret.types import Item, Page, PageRef

COUNT = 3
DOCUMENTS, PAGES = 24, 6  # that are looked at, evenly spread
TRIED = 24  # headings that are asked at most
LARGE = 1.2  # a heading's height, in those of the page's usual line
WORDS = range(3, 9)
_NUMBER = re.compile(r"^(?:(?:chapter|section|appendix|part)\s+)?[\dA-Z]{0,2}(?:\.\d+)*[.:)]?\s+(?=\S)", re.I)
_USUAL = re.compile(
    r"\b(contents|references|bibliography|index|acknowledg\w*|copyright|license|version|changelog|appendix|abstract|table|figure)\b",
    re.I,
)


@dataclass(frozen=True)
class Suggestion:
    """A question that the index answers, and the page whose heading it is."""

    question: str
    doc: str
    page: int


class Suggestions:
    """The questions that an index answers, found when they are first asked for and after each change of the index.

    state: returns what they depend on, the same object as long as nothing has changed.
    """

    def __init__(self, retriever: Retriever, state: Callable[[], object]) -> None:
        self._retriever, self._state = retriever, state
        self._made: WeakKeyDictionary[object, list[Suggestion]] = WeakKeyDictionary()
        self._guard = threading.Lock()

    def made(self) -> list[Suggestion]:
        """Return at most COUNT questions, from as many documents as possible."""
        with self._guard:
            state = self._state()
            if state not in self._made:
                self._made[state] = list(islice(self._found(), COUNT))
            return self._made[state]

    def _found(self) -> Iterator[Suggestion]:
        """Yield the headings that find their own page first, and well."""
        for question, ref in islice(self._headings(), TRIED):
            try:
                hits = self._retriever.search(question, 1)
            except VisretError:  # such as a heading of signs alone; another one does
                continue
            if hits and hits[0].ref == ref and not hits[0].weak and not hits.warnings:
                yield Suggestion(question, *ref)

    def _headings(self) -> Iterator[tuple[str, PageRef]]:
        """Yield headings, the first of each document before the second of any."""
        names = _spread(self._retriever.documents(), DOCUMENTS)
        found = [self._of_document(doc) for doc in names]
        for row in zip_longest(*found):
            yield from (one for one in row if one is not None)

    def _of_document(self, doc: str) -> list[tuple[str, PageRef]]:
        """Return the headings of some pages of a document, without those that stand on several of them."""
        pages = [
            self._retriever.read((doc, page), picture=False)[0]
            for page in _spread(sorted(self._retriever.document(doc).pages), PAGES)
        ]
        found = [(heading, page.ref) for page in pages for heading in headings(page)]
        often = Counter(heading for heading, _ in found)
        return [one for one in found if often[one[0]] == 1]


def headings(page: Page) -> list[str]:
    """Return the lines of a page that stand out by their size and could be asked, without their numbers."""
    lines = [list(words) for _, words in groupby(page.words or (), key=lambda word: word.line)]
    heights = [max(word.box[3] - word.box[1] for word in words) for words in lines]
    usual = median(heights) if heights else 0.0
    large = [
        " ".join(word.text for word in words)
        for words, height in zip(lines, heights, strict=True)
        if height > LARGE * usual
    ]
    return [asked for line in large if (asked := _NUMBER.sub("", line)) and _can_be_asked(asked)]


def _can_be_asked(line: str) -> bool:
    words = line.split()
    letters = sum(character.isalpha() or character.isspace() for character in line)
    return (
        len(words) in WORDS
        and letters > 0.9 * len(line)
        and line[:1].isupper()
        and not any(word.isupper() and len(word) > 4 for word in words)
        and sum(len(word) > 3 for word in words) > 1
        and not _USUAL.search(line)
    )


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many items, evenly spread."""
    count = min(most, len(items))
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]
