"""An index of pages of words, and hits that are alike wherever they were found."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from support.word_model import WORDS, Words
from visret import Page, Retriever
from visret.stores import _export
from visret.types import PageRef, Word


def page(doc, number, words, *, plain=False):
    if plain:
        return Page.from_text(" ".join(words), doc=doc, page=number)
    boxes = [(i % 5 / 5, i // 5 / 20, (i % 5 + 1) / 5, (i // 5 + 1) / 20) for i in range(len(words))]
    return Page(PageRef(doc, number), (500, 800), None, tuple(Word(w, b) for w, b in zip(words, boxes, strict=True)))


class Noisy(Words):
    """Words that are a little different on every page, so that no two pages score the same."""

    def page(self, page):
        made = super().page(page)
        noise = np.random.default_rng([*page.ref.doc.encode(), page.ref.page]).normal(size=made.vectors.shape)
        vectors = made.vectors + 0.02 * noise.astype(np.float32)
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return replace(made, vectors=units, metadata=page.metadata)


def filled(path, *, seed=0, documents=12, **how):
    """An index of documents of pages of words, some of them plain text, some with metadata of their own."""
    chance = np.random.default_rng(seed)
    retriever = Retriever.create(path, model=Noisy(), **how)
    for half in (range(0, documents, 2), range(1, documents, 2)):
        pages = []
        for number in half:
            for at in range(1, 2 + number % 4):
                words = chance.choice(WORDS, chance.integers(1, 40)).tolist()
                made = page(f"{number}.pdf", at, words, plain=number % 4 == 3)
                pages.append(replace(made, metadata={"year": 2015 + number}))
        retriever.add_pages(pages, metadata={"tags": ["odd"] if half[0] else ["even", 2]}, pictures=False)
    return retriever


def export_stopped(index, engine):
    """Export an index, but stop behind its sixth page."""

    class Stopped(Exception):
        pass

    def stop(done, pages):
        if done == 7:
            raise Stopped

    with pytest.raises(Stopped):
        _export.export(index, engine, progress=stop)


def assert_alike(got, expected):
    """The same hits in the same order; only the last bits of float32 may differ, as with another order of a sum."""
    assert [[hit.ref for hit in hits] for hits in got] == [[hit.ref for hit in hits] for hits in expected]
    for one, other in zip(chain(*got), chain(*expected), strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert dict(one.scores) == pytest.approx(dict(other.scores), abs=1e-5)
        assert one.relevance == pytest.approx(other.relevance, abs=2e-4)
        loose = {"score": 0, "scores": {}, "relevance": None}
        assert replace(one, **loose) == replace(other, **loose)
