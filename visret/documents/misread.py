"""Text whose letters a font mistakes for others, one by one.

mended("Ïàðîì íå õîäèò")  # "Паром не ходит", in a font that only says "Latin-1"
mended("Prom nie p³ywa")  # "Prom nie pływa"; both only where there is more of it

`repaired` does the same for tables of characters that hold UTF-8 in place of UTF-16, so that Cyrillic looks Korean, and
for those in which the two bytes of a character are swapped, so that Latin looks Chinese.
"""

from __future__ import annotations

import functools

import numpy as np

from visret.documents import languages

_MIN_LETTERS = 20  # beyond ASCII, in words that have few others; no language in Latin letters has more than a third
_SHARE = 0.6  # the share of letters in such a word, and of letters beyond ASCII in such words
_MIN_ACCENTS = 6  # characters beyond ASCII, to tell one language from another
_LOOKED_AT = 800  # characters of lines that have some
# Of texts in ten languages that lack letters of Latin-1, the better encoding had -0.5 to -2.5 and 1.5 to 10 more than
# Latin-1; of sixteen that are in Latin-1 the best other one had at most 0.4 more, or less than -4.
_FITS, _FITS_BETTER = -3.0, 1.2
_FIRST, _LAST = 0xC380, 0xD7BF  # two bytes of UTF-8 as one unit of UTF-16, below the surrogates: é to ׿
_HANGUL = 0xAC00
_MIN_REPAIRED = 8  # letters: of eight Korean syllables all look like UTF-8 once in 65,000 texts


def mended(text: str) -> str:
    """Correct a text character by character; one that is not misread stays as it is.

    Text beside it that is right, such as a heading in another font, has to be ASCII.
    """
    if text.isascii():
        return text
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    if (codes >= 0x80).sum() < _MIN_ACCENTS:
        return text
    encoding = _of_other_letters(text) or _of_other_accents(text)
    return text.translate(_table(encoding)) if encoding else text


def _of_other_letters(text: str) -> str | None:
    """Return the encoding of text in another alphabet; None where it is in none."""
    words = [word for word in text.split() if not word.isascii()]
    counts = [(sum("\xc0" <= sign <= "\xff" for sign in word), word) for word in words]
    strange = [(count, word) for count, word in counts if count >= max(4, _SHARE * sum(map(str.isalpha, word)))]
    high = sum(count for count, _ in strange)
    if high < max(_MIN_LETTERS, _SHARE * sum(count for count, _ in counts)):
        return None
    found = languages.encoding_of(" ".join(word for _, word in strange).encode("cp1252", "replace"))
    return found if found in _ENCODINGS else None


def _of_other_accents(text: str) -> str | None:
    """Return the encoding of text in Latin letters whose accents are not Western European, as Polish or Turkish."""
    if any(sign > "\xff" and sign.isalpha() and not sign.encode("cp1252", "ignore") for sign in text):
        return None  # fonts that know such letters know them all
    lines, size = [], 0
    for line in text.splitlines():
        if not line.isascii() and size < _LOOKED_AT:
            lines.append(line[:_LOOKED_AT])
            size += len(line)
    sample = " ".join(lines).encode("cp1252", "ignore")
    score, encoding = max((languages.fit(sample, one), one) for one in _WITH_ACCENTS)
    return encoding if score > max(_FITS, languages.fit(sample, "cp1252") + _FITS_BETTER) else None


_QUOTES = {0x10: 0x201C, 0x11: 0x201D, 0x12: 0x201E, 0x13: 0xAB, 0x14: 0xBB, 0x15: 0x2013, 0x16: 0x2014}
# The ligatures at 1B to 1F: in TeX's encoding T1; and in Linux Libertine as LaTeX numbers it, which names them f_i ...
_ORDERS = (["ff", "fi", "fl", "ffi", "ffl"], ["fi", "ffi", "ff", "fl", "ffl"])
_FIRST_LIGATURE, _LAST_LIGATURE = 0x1B, 0x1F
_LIGATURES = {"ff": 0xFB00, "fi": 0xFB01, "fl": 0xFB02, "ffi": 0xFB03, "ffl": 0xFB04}
# Of the ligatures in English, roughly, inside words and at their beginning.
_SHARES = {"ff": (0.17, 0.01), "fi": (0.35, 0.25), "fl": (0.06, 0.07), "ffi": (0.08, 0.0), "ffl": (0.02, 0.0)}
_T1_IS_USUAL = 4.0  # times as many fonts
_VOWELS = np.frombuffer("aeiouyäöüéèáíóúàâêîôåæøAEIOUÄÖÜ".encode("utf-32-le"), "<u4")
_LETTERS = np.array([code for code in range(0x180) if chr(code).isalpha()], np.uint32)
_NOT_AFTER_FF = np.frombuffer(b"bcdghijklmpqvwxz", np.uint8)  # with i and l it is another ligature
_BEFORE_FFN = np.frombuffer("aoöAOÖ".encode("utf-32-le"), "<u4")  # as in "öffnen" and "hoffnung"
_ENCODINGS = ("cp1251", "koi8-r", "koi8-u", "iso8859-5", "cp1253", "iso8859-7")
_WITH_ACCENTS = ("iso8859-2", "cp1250", "cp1254", "cp1257")  # of those that fit as well, the last


