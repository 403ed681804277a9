"""Text whose letters were taken for others one by one: Cyrillic or Greek in a font that only says "Latin-1".

mended("Ïàðîì íå õîäèò")  # "Паром не ходит"
"""

from __future__ import annotations

import numpy as np

from visret.documents import languages

_LEAST = 20  # letters, of which so many have to be beyond ASCII; no language in Latin letters has more than a third
_SHARE = 0.6


def mended(text: str) -> str:
    """The text, character by character; itself where it is not such a one."""
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
