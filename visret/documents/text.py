"""Plain text, in pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from visret.documents.document import Content, Document
from visret.documents.encodings import Decoded, decode
from visret.errors import DocumentError

TEXT_PAGE = 4000  # characters


class Text(Document):
    """Plain text: a page for each form feed, and pages of at most TEXT_PAGE characters where there are none.

    The pages one after the other are the text, less its form feeds and with line feeds for line ends.
    """

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(path)
        self._pages = _paged(text)

    def __len__(self) -> int:
        return len(self._pages)

    def close(self) -> None:
        """Nothing is held but the text."""

    def _read(self, number: int, **_: object) -> Content:
        return Content(plain=self._pages[number - 1])


def read(path: Path) -> Decoded:
    """The text of a file, with line feeds for line ends. DocumentError where it is none."""
    found = decode(path.read_bytes())
    if "\0" in found.text:
        raise DocumentError(path, "is not plain text (it holds zero bytes); save it as UTF-8")
    return found._replace(text=found.text.replace("\r\n", "\n").replace("\r", "\n"))


def _paged(text: str) -> list[str]:
    sheets = text.split("\f")
    if len(sheets) > 1 and not sheets[-1].strip():
        tail = sheets.pop()
        sheets[-1] += tail
    longest = TEXT_PAGE if len(sheets) == 1 else 2 * TEXT_PAGE  # a printed sheet may hold a little more
    return [page for sheet in sheets for page in _cut(sheet, longest)]


def _cut(text: str, longest: int) -> Iterator[str]:
    """Pieces of at most `longest` characters, cut after a blank line, else a line, else a word."""
    while len(text) > longest:
        ends = (text.rfind(mark, longest // 2, longest) + len(mark) for mark in ("\n\n", "\n", " "))
        end = next((end for end in ends if end > longest // 2), longest)
        yield text[:end]
        text = text[end:]
    yield text
