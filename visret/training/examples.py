"""Examples to train on, out of an index: pairs, pages that are nearly right, and what a better model says of them.

The index's own model ranks its pages for the question of each pair. The first pages besides the right one are hard
negatives, each by its window that has most words of the question. A teacher, which is slower and better, may score
them: with its scores a page that answers as well counts as such, though no pair says so (denoised supervision,
ColBERTv2). A model that looks at pages learns from their pictures; the words of a page, as one window, are what
questions are made of and what a teacher reads.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from visret.encoders import load_encoder
from visret.encoders.colbert import ColbertEncoder
from visret.errors import InvalidArgument
from visret.index import PageIndex
from visret.index.snapshot import Snapshot
from visret.models import registry
from visret.rerankers import load_reranker
from visret.retriever import Retriever
from visret.training.pairs import Pair, TextPage, index_pairs, pairs_of
from visret.types import Encoder, Page, PageEmbedding, PageRef, Reranker

__all__ = ["Example", "Teacher", "examples_of", "loaded_teacher", "windows_of"]

_HELD_OUT = 10  # one document in so many, or one page where there are few documents
_FEW = 8
_LOOKED_AT = 3  # ranked pages for each negative that is wanted: some have no words, or are the right one
_ASKED = 64  # questions that are ranked at once
_AT_ONCE = 64  # pages that a teacher is given at once: pictures may be large


@dataclass(frozen=True)
class Example:
    """A pair with its hard negatives.

    question: what is asked. texts: the right text first, then the negatives; none for a model that looks at pages.
    pages: the page of each text, as "document:number". scores: what the teacher says of each, or None. kind: of the
    pair. held_out: whether it is kept to measure, and not learned from.
    """

    question: str
    texts: tuple[str, ...]
    pages: tuple[str, ...]
    scores: tuple[float, ...] | None
    kind: str
    held_out: bool

    @property
    def refs(self) -> tuple[PageRef, ...]:
        """The pages."""
        named = (page.rpartition(":") for page in self.pages)
        return tuple(PageRef(doc, int(number)) for doc, _, number in named)


class Text(NamedTuple):
    """A text of a page, as a teacher reads it."""

    text: str
    ref: PageRef


class Teacher(Protocol):
    """The protocol of what scores texts, or the pages that they stand on, for questions."""

    def __call__(self, questions: Sequence[str], texts: Sequence[Sequence[Text]]) -> list[tuple[float, ...]]:
        """Return the score of each text of each question; larger is better."""


def examples_of(
    retriever: Retriever,
    *,
    most: int,
    negatives: int,
    seed: int,
    teacher: Teacher | None = None,
    writer: Callable[[str], str] | None = None,
    written: int = 0,
    done: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[list[Example]]:
    """Yield the examples of an index, some at a time, held-out ones among them.

    most: how many at most; kinds that are rare go first. negatives: how many for each pair. writer: writes a question
    for a text; it is asked about at most `written` windows. done: how many to leave out, since an earlier call made
    them. progress: called with how many are made, and of how many.

    Raises InvalidArgument if the pages give no pairs to learn from, or none to measure.
    """
    rng = random.Random(seed)
    windows, looks = windows_of(retriever), looks_at_pages(retriever)
    pages = _pages(retriever._index.snapshot, windows)
    pairs = [pair for page in pages for pair in pairs_of(page, rng)] + index_pairs(pages)
    if writer is not None:
        pairs += _written(pages, writer, written, rng)
    by_ref = {page.ref: page for page in pages}
    if looks:  # the whole page is what the model is shown
        pairs = [pair._replace(text=by_ref[pair.ref].windows[0]) for pair in pairs]
    pairs = _chosen(list(dict.fromkeys(pairs)), most, rng)
    held = _held_out({pair.ref for pair in pairs})
    if not any(pair.ref in held for pair in pairs) or all(pair.ref in held for pair in pairs):
        raise InvalidArgument(
            f"{len(pages)} pages with words give {len(pairs)} questions to learn from, and some have to be kept to "
            "measure: index more documents with running text"
        )
    for start in range(done, len(pairs), _ASKED):
        some = pairs[start : start + _ASKED]
        asked = [pair.question for pair in some]
        with _unsaid():
            ranked = retriever.search_many(asked, k=negatives * _LOOKED_AT + 1)
        chosen = [
            _with_negatives(pair, [by_ref[hit.ref] for hit in hits if hit.ref in by_ref], negatives, pages)
            for pair, hits in zip(some, ranked, strict=True)
        ]
        scores = [None] * len(some) if teacher is None else teacher(asked, chosen)
        yield [
            Example(
                pair.question,
                () if looks else tuple(text for text, _ in one),
                tuple(f"{doc}:{number}" for _, (doc, number) in one),
                said,
                pair.kind,
                pair.ref in held,
            )
            for pair, one, said in zip(some, chosen, scores, strict=True)
        ]
        if progress is not None:
            progress(start + len(some), len(pairs))


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep warnings about questions to itself: nobody typed these, and there are thousands."""
    logger = logging.getLogger("visret")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _with_negatives(pair: Pair, ranked: Sequence[TextPage], count: int, pages: Sequence[TextPage]) -> list[Text]:
    """Return the text of a pair and those of other pages, each with its page: those that rank first, then any."""
    others = [page for page in ranked if page.ref != pair.ref][:count]
    rng = random.Random(pair.question)
    rest = [page for page in pages if page.ref != pair.ref and page not in others] if len(others) < count else []
    others += rng.sample(rest, min(count - len(others), len(rest)))
    while len(others) < count:  # an index of a few pages
        others.append(rng.choice(others or list(pages)))
    return [Text(pair.text, pair.ref), *(Text(_nearest(pair.question, page), page.ref) for page in others)]


