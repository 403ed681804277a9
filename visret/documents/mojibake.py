"""Letters that a table of characters of a PDF holds in the wrong way: by it Cyrillic is Korean, and Latin Chinese."""

from __future__ import annotations

import numpy as np

_FIRST, _LAST = 0xC380, 0xD7BF  # two bytes of UTF-8 as one unit of UTF-16, below the surrogates: é to ׿
_HANGUL = 0xAC00
_FEWEST = 8  # letters: of eight Korean syllables all look like UTF-8 once in 65,000 texts


def repaired(codes: np.ndarray) -> np.ndarray:
    """(n,) uint32 characters, as they are; or what they are where the table of a font holds UTF-8, or swaps bytes.

    It holds UTF-8 where a page has no Korean syllable that is not a pair of such bytes, as the low byte of three in
    four is; and it swaps bytes where no letter of the page that would be Chinese has a low byte.
    """
    if not len(codes) or int(codes.max()) < 0x2000:
        return codes
    for find in (_utf8, _swapped):
        which, right, others = find(codes)
        if int(which.sum()) >= _FEWEST and not others.any():
            return np.where(which, right, codes).astype(codes.dtype)
    return codes


def _utf8(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which are pairs of UTF-8 bytes, the letters they are, and which others speak against it."""
    korean = (codes >= _HANGUL) & (codes <= _LAST)
    pairs = korean & (codes >= _FIRST) & (codes & 0xC0 == 0x80)
    return pairs, (codes >> 8 & 0x1F) << 6 | codes & 0x3F, korean & ~pairs


def _swapped(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which are ASCII with its two bytes swapped, the characters they are, and which others speak against it."""
    swapped = (codes & 0xFF == 0) & (codes >= 0x2000) & (codes <= 0x7E00)
    return swapped, codes >> 8, (codes >= 0x3000) & ~swapped
