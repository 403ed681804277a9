"""How much texts look like words of a language, without a dictionary: by their letters, three at a time.

`_letters.bin` holds a bit for each of 27 x 27 x 27 triples of letters (a to z without accents, and the edge of a word):
1 where it is usual in one of 23 languages that are written in Latin letters (tests/benchmarks/letters.py makes it). Of
the triples of running text 97 % are usual, of those of text in cipher about half. Letters of other scripts count for
nothing.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visret import registry

FILE = Path(__file__).with_suffix(".bin")
EDGE, DIGIT, SIGN, OTHER = 26, 27, 28, 29  # EDGE: what divides words or their parts; OTHER: letters of other scripts
_BETWEEN = " -'’‘.,/_:;()[]\"“”„«»–—\u00ad\t\n"
_WRITTEN_OUT = {"æ": "a", "œ": "o", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "t", "ß": "s", "ı": "i"}
_KINDS = 30
_KNOWN = 0x1F00  # where the letters of Latin script end, but for rare ones


class Look(NamedTuple):
    """Of n texts: usual triples of letters, and all of them; each (n,) int."""

    usual: np.ndarray
    all: np.ndarray

    @property
    def share(self) -> float:
        """Of the usual ones; 1 where there are none at all."""
        return float(self.usual.sum() / self.all.sum()) if self.all.any() else 1.0


def look(texts: Sequence[str]) -> Look:
    """How usual the letters of texts are.

    A sign amid a word is as unusual as a triple can be, and so is a digit between two letters, or a letter between two
    signs; hyphens, apostrophes, full stops and the like divide words.
    """
    if not texts:
        return Look(np.zeros(0, int), np.zeros(0, int))
    kinds = kinds_of(" " + " ".join(texts) + " ").astype(np.int32)
    worth = _worth()[(kinds[:-2] * _KINDS + kinds[1:-1]) * _KINDS + kinds[2:]]
    starts = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
    return Look(*(np.add.reduceat(which, starts, dtype=int) for which in (worth == 1, worth > 0)))


def is_other(text: str) -> bool:
    """Whether most of its letters are those of another script than Latin."""
    kinds = kinds_of(text)
    return bool((kinds == OTHER).sum() > (kinds < EDGE).sum())


def known(words: Sequence[str]) -> np.ndarray:
    """(n,) bool: whether each is a word of the vocabulary of the default model, of three letters or more.

    They are 22,000 words, most of them English, all without accents.
    """
    return np.array([len(plain) > 2 and plain in _vocabulary() for plain in map(plain_word, words)], bool)


def plain_word(word: str) -> str:
    """In small letters without accents, and without what stands before and after it."""
    spelled = unicodedata.normalize("NFKD", word.lower())
    letters = "".join(c for c in spelled if not unicodedata.combining(c))
    return letters.strip(_BETWEEN + "?!0123456789*%&§$")


@functools.cache
def _vocabulary() -> frozenset[str]:
    folder = registry.location(registry.get(registry.DEFAULT_MODEL)).path
    if folder is None or not (folder / "vocab.txt").exists():
        return frozenset()
    return frozenset(word for word in (folder / "vocab.txt").read_text("utf8").split("\n") if word.isalpha())


def kinds_of(text: str) -> np.ndarray:
    """(n,) uint8: the kind of each character."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return np.asarray(_table()[np.minimum(codes, _KNOWN)])


@functools.cache
def _worth() -> np.ndarray:
    """(_KINDS**3,) uint8: of each triple of kinds 1 if it is usual, 2 if not, 0 where it says nothing."""
    bits = np.unpackbits(np.frombuffer(FILE.read_bytes(), np.uint8), count=27**3).reshape(27, 27, 27)
    as_edge = np.minimum(np.arange(_KINDS), EDGE)
    worth = 2 - bits[np.ix_(as_edge, as_edge, as_edge)]
    before, here, after = np.ogrid[:_KINDS, :_KINDS, :_KINDS]
    said = (here < EDGE) & ((before < EDGE) | (after < EDGE))
    torn = (here == DIGIT) & (before < EDGE) & (after < EDGE)
    torn |= (here == SIGN) & (before != EDGE) & (after != EDGE) & ((before != SIGN) | (after != SIGN))
    torn |= (here <= DIGIT) & (here != EDGE) & (before == SIGN) & (after == SIGN)
    worth[~(said | torn) | (before == OTHER) | (here == OTHER) | (after == OTHER)] = 0
    worth[torn & (worth > 0)] = 2
    return np.asarray(worth.ravel())


@functools.cache
def _table() -> np.ndarray:
    """(_KNOWN + 1,) uint8: the kind of each character: its letter, 0 to 25, or EDGE, SIGN or OTHER."""
    return np.array([*map(kind, map(chr, range(_KNOWN))), OTHER], np.uint8)


def kind(character: str) -> int:
    """0 to 25 for a to z, whatever accent it has; EDGE, DIGIT, SIGN or OTHER."""
    plain = unicodedata.normalize("NFKD", character.lower())[:1]
    plain = _WRITTEN_OUT.get(plain, plain)
    if "a" <= plain <= "z":
        return ord(plain) - ord("a")
    if character in _BETWEEN:
        return EDGE
    if character.isdecimal():
        return DIGIT
    return OTHER if character.isalpha() or unicodedata.category(character).startswith("M") else SIGN
