"""The terms of a text, which BM25 counts on pages and looks up for a question.

A term is a word without case and accents. A compound without spaces, such as `install.packages`, `--no-ff` or
`E-1042`, gives several terms: its words, each pair of neighbouring words with the signs that join them, and the whole.
So it is found as it is typed, and by its words. Scripts that put no spaces between words (Chinese, Japanese, Korean,
Thai, Lao, Khmer, Burmese) give every pair of neighbouring letters.

Words are not stemmed and stop words are kept, since neither stemming nor a list of stop words helped on the questions
of tests/benchmarks/lexical.py.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import NamedTuple

VERSION = 1
"""The number of these rules: raise it when other terms are made of a text, so that stores are told from older ones."""

MAX_TERM = 64
"""The longest term in characters: a longer word is cut, and a longer compound has only its words and pairs."""

# Scripts without spaces, and Korean, whose particles join the words: Thai, Lao, Burmese, Khmer, Hangul, Kana, Han.
_PAIRED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ece\u1000-\u103f\u1050-\u108f\u1780-\u17d3\u1100-\u11ff"
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U000323af"
)
# Accents of Latin, Greek and Cyrillic; the points of Hebrew; the short vowels of Arabic; selectors of a glyph.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670\ufe00-\ufe0f]+"
)
_SAME = {
    **dict.fromkeys("\u2010\u2011\u2012\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u02bc", "'"),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),  # nothing is seen of them
}
_ALIKE = re.compile(f"[{''.join(_SAME)}]")
_BROKEN = re.compile("([\u3005-\u30ff\u3400-\u9fff])[ ]?\n(?=[\u3005-\u30ff\u3400-\u9fff])")  # a line ends, no word

_BEFORE = r"(?:(?<![^\s(\[{<\"',;|=])(?:--?|__?|[$@#.%&~/\\+]))?"  # as in --no-ff, $HOME, .NET, \section
_AFTER = r"(?:(?:\+\+?|#|__?)(?![^\s)\]}>\"',;|.:?!]))?"  # as in C++ and F#
_DIVIDED = "-\0"  # a hyphen at the end of a line
_JOINT = r"(?:[-_./\\:@#&+='~%]{1,3}|(?<=[0-9]),(?=[0-9]))"
_JOINTS = re.compile(f"({_JOINT})")

# What a question has beside words.
_QUOTED = re.compile(  # after a space: in print("x") it is code, in 5" an inch
    r"""(?<!\S)(?:"([^"]*)"|\u201c([^\u201c\u201d]*)\u201d|\u201e([^\u201c\u201e]*)\u201c|\u00ab([^\u00ab\u00bb]*)\u00bb)(?!\w)"""
)
_STAR = re.compile(r"(?<![\s*])\*(?!\S)")


class Asked(NamedTuple):
    """The terms, prefixes and phrases of a question, by which pages are looked up.

    terms: those of its words, each as often as the question has it. prefixes: beginnings of terms, from `word*`.
    phrases: texts in quotes that have a word; only pages that contain all of them are found.
    """

    terms: tuple[str, ...]
    prefixes: tuple[str, ...]
    phrases: tuple[str, ...]


def folded(text: str) -> str:
    """Return a text without case, accents and invisible characters, with ligatures and wide letters as plain ones."""
    if text.isascii():
        return text.lower()
    text = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    text = _ALIKE.sub(lambda found: _SAME[found[0]], text)  # in a tenth of the time of str.translate
    return _BROKEN.sub(r"\1", unicodedata.normalize("NFC", text.casefold()))


def of_page(text: str) -> list[str]:
    """Return the terms of a page's text in order, each as often as it occurs."""
    found: list[str] = []
    for chunk in folded(text).replace("-\n", _DIVIDED).split():
        if len(chunk) > MAX_TERM:
            found += _terms(chunk)
        elif chunk.isalnum() and chunk.isascii():
            found.append(chunk)
        else:
            found += _known(chunk)
    return found