def loaded_teacher(name: str, retriever: Retriever) -> Teacher:
    """Load a teacher by name or folder: a model of token vectors, or a reranker.

    It reads texts or, if the model of the index looks at pages, may look at their pictures. Raises InvalidArgument for
    other models.
    """
    spec = registry.resolve(name)
    seen = spec.modality == "image"
    if spec.task not in ("encode", "rerank") or (seen and not looks_at_pages(retriever)):
        raise InvalidArgument(
            f"{spec.name} cannot teach {retriever.model}: a teacher is a text model of token vectors, or a text "
            "reranker; or, for a model that looks at pages, one that does so too"
        )

    def read(text: Text) -> Page:
        return retriever.page(text.ref) if seen else Page.from_text(text.text, doc="text")

    return _by_reranker(load_reranker(name), read) if spec.task == "rerank" else _by_vectors(load_encoder(name), read)


def _by_reranker(reranker: Reranker, read: Callable[[Text], Page]) -> Teacher:
    def score(questions: Sequence[str], texts: Sequence[Sequence[Text]]) -> list[tuple[float, ...]]:
        asked = zip(questions, texts, strict=True)
        return [tuple(reranker.scores(question, list(map(read, some))).tolist()) for question, some in asked]

    return score


def _by_vectors(encoder: Encoder, read: Callable[[Text], Page]) -> Teacher:
    """Score by the mean over the question's vectors of the best product with a text's vectors."""

    def score(questions: Sequence[str], texts: Sequence[Sequence[Text]]) -> list[tuple[float, ...]]:
        each = list(dict.fromkeys(text for some in texts for text in some))
        vectors: dict[Text, PageEmbedding] = {}
        for start in range(0, len(each), _AT_ONCE):
            batch = each[start : start + _AT_ONCE]
            vectors.update(zip(batch, encoder.encode_pages(list(map(read, batch))), strict=True))
        asked = [question.vectors.T for question in encoder.encode_queries(questions)]
        return [
            tuple(float((vectors[text].vectors @ columns).max(axis=0).mean()) for text in some)
            for columns, some in zip(asked, texts, strict=True)
        ]

    return score


def looks_at_pages(retriever: Retriever) -> bool:
    """Return whether the model of an index looks at pages as patches."""
    from visret.encoders._patches import PatchEncoder

    return isinstance(retriever.encoder, PatchEncoder)


def windows_of(retriever: Retriever) -> Callable[[str], list[str]]:
    """Return what cuts a text into the windows that the model of an index reads; one that looks at pages has one.

    Raises InvalidArgument for an index, or a model, that cannot be trained on.
    """
    if not isinstance(retriever._index, PageIndex):
        raise InvalidArgument("training reads the pages of one index: give the folder of the index itself")
    encoder = retriever.encoder
    if isinstance(encoder, ColbertEncoder):
        return encoder.windows
    if looks_at_pages(retriever):
        return lambda text: [whole] if (whole := " ".join(text.split())) else []
    raise InvalidArgument(
        f"{retriever.model} cannot be trained here: visret trains text models of token vectors, and models that look "
        "at pages as patches, such as colqwen2"
    )


def _pages(snapshot: Snapshot, windows: Callable[[str], list[str]]) -> list[TextPage]:
    pages = []
    for document in snapshot.documents():
        for number in document.pages:
            ref = PageRef(document.doc, number)
            place = snapshot.find(ref)
            text, boxes = snapshot.words(*place)
            pages.append(TextPage(ref, text, boxes, snapshot.size_pt(*place), windows(text)))
    return [page for page in pages if page.windows]


def _chosen(pairs: list[Pair], most: int, rng: random.Random) -> list[Pair]:
    """Return at most so many pairs, in random order: those of rare kinds first, and as many of each other kind."""
    rng.shuffle(pairs)
    seen: Counter[str] = Counter()
    ranks = []
    for pair in pairs:
        ranks.append(seen[pair.kind])
        seen[pair.kind] += 1
    order = sorted(range(len(pairs)), key=ranks.__getitem__)[:most]
    return [pairs[at] for at in sorted(order)]


def _written(pages: Sequence[TextPage], writer: Callable[[str], str], most: int, rng: random.Random) -> list[Pair]:
    windows = [(page.ref, " ".join(window.split())) for page in pages for window in page.windows]
    some = rng.sample(windows, min(most, len(windows)))
    return [Pair(question, text, ref, "written") for ref, text in some if (question := writer(text))]


def _held_out(refs: set[PageRef]) -> set[PageRef]:
    """Return the pages that are only measured on. They depend on names alone, and so stay the same from run to run."""
    docs = {ref.doc for ref in refs}

    def key(ref: PageRef) -> str:
        named = ref.doc if len(docs) >= _FEW else f"{ref.doc}:{ref.page}"
        return hashlib.sha256(named.encode("utf8", "replace")).hexdigest()

    keys = sorted({key(ref) for ref in refs})
    kept = set(keys[: -(-len(keys) // _HELD_OUT)])
    return {ref for ref in refs if key(ref) in kept}


def _nearest(question: str, page: TextPage) -> str:
    """Return the window of a page with most words of the question."""
    asked = set(question.casefold().split())
    return " ".join(max(page.windows, key=lambda window: len(asked & set(window.casefold().split()))).split())
