"""A text as word pieces that know their words, and the windows it is read in. Needs no model, only its tokenizer."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

WORD = re.compile(r"\S+")  # as str.split() sees words
_SPACE = re.compile(r"\s")
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, from a broken text layer: no tokenizer takes it


class Reading(NamedTuple):
    """A text of n word pieces in w words.

    ids, starts, ends, words: (n,) int; of each piece its id, its characters in the text, and the number of its word.
    spans: of each of the w words, its characters in the text.
    head, tail: the ids around the pieces: prompt and markers.
    known: (n,) bool; False for pieces that the tokenizer has no id for.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    words: np.ndarray
    spans: list[tuple[int, int]]
    head: list[int]
    tail: list[int]
    known: np.ndarray

    def framed(self, window: slice) -> list[int]:
        """The ids of a window of pieces, with head and tail."""
        return [*self.head, *self.ids[window].tolist(), *self.tail]

    def without_unknown(self, text: str) -> Reading:
        """The reading of a question without the pieces that stand for no word; itself, where all are known.

        An unknown piece is like every other unknown piece and says nothing. Nor does a single character beside one in
        its word, which is what a tokenizer leaves of a word in a script that it hardly knows; nor does punctuation,
        where nothing else is left.
        """
        if self.known.all():
            return self
        broken = np.isin(self.words, self.words[~self.known])
        pieces = [text[start:end].strip() for start, end in zip(self.starts, self.ends, strict=True)]
        kept = self.known & ~(broken & np.array([len(piece) < 2 for piece in pieces], bool))
        if not any(
            character.isalnum() for piece, keep in zip(pieces, kept, strict=True) if keep for character in piece
        ):
            kept[:] = False
        ids, starts, ends, words, known = (
            array[kept] for array in (self.ids, self.starts, self.ends, self.words, self.known)
        )
        return self._replace(ids=ids, starts=starts, ends=ends, words=words, known=known)


def read(tokenizer: Tokenizer, text: str, *, prompt: str, unknown: int | None) -> Reading:
    """Tokenize a text. A word that the tokenizer drops (control characters) becomes one piece that is not known.

    unknown: the id of what the tokenizer does not know; None where it has no such id, and 0 stands for dropped words.
    """
    encoding = tokenizer.encode(prompt + _SURROGATE.sub("\ufffd", _SPACE.sub(" ", text)))
    ids, special = np.array(encoding.ids), np.array(encoding.special_tokens_mask, bool)
    starts, ends = np.array(encoding.offsets).T - len(prompt)
    inside = np.flatnonzero(~special & (ends > 0))
    if len(inside):
        first, last = int(inside[0]), int(inside[-1]) + 1
    else:
        first = last = int(np.flatnonzero(special)[-1]) if special.any() else len(ids)
    head, tail = ids[:first].tolist(), ids[last:].tolist()
    ids, starts, ends = ids[first:last], np.maximum(starts[first:last], 0), ends[first:last]
    known = np.ones(len(ids), bool) if unknown is None else ids != unknown

    spans = [match.span() for match in WORD.finditer(text)]
    # by its last character: some tokenizers count the space before a word as part of its first piece
    words = np.searchsorted([start for start, _ in spans], np.maximum(starts, ends - 1), side="right") - 1
    dropped = np.setdiff1d(np.arange(len(spans)), words)
    if len(dropped):
        at = np.searchsorted(words, dropped)
        ids = np.insert(ids, at, unknown or 0)
        known = np.insert(known, at, False)
        starts = np.insert(starts, at, [spans[word][0] for word in dropped])
        ends = np.insert(ends, at, [spans[word][1] for word in dropped])
        words = np.insert(words, at, dropped)
    return Reading(ids, starts, ends, words, spans, head, tail, known)


def windows(reading: Reading, *, most_words: int, most_pieces: int) -> list[slice]:
    """The pieces of each window, without overlap: whole words, unless one word alone has more than `most_pieces`."""
    first_pieces = np.searchsorted(reading.words, np.arange(len(reading.spans) + 1)).tolist()
    out = []
    begin = words = 0
    for first, end in pairwise(first_pieces):
        if first > begin and (words == most_words or end - begin > most_pieces):
            out.append(slice(begin, first))
            begin, words = first, 0
        while end - begin > most_pieces:
            out.append(slice(begin, begin + most_pieces))
            begin += most_pieces
        words += 1
    return [*out, slice(begin, len(reading.ids))]
