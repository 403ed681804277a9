"""A check that the text of a document is on the pages that were made of it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

# Single letters of scripts that are written without blanks, and whole words of all others
_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af]|[^\W_\u2e80-\u9fff\uac00-\ud7af]+")
# Scripts whose letters take other forms in a PDF, or another order
COMPLEX = re.compile(r"[\u0590-\u08ff\u0900-\u0fff\u1000-\u109f\u1780-\u17ff\ufb1d-\ufdff\ufe70-\ufefc]")


def absent(texts: Iterable[str], words: Iterable[str]) -> list[str]:
    """Return the texts of which less than half the words are among `words`; each of those counts only once."""
    there = Counter(_words(" ".join(words)))
    found = []
    for text in texts:
        own = Counter(_words(text))
        if 2 * (own & there).total() < own.total():
            found.append(text)
        there -= own
    return found


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).replace("\u00ad", "").casefold()
    return _WORD.findall(COMPLEX.sub(" ", plain))
