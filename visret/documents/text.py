"""Plain text, in pages."""

from __future__ import annotations

import codecs
import io
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from visret.documents import languages
from visret.documents.document import Content, Document
from visret.documents.encodings import Decoded, decode, unreadable
from visret.errors import DocumentError
from visret.types import Loss

__all__ = ["Decoded", "PlainText", "decode", "opened", "paged", "pieces"]

TEXT_PAGE = 4000  # characters
WHOLE = 32 << 20  # bytes; a longer text is decoded piece by piece, in the encoding of its beginning
PIECE = 1 << 20
HELD = 64 << 20  # bytes of pages held in memory; those of a larger text are all on disk
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # and other commands to a terminal


class PlainText(Document):
    """Plain text, as the pages given, or with a page for each form feed and at most TEXT_PAGE characters on each.

    Its pages joined are the text, without form feeds and with line feeds for line ends.
    """

    def __init__(self, path: Path, text: str = "", *, pages: Iterable[str] | None = None) -> None:
        super().__init__(path)
        self._kept: IO[bytes] = io.BytesIO()
        self._ends = array("Q", [0])
        try:
            for page in paged([text]) if pages is None else pages:
                self._keep(page.encode("utf-8", "replace"))
        except BaseException:
            self._kept.close()
            raise

    def _keep(self, page: bytes) -> None:
        self._ends.append(self._ends[-1] + self._kept.write(page))
        if isinstance(self._kept, io.BytesIO) and self._ends[-1] > HELD:
            held, self._kept = self._kept, tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
            self._kept.write(held.getbuffer())

    def __len__(self) -> int:
        return len(self._ends) - 1

    def close(self) -> None:
        """Close the text; no page can be read afterwards."""
        self._kept.close()

    def _read(self, number: int, **_: object) -> Content:
        start, end = self._ends[number - 1 : number + 1]
        self._kept.seek(start)
        return Content(plain=self._kept.read(end - start).decode())


def opened(path: Path, _: str | None) -> Document:
    """Open the text of a file. Raises DocumentError where it is not text."""
    lost: list[Loss] = []
    text = PlainText(path, pages=paged(pieces(path, lost)))
    text.lost += lost
    return text


def pieces(path: Path, lost: list[Loss]) -> Iterator[str]:
    """Yield the text of a file piece by piece, with line feeds for line ends; `lost` gets what is unreadable.

    Raises DocumentError where it is not text.
    """
    with path.open("rb") as file:
        start = file.read(WHOLE + 1)
        if len(start) <= WHOLE:
            found = decode(start)
            lost += found.lost
            yield _plain(path, re.sub("\r\n?", "\n", found.text))
            return
        encoding = decode(start[:PIECE].rpartition(b"\n")[0] or start[:PIECE]).encoding
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)
        count, known = 0, 0
        for data in (start, *iter(lambda: file.read(PIECE), b""), b""):
            piece = decoder.decode(data, final=not data)
            count, known = count + piece.count("\ufffd"), known + data.count(b"\xef\xbf\xbd")
            yield _plain(path, piece.removeprefix("\ufeff"))
        lost += unreadable(count - known, encoding)


def _plain(path: Path, text: str) -> str:
    """Return the text without terminal commands. Raises DocumentError where it is not text."""
    if "\0" in text:
        raise DocumentError(path, "is not plain text (it holds zero bytes); save it as UTF-8")
    start = text[:TEXT_PAGE]
    if languages.nonsense(start) > len(start) / 5:
        raise DocumentError(path, "is not plain text (it holds control characters); save it as UTF-8")
    return _COLOURS.sub("", text) if "\x1b" in text else text


def paged(texts: Iterable[str]) -> Iterator[str]:
    """Yield the pages of a text that comes in pieces; there is always at least one."""
    rest, sheet, longest = "", None, TEXT_PAGE
    for text in texts:
        *sheets, rest = (rest + text).split("\f")
        if sheets:
            longest = 2 * TEXT_PAGE  # a printed sheet may hold a little more
        for following in sheets:
            if sheet is not None:
                yield from _cut(sheet, longest)
            sheet = following
        if len(rest) > longest:
            if sheet is not None:
                yield from _cut(sheet, longest)
                sheet = None
            *whole, rest = _cut(rest, longest)
            yield from whole
    if sheet is not None and not rest.strip():
        sheet, rest = sheet + rest, ""
    elif sheet is not None:
        yield from _cut(sheet, longest)
        sheet = None
    yield from _cut(rest if sheet is None else sheet, longest)


def _cut(text: str, longest: int) -> Iterator[str]:
    """Yield pieces of at most `longest` characters, cut after a blank line, else a line, else a word."""
    start = 0
    while len(text) - start > longest:
        half, most = start + longest // 2, start + longest
        ends = (text.rfind(mark, half, most) + len(mark) for mark in ("\n\n", "\n", " "))
        end = next((end for end in ends if end > half), most)
        yield text[start:end]
        start = end
    yield text[start:]
