"""The text in bytes whose encoding nobody has stated, or that is stated wrongly.

text, encoding, lost = decode(Path("letter.txt").read_bytes())
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from itertools import islice
from typing import NamedTuple

from visret.documents import languages
from visret.types import Loss

_MARKS = {  # the longest first: UTF-32's begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_ESCAPES = {"iso2022_jp_2": rb"\x1b\$[@B]|\x1b\(J", "iso2022_kr": rb"\x1b\$\)C"}
# What the names of these encodings mean in practice: those of Windows, which have all their characters and more.
_MEANT = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "cp950",
}
_NO_CHARSETS = {"unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined", "mbcs", "oem"}
_LOOKED_AT = 1 << 16  # bytes, and as many more where it matters
_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_CONTROLS = re.compile(rb"[\x00-\x06\x0e-\x19]")  # other than line ends, tabs, bells and escapes


class Decoded(NamedTuple):
    """A text, the encoding it was in (by Python's name), and what of it could not be read."""

    text: str
    encoding: str
    lost: tuple[Loss, ...] = ()


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """Decode bytes to text, without a byte order mark; line ends stay as they are.

    declared: the encoding that the file, or what it came in, claims. A byte order mark and valid UTF-8 are believed
    first, and the claim is ignored where no such encoding exists or the bytes do not fit it. Bytes that belong to no
    encoding become U+FFFD, and are counted in `lost`.
    """
    for mark, marked in _MARKS.items():
        if data.startswith(mark):
            return decode_as(data[len(mark) :], marked)
    encoding = _by_pattern(data)
    if encoding is None:
        known = _charset(declared)
        strict = (name for name in ("utf-8", known) if name and _is(data, name))
        encoding = next(strict, None) or (None if _mostly_utf8(data) else languages.encoding_of(data))
    return decode_as(data, encoding or "utf-8")


def decode_as(data: bytes, encoding: str) -> Decoded:
    """Decode bytes in this encoding, with U+FFFD for those that are not of it."""
    text = data.decode(encoding, "replace")
    count = text.count("\ufffd")
    return Decoded(text, encoding, unreadable(count, encoding) if count and not _is(data, encoding) else ())


def unreadable(count: int, encoding: str) -> tuple[Loss, ...]:
    """Return the loss of so many bytes of a text that are not of its encoding."""
    if not count:
        return ()
    name = re.sub(r"-[LB]E$", "", encoding.upper()).replace("CP125", "windows-125")
    what = f"one byte that is not {name}" if count == 1 else f"{count:,} bytes that are not {name}"
    return (Loss(what, "save the file as UTF-8"),)


def _is(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeError:
        return False
    return True


def _charset(declared: str | None) -> str | None:
    """Return Python's name of a declared encoding; None where there is no such encoding, or it is not for text."""
    try:
        name = codecs.lookup((declared or "").strip()).name
        "".encode(name)
    except (LookupError, ValueError):  # also for codecs that are not for text
        return None
    return None if name.replace("_", "-") in _NO_CHARSETS else _MEANT.get(name, name)


def _by_pattern(data: bytes) -> str | None:
    """Return the encoding of text whose bytes betray it: UTF-16 or -32 without a mark, or one that uses escapes."""
    if b"\x1b" in data:
        for encoding, escapes in _ESCAPES.items():
            if re.search(escapes, data) and _is(data, encoding):
                return encoding
    sample = data[:_LOOKED_AT]
    if not _CONTROLS.search(sample):
        return None
    found = max(_WIDE, key=lambda encoding: _readable(sample, encoding))
    return found if _readable(sample, found) > 0.3 else None


def _readable(sample: bytes, encoding: str) -> float:
    """Rate how much text in UTF-16 or UTF-32 looks like text: 1 for ASCII, 0 for a mixture of everything."""
    width = 4 if "32" in encoding else 2
    text = sample[: len(sample) - len(sample) % width].decode(encoding, "replace")
    if not text or languages.nonsense(text) > len(text) / 50:
        return 0.0
    rows = Counter(ord(sign) >> 8 for sign in text if sign > "\x7f")
    beyond = sum(rows.values())
    alphabet = 0.8 * max((rows[row] for row in rows if row <= 0x1F), default=0)  # its row; accents are in others
    ideographs = beyond * max(languages.east_asian(text, encoding), 0.0)
    return (len(text) - beyond + max(alphabet, ideographs)) / len(text)


def _mostly_utf8(data: bytes) -> bool:
    """Return whether the data has more characters of UTF-8 than bytes that are not UTF-8; other encodings have few."""
    bad = data.decode("utf-8", "replace").count("\ufffd") - data.count(b"\xef\xbf\xbd")
    good = sum(1 for _ in islice(_SEQUENCE.finditer(data), bad + 1))
    return good > bad or good == bad < 5
