"""The questions for which other things than late interaction lead, if a search names no way of ranking.

A model splits words that it was not trained on, such as those of another language, identifiers and code, into many
small pieces, or cannot read them at all. Their vectors have little meaning, but the words can still be compared; and so
can the single vectors of an added model that reads many languages (its option `leads`).
"""

from __future__ import annotations

import re

from visret.choices import BM25, DENSE, LATE
from visret.search.plans import Plan
from visret.types import QueryEmbedding

PIECES_A_WORD = 1.45
"""The model knows little of a question that it splits into more pieces of words than this for each word.

all-minilm-l6-v2 splits the English questions of three sets into 1.07 to 1.27 pieces a word on average, and French,
Spanish and German ones into 1.65 to 2.16 (`languages.py`, `quality.py` and `faqs.py` in tests/benchmarks/). Punctuation
does not count: `print()`, "$array[1]" and C:\\temp are in English questions.
"""
LEAST_READ = 0.5  # the share of a question's characters that some piece must stand for

PLAN = Plan({BM25: 0.8, LATE: 0.2})
"""The way of ranking for such questions: vectors decide between pages that BM25 ranks about equally."""

WITH_MODEL = Plan({BM25: 0.4, DENSE: 0.5, LATE: 0.1})
"""The same where a model that leads was added (docs/log.md)."""

_WORD = re.compile(r"\w+")


def knows_little(query: QueryEmbedding) -> bool:
    """Return whether a model that reads words knows little of a question."""
    words = _WORD.findall(query.text)
    pieces = [token for token, named in zip(query.tokens, query.content, strict=True) if named]
    if not words:
        return False
    parts = [_WORD.findall(token) for token in pieces]
    if sum(map(bool, parts)) > PIECES_A_WORD * len(words):
        return True
    read = sum(len(part) for found in parts for part in found)
    return read < LEAST_READ * sum(map(len, words))