@functools.cache
def _table(encoding: str) -> dict[int, str]:
    """Map the characters that cp1252 has for the upper half of the bytes to those that this encoding has."""
    pairs = (
        (bytes([byte]).decode("cp1252", "ignore"), bytes([byte]).decode(encoding, "ignore"))
        for byte in range(0x80, 0x100)
    )
    return {ord(wrong): right for wrong, right in pairs if wrong and right}


def with_ligatures(codes: np.ndarray) -> np.ndarray:
    """Return (n,) uint32 characters as they are; or read control characters as the ligatures of a font of TeX.

    Old bitmap fonts of TeX have no table of characters, and others name ligatures in a way that PDFium does not know.
    It gives their own codes then: ff, fi, fl, ffi and ffl are control characters. Other fonts use these codes
    otherwise, so all on a page have to stand where ligatures can. Where they can in two orders, it is that in which
    they are as frequent as in a language.
    """
    at = np.flatnonzero((codes >= _FIRST_LIGATURE) & (codes <= _LAST_LIGATURE))
    if not len(at):
        return codes
    padded = np.concatenate([[32], codes, [32]])
    before, after, which = padded[at], padded[at + 2], codes[at] - _FIRST_LIGATURE
    orders = [(np.array(order)[which], order) for order in _ORDERS]
    fitting = [(found, order) for found, order in orders if _can_stand(found, before, after)]
    if not fitting:
        return codes

    begins = (~np.isin(before, _LETTERS)).tolist()

    def likely(one: tuple[np.ndarray, list[str]]) -> float:
        found, order = one
        usual = np.log(_T1_IS_USUAL) if order is _ORDERS[0] else 0.0
        return float(usual + np.log([_SHARES[name][first] for name, first in zip(found, begins, strict=True)]).sum())

    _, order = max(fitting, key=likely)
    fixed = codes.copy()
    for code, meaning in (_QUOTES | {_FIRST_LIGATURE + i: _LIGATURES[one] for i, one in enumerate(order)}).items():
        fixed[codes == code] = meaning
    return fixed


def _can_stand(ligatures: np.ndarray, before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether all of some ligatures can stand between the characters before and after them."""
    ends = ~(((after >= ord("a")) & (after <= ord("z"))) | ((after >= 0xDF) & (after < 0x180)))
    is_ff = ligatures == "ff"
    starts_with_ff = is_ff | (ligatures == "ffi") | (ligatures == "ffl")
    alone = is_ff & ends & ~np.isin(before, _LETTERS)  # "and those that follow", in German
    wrong = ends & ~is_ff
    wrong |= starts_with_ff & ~np.isin(before, _VOWELS) & ~alone
    wrong |= is_ff & (np.isin(after, _NOT_AFTER_FF) | ((after == ord("n")) & ~np.isin(before, _BEFORE_FFN)))
    return not wrong.any()


def repaired(codes: np.ndarray) -> np.ndarray:
    """Return (n,) uint32 characters as they are; or correct them where a font's table holds UTF-8, or swaps bytes.

    It holds UTF-8 if every Korean syllable of the page is a pair of such bytes; real Korean has a low byte that is none
    in three of four syllables. It swaps bytes if no letter of the page that would be Chinese has a low byte.
    """
    if not len(codes) or int(codes.max()) < 0x2000:
        return codes
    for find in (_utf8, _swapped):
        which, right, others = find(codes)
        if int(which.sum()) >= _MIN_REPAIRED and not others.any():
            return np.where(which, right, codes).astype(codes.dtype)
    return codes


def _utf8(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which characters are pairs of UTF-8 bytes, the letters they are, and which others speak against it."""
    korean = (codes >= _HANGUL) & (codes <= _LAST)
    pairs = korean & (codes >= _FIRST) & (codes & 0xC0 == 0x80)
    return pairs, (codes >> 8 & 0x1F) << 6 | codes & 0x3F, korean & ~pairs


def _swapped(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which characters are ASCII with swapped bytes, the characters they are, and which speak against it."""
    swapped = (codes & 0xFF == 0) & (codes >= 0x2000) & (codes <= 0x7E00)
    return swapped, codes >> 8, (codes >= 0x3000) & ~swapped
