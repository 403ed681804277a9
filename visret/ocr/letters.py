"""A measure of how much texts look like words of a language, without a dictionary: by letters, three at a time.

`letters.bin` holds a bit for each of 27 x 27 x 27 triples of letters (a to z without accents, and the edge of a word):
1 if it is usual in one of 30 languages that are written in Latin letters (tests/benchmarks/letters.py makes it). Of
the triples of running text 97 % are usual, of those of text in cipher about half. Letters of other scripts do not
count.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visret.models import registry, weights

FILE = Path(__file__).with_suffix(".bin")
EDGE, MARK, DIGIT, SIGN, OTHER = range(26, 31)  # white space, what divides words, digits, the rest, other scripts
_MARKS = "-'’‘.,/_:;()[]\"“”„«»–—\u00ad%"
_WRITTEN_OUT = {"æ": "a", "œ": "o", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "t", "ß": "s", "ı": "i"}
# The parts of a word, as "Declare" and "Input" of "DeclareInput"; none beside a digit, which may be a misread letter
_PARTS = re.compile(r"(?<!\d)(?:[A-Z]?[a-z]++|[A-Z]++|[^\W\d_a-zA-Z]++)(?!\d)")
_KINDS = 31
_KNOWN = 0x1F00  # where the letters of Latin script end, except rare ones


class LetterCounts(NamedTuple):
    """The counts of n texts, each (n,) int.

    usual, all: triples of letters. latin, other: letters of Latin script and of other scripts.
    """

    usual: np.ndarray
    all: np.ndarray
    latin: np.ndarray
    other: np.ndarray

    @property
    def share(self) -> float:
        """The share of the triples that are usual; 1 where there are none at all."""
        return float(self.usual.sum() / self.all.sum()) if self.all.any() else 1.0


def looks_right(texts: Sequence[str], least: float) -> bool:
    """Return, faster than `look`, whether so large a share of the triples is usual, and few letters have accents."""
    text = f" {' '.join(texts)} "
    worth = _worth_of(text)
    all_of_them = np.count_nonzero(worth)
    right = np.count_nonzero(worth == 1) >= least * all_of_them > 0
    return bool(right and (text.isascii() or np.count_nonzero(_codes(text) > 0x7F) < 0.5 * len(text)))


def look(texts: Sequence[str]) -> LetterCounts:
    """Count how usual the letters of texts are.

    A sign inside a word is as unusual as a triple can be, and so is a digit between two letters, or a letter or digit
    between two signs; hyphens, apostrophes, full stops and the like divide words.
    """
    if not texts:
        return LetterCounts(*[np.zeros(0, int)] * 4)
    text = f" {' '.join(texts)} "
    kinds, worth = kinds_of(text)[1:-1], _worth_of(text)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
    return LetterCounts(
        *(np.add.reduceat(which, starts, dtype=int) for which in (worth == 1, worth > 0, kinds < EDGE, kinds == OTHER))
    )


def _worth_of(text: str) -> np.ndarray:
    """Return the worth of each triple of a text, (n - 2,) uint8."""
    kinds = kinds_of(text).astype(np.int32)
    return np.asarray(_worth()[(kinds[:-2] * _KINDS + kinds[1:-1]) * _KINDS + kinds[2:]])


def share_other(text: str) -> float:
    """Return the share of a text's letters that belong to scripts other than Latin; 0 where it has no letters."""
    kinds = kinds_of(text)
    other = int((kinds == OTHER).sum())
    return other / max(1, other + int((kinds < EDGE).sum()))


def share_accented(text: str) -> float:
    """Return the share of a text's Latin letters that are not a to z; 0 where it has none."""
    codes, kinds = _codes(text), kinds_of(text)
    return float((codes[kinds < EDGE] > 0x7F).mean()) if (kinds < EDGE).any() else 0.0


def known(words: Sequence[str]) -> np.ndarray:
    """Return for each word whether the default model's vocabulary has it, or a longer part of it: (n,) bool.

    The vocabulary has 22,000 words, most of them English, all without accents. "DeclareInputText" and "well-known" have
    parts that it knows.
    """
    return np.array([_is_known(word) for word in words], bool)


def _is_known(word: str) -> bool:
    parts = [part.lower() for part in _PARTS.findall(_plain(word))]
    whole = "".join(parts)
    return (len(whole) > 2 and whole in _vocabulary()) or any(len(p) > 3 and p in _vocabulary() for p in parts)


def length(word: str) -> int:
    """Return how many letters a word has."""
    return len("".join(_PARTS.findall(_plain(word))))


def _plain(word: str) -> str:
    if word.isascii():
        return word
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))


@functools.cache
def _vocabulary() -> frozenset[str]:
    folder = weights.location(registry.get(registry.DEFAULT_MODEL)).path
    if folder is None or not (folder / "vocab.txt").exists():
        return frozenset()
    return frozenset(word for word in (folder / "vocab.txt").read_text("utf8").split("\n") if word.isalpha())


def kinds_of(text: str) -> np.ndarray:
    """Return the kind of each character, (n,) uint8."""
    return np.asarray(_table()[np.minimum(_codes(text), _KNOWN)])


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@functools.cache
def _worth() -> np.ndarray:
    """Return the worth of each triple of kinds, (_KINDS**3,) uint8: 1 if usual, 2 if not, 0 if it tells nothing."""
    bits = np.unpackbits(np.frombuffer(FILE.read_bytes(), np.uint8), count=27**3).reshape(27, 27, 27)
    as_edge = np.minimum(np.arange(_KINDS), EDGE)
    worth = 2 - bits[np.ix_(as_edge, as_edge, as_edge)]
    before, here, after = np.ogrid[:_KINDS, :_KINDS, :_KINDS]
    said = (here < EDGE) & ((before < EDGE) | (after < EDGE))
    torn = (here == DIGIT) & (before < EDGE) & (after < EDGE)
    torn |= (here == SIGN) & (before != EDGE) & (after != EDGE) & ((before != SIGN) | (after != SIGN))
    torn |= ((here < EDGE) | (here == DIGIT)) & (before == SIGN) & (after == SIGN)
    worth[~(said | torn) | (before == OTHER) | (here == OTHER) | (after == OTHER)] = 0
    worth[torn & (worth > 0)] = 2
    return np.asarray(worth.ravel())


@functools.cache
def _table() -> np.ndarray:
    """Return the kind of each character, (_KNOWN + 1,) uint8: its letter, 0 to 25, or one of the other kinds."""
    return np.array([*map(kind, map(chr, range(_KNOWN))), OTHER], np.uint8)


def kind(character: str) -> int:
    """Return the kind of a character: 0 to 25 for a to z, whatever accent it has, or one of the other kinds."""
    plain = unicodedata.normalize("NFKD", character.lower())[:1]
    plain = _WRITTEN_OUT.get(plain, plain)
    if "a" <= plain <= "z":
        return ord(plain) - ord("a")
    if character.isspace():
        return EDGE
    if character in _MARKS:
        return MARK
    if character.isdecimal():
        return DIGIT
    return OTHER if character.isalpha() or unicodedata.category(character).startswith("M") else SIGN