def _terms(chunk: str) -> list[str]:
    """Return the terms of a piece of a page's text that has no spaces."""
    if _DIVIDED in chunk:  # at the end of a line, with a hyphen of its own or of the word
        lines = chunk.split(_DIVIDED)
        found = [term for part in (*lines, "-".join(lines), "".join(lines)) for term in _terms(part)]
        return list(dict.fromkeys(found))
    found = []
    for before, word, after, paired in _pattern(chunk.isascii()).findall(chunk):
        if paired:
            found += [paired[at : at + 2] for at in range(len(paired))]  # the last letter begins a pair, too
        else:
            found += _compound(before, word, after)
    return found


_known = lru_cache(maxsize=1 << 15)(_terms)  # a page repeats much of what stood on others


@lru_cache(maxsize=256)
def of_question(text: str) -> Asked:
    """Return the terms, prefixes and phrases of a question."""
    terms: list[str] = []
    prefixes: list[str] = []
    phrases: list[str] = []

    def quoted(match: re.Match[str]) -> str:
        phrase = next(filter(None, match.groups()), "")
        phrases.extend([phrase] if parts_of(phrase) != ([], []) else [])
        return f" {phrase} ".replace("*", " ")

    for chunk in re.split(r"(\S+)", folded(_QUOTED.sub(quoted, text))):
        starred = _STAR.search(chunk) is not None
        found = _pattern(chunk.isascii()).findall(chunk)
        for number, (before, word, after, paired) in enumerate(found, 1):
            if starred and number == len(found):
                prefixes.append((paired or before + word)[:MAX_TERM])
            elif paired:
                terms += _pairs(paired)
                prefixes += [paired] if len(paired) == 1 else []
            else:
                terms += _compound(before, word, after)
    return Asked(tuple(terms), tuple(prefixes), tuple(phrases))


def parts_of(phrase: str) -> tuple[list[str], list[str]]:
    """Return the terms, and the beginnings of terms, that every page with this phrase has."""
    terms: list[str] = []
    prefixes: list[str] = []
    phrase = folded(phrase)
    for _, word, _, paired in _pattern(phrase.isascii()).findall(phrase):
        terms += _pairs(paired) if paired else _parts(word)
        prefixes += [paired] if len(paired) == 1 else []
    return terms, prefixes


@lru_cache(maxsize=256)
def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Return the pattern of a phrase in a folded text: its words in order, with no other word between.

    Signs within a word must match, as in `install.packages`; signs between words are ignored.
    """
    words = []
    phrase = folded(phrase)
    for before, word, after, paired in _pattern(phrase.isascii()).findall(phrase):
        typed = re.escape(paired or before + word + after)
        words.append(typed if paired else rf"(?<![^\W_{_PAIRED}]){typed}(?![^\W_{_PAIRED}])")
    return re.compile(r"[\W_]*".join(words))


def _pairs(letters: str) -> list[str]:
    """Return the pairs of neighbouring letters; none for a single letter, which becomes a prefix."""
    return [letters[at : at + 2] for at in range(len(letters) - 1)]


def _parts(word: str) -> list[str]:
    """Return the words of a compound."""
    return [part[:MAX_TERM] for part in _JOINTS.split(word)[::2]]


def _compound(before: str, word: str, after: str) -> list[str]:
    """Return the terms of a compound: words, joined neighbours, the whole, and the whole with the signs around it."""
    pieces = _JOINTS.split(word)
    found = [part[:MAX_TERM] for part in pieces[::2]]
    if len(pieces) > 3:
        found += ["".join(pieces[at : at + 3]) for at in range(0, len(pieces) - 2, 2)]
    if len(pieces) > 1:
        found.append(word)
    if before or after:
        found.append(before + word + after)
    return [term for term in found if len(term) <= MAX_TERM]


@cache
def _pattern(is_ascii: bool) -> re.Pattern[str]:
    """Return the pattern of words in a folded text, of (signs before, word, signs after, letters without spaces)."""
    if is_ascii:
        letters = "[a-z0-9]+"
    else:
        marks = "".join(c for c in map(chr, range(0x370, 0x10000)) if unicodedata.category(c)[0] == "M")
        marks = re.sub(f"[{_PAIRED}]", "", marks)
        letters = rf"[^\W_{_PAIRED}]+(?:[{marks}]+[^\W_{_PAIRED}]*)*"
    return re.compile(f"({_BEFORE})({letters}(?:{_JOINT}{letters})*)({_AFTER})|([{_PAIRED}]+)")
