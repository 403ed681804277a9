"""The explanation of a BM25 score by the words of a page, each of which is treated as a vector.

A term of the question is a token, a word of the page is a place, and their similarity is what the term adds to the
score. So the maxima add up to the score, and boxes, pictures and tables are those of `visret.explain`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from visret.explain.attribution import Explanation
from visret.index import terms
from visret.search.bm25 import BM25
from visret.types import PageEmbedding, PageRef, QueryEmbedding, Question

if TYPE_CHECKING:
    from PIL.Image import Image

_WORD = re.compile(r"\S+")


def explained(
    scorer: BM25, question: Question, ref: PageRef, *, render: Callable[[int], Image] | None = None
) -> Explanation:
    """Return where the words of a question are on a page, and what each adds to its score. render: draws the page."""
    snapshot = scorer.snapshot
    segment, row = snapshot.find(ref)
    parts = scorer.parts(question, segment, row)
    text, boxes = snapshot.words(segment, row)
    size_pt = snapshot.size_pt(segment, row)
    spans = [match.span() for match in _WORD.finditer(text)]
    words = [text[first:end] for first, end in spans]
    there = {word: set(terms.of_page(word)) for word in set(words)}
    held_by = {word: [part.is_among(found) for part in parts] for word, found in there.items()}
    held = np.array([held_by[word] for word in words], bool).reshape(len(words), len(parts)).T
    values = np.array([part.value for part in parts], np.float32)
    # A term that no single word gives, such as one that goes on in the next line, is found nowhere: in the last row.
    held = np.column_stack([held, (values > 0) & ~held.any(axis=1)])
    where = np.full((len(spans) + 1, 2 if size_pt is None else 4), np.nan, np.float32)
    if size_pt is None:
        where[:-1] = np.reshape(spans, (-1, 2))
    elif boxes is not None and len(boxes) == len(spans):
        where[:-1] = boxes
    count = max(len(parts), 1)  # a question without a word is one token that is like nothing
    similarity = np.zeros((count, len(spans) + 1), np.float32)
    similarity[: len(parts)] = held * values[:, None]
    embedding = PageEmbedding(
        ref, size_pt, np.ascontiguousarray(similarity.T), where, text, boxes, snapshot.page_metadata(segment, row)
    )
    labels = tuple(part.label for part in parts) or ("",)
    query = QueryEmbedding(question.text, np.eye(count, dtype=np.float32), labels, np.full(count, bool(parts)))
    # Of several words that give a term, that of the line which is quoted.
    best = (similarity * (1 + _quoted(text, spans, scorer.line(question, segment, row)))).argmax(axis=1)
    found = partial(scorer.passages, question, segment, row)
    return Explanation(
        embedding, query, best, similarity[np.arange(count), best], 0.0, render, scorer.name, _passages=found
    )


def _quoted(text: str, spans: list[tuple[int, int]], line: str) -> np.ndarray:
    """Return which words are on the first line with this text, (n + 1,) bool; the last entry is no word."""
    first = text.find(line) if line else 0
    inside = [first <= begin and end <= first + len(line) for begin, end in spans]
    return np.array([*inside, False], bool)
