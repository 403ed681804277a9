"""Text whose letters a font takes for others, one by one.

mended("Ïàðîì íå õîäèò")  # "Паром не ходит", in a font that only says "Latin-1"

`repaired` does the same for tables of characters that hold UTF-8 where UTF-16 belongs, so that Cyrillic is Korean, and
for those in which the two bytes of a character are swapped, so that Latin is Chinese.
"""

from __future__ import annotations

import numpy as np

from visret.documents import languages

_LEAST = 20  # letters, of which so many have to be beyond ASCII; no language in Latin letters has more than a third
_SHARE = 0.6
_FIRST, _LAST = 0xC380, 0xD7BF  # two bytes of UTF-8 as one unit of UTF-16, below the surrogates: é to ׿
_HANGUL = 0xAC00
_FEWEST = 8  # letters: of eight Korean syllables all look like UTF-8 once in 65,000 texts


def mended(text: str) -> str:
    """The text, character by character; itself where it is not such a one."""
    if text.isascii():
        return text
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    high = int(((codes >= 0xC0) & (codes <= 0xFF)).sum())
    if high < _LEAST:
        return text
    low = (((codes | 0x20) >= ord("a")) & ((codes | 0x20) <= ord("z"))).sum()
    if high < _SHARE * (high + low):
        return text
    encoding = languages.encoding_of(text.encode("cp1252", "replace"))
    return text.translate(_table(encoding)) if encoding in _ENCODINGS else text


_ENCODINGS = ("cp1251", "koi8-r", "koi8-u", "iso8859-5", "cp1253", "iso8859-7")


def _table(encoding: str) -> dict[int, str]:
    """Of the characters that cp1252 has for the upper half of the bytes, those that this encoding has."""
    pairs = (
        (bytes([byte]).decode("cp1252", "ignore"), bytes([byte]).decode(encoding, "ignore"))
        for byte in range(0x80, 0x100)
    )
    return {ord(wrong): right for wrong, right in pairs if wrong and right}


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
