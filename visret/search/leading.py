"""The questions for which BM25 gets the larger weight, if a search names no way of ranking.

A model splits words that it was not trained on, such as those of another language, identifiers and code, into many
small pieces, or cannot read them at all. Their vectors have little meaning, but the words can still be compared.
"""

from __future__ import annotations

import re

from visret.choices import BM25, LATE
from visret.search.plans import Plan
from visret.types import QueryEmbedding

PIECES_A_WORD = 1.65
"""The model knows little of a question that it splits into more word pieces than this for each word.

all-minilm-l6-v2 splits English questions into 1.3 pieces a word on average, and French, Portuguese, Italian and Czech
ones into 1.7 to 2.1 (`python tests/benchmarks/many.py FOLDER`).
"""
LEAST_READ = 0.5  # the share of a question's characters that some piece must stand for

PLAN = Plan({BM25: 0.8, LATE: 0.2})
"""The way of ranking for such questions: vectors decide between pages that BM25 ranks about equally."""

_WORD = re.compile(r"\w+")


def knows_little(query: QueryEmbedding) -> bool:
    """Return whether a model that reads words knows little of a question."""
    words = _WORD.findall(query.text)
    pieces = [token for token, named in zip(query.tokens, query.content, strict=True) if named]
    if not words:
        return False
    if len(pieces) > PIECES_A_WORD * len(words):
        return True
    read = sum(len(part) for token in pieces for part in _WORD.findall(token))
    return read < LEAST_READ * sum(map(len, words))
