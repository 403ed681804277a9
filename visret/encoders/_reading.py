"""Texts as word pieces that know their words, and the windows they are read in. This needs a tokenizer but no model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from tokenizers import Tokenizer

WORD = re.compile(r"\S+")  # words as str.split() has them
Made = TypeVar("Made")
_SPACE = re.compile(r"\s")
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, from a broken text layer; no tokenizer accepts it


SENTENCE_WINDOW = {"window_words": 150, "window_pieces": 400}
"""The most words and pieces of the windows in which sentence models read a page."""

_BATCH_PIECES = 2048  # enough to keep the cores busy, few enough for their caches


class Reading(NamedTuple):
    """A text of n word pieces in w words.

    ids, starts, ends, words: (n,) int; the id of each piece, its first character in the text and the one behind it, and
        the number of its word.
    spans: the first character of each of the w words in the text, and the one behind it.
    head, tail: the ids around the pieces, which are prompt and markers.
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
        """Return the ids of a window of pieces, with head and tail."""
        return [*self.head, *self.ids[window].tolist(), *self.tail]

    def without_unknown(self, text: str) -> Reading:
        """Return the reading of a question without the pieces that stand for no word; itself if all are known.

        An unknown piece is like every other unknown piece and says nothing. The same goes for a single character beside
        one in its word, which a tokenizer leaves of a word in a script that it hardly knows, and for punctuation if
        nothing else is left.
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
    """Tokenize a text. A word that the tokenizer drops, of control characters, becomes one piece that is not known.

    unknown: the id for what the tokenizer does not know; None if it has no such id, and 0 stands for dropped words.
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
    # A piece belongs to the word of its last character: some tokenizers count the space before a word as part of its
    # first piece.
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
    """Cut the pieces into windows without overlap, between words unless one word has more than `most_pieces`."""
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


def uncut(tokenizer: Tokenizer) -> Tokenizer:
    """Have a tokenizer neither cut nor fill texts, and take "[SEP]" on a page for a word; return it."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def in_batches(
    encode: Callable[[list[list[int]]], Sequence[Made]], sequences: Sequence[list[int]], threads: int
) -> list[Made]:
    """Return what is made of each sequence, in their order.

    encode: makes something of each of several sequences. It gets those of similar length together, the longest first,
    so that little is padded. threads: how many call it at once; 0 for this thread alone.
    """
    batches = []
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    while order:
        count = max(1, _BATCH_PIECES // len(sequences[order[0]]))
        batches.append(order[:count])
        order = order[count:]
    given = [[sequences[i] for i in batch] for batch in batches]
    if threads:
        from visret.encoders import _torch

        made = _torch.spread(encode, given, threads)
    else:
        made = [encode(batch) for batch in given]
    out = {i: one for batch, some in zip(batches, made, strict=True) for i, one in zip(batch, some, strict=True)}
    return [out[i] for i in range(len(sequences))]
