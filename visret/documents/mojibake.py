"""Letters that a PDF's table of characters holds as UTF-8, where UTF-16 belongs: read so, Cyrillic is Korean."""

from __future__ import annotations

import numpy as np

_FIRST, _LAST = 0xC380, 0xD7BF  # two bytes of UTF-8 as one unit of UTF-16, below the surrogates: é to ׿
_HANGUL = 0xAC00
_FEWEST = 8  # letters: of eight Korean syllables all look so once in 65,000 texts


def repaired(codes: np.ndarray) -> np.ndarray:
    """(n,) uint32 characters, as they are, or with pairs of UTF-8 bytes made letters.

    They are where a page has no Korean syllable that is not such a pair, as the low byte of three in four is.
    """
    if not len(codes) or int(codes.max()) < _FIRST:
        return codes
    korean = (codes >= _HANGUL) & (codes <= _LAST)
    pairs = korean & (codes >= _FIRST) & (codes & 0xC0 == 0x80)
    if int(pairs.sum()) < _FEWEST or bool((korean & ~pairs).any()):
        return codes
    return np.where(pairs, (codes >> 8 & 0x1F) << 6 | codes & 0x3F, codes).astype(codes.dtype)
