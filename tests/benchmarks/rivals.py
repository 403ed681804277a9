"""What visret is compared with on the same questions, as systems of `visret.evaluate`: BM25, and pooled vectors.

pip install -e ".[bench]"
"""

from __future__ import annotations

import numpy as np

from visret import PageRef, Retriever
from visret.encoders._torch import quiet
from visret.evaluate import Found, System
from visret.models import registry, weights

POOLED = "all-minilm-l6-v2"
WORDS = 180  # of a chunk
CHUNKS = 200  # the best ones, of which pages are made


def texts_of(retriever: Retriever) -> dict[PageRef, str]:
    """The words of every page as they are indexed, those that OCR read among them."""
    documents = map(retriever.document, retriever.documents())
    refs = [PageRef(document.doc, page) for document in documents for page in document.pages]
    return {ref: retriever.read(ref, picture=False)[0].text for ref in refs}


def bm25(pages: dict[PageRef, str], name: str = "BM25 on the text layer") -> System:
    """BM25 (bm25s with its defaults, English stop words) on the words of pages."""
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(pages.values()), stopwords="en", show_progress=False), show_progress=False)
    refs = list(pages)

    def rank(questions, k):
        asked = bm25s.tokenize([question.text for question in questions], stopwords="en", show_progress=False)
        found, scores = index.retrieve(asked, k=min(k, len(refs)), show_progress=False)
        lines = zip(found.tolist(), scores.tolist(), strict=True)
        return [[Found(*refs[i], s) for i, s in zip(*line, strict=True) if s > 0] for line in lines]

    return System(name, rank)


def pooled(pages: dict[PageRef, str], name: str = f"the same model, a vector for each {WORDS} words") -> System:
    """The default's own model as it is usually used: a vector for each 180 words; a page has its best chunk's score."""
    with quiet():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(weights.location(registry.get(POOLED)).path), device="cpu")
    chunks = [
        (ref, " ".join(text.split()[at : at + WORDS]))
        for ref, text in pages.items()
        for at in range(0, max(1, len(text.split())), WORDS)
    ]
    vectors = model.encode([text for _, text in chunks], batch_size=32, normalize_embeddings=True)

    def rank(questions, k):
        asked = model.encode([question.text for question in questions], normalize_embeddings=True)
        found = []
        for scores in asked @ vectors.T:
            best: dict[PageRef, float] = {}
            for i in np.argsort(-scores, kind="stable")[: max(k, CHUNKS)]:
                best.setdefault(chunks[i][0], float(scores[i]))
            found.append([Found(*ref, score) for ref, score in best.items()])
        return found

    return System(name, rank, vectors.nbytes / len(pages))
