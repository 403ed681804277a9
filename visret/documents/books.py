"""EPUB books, in which a page is an item of the spine: a chapter in most books."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from visret.documents import archives, office
from visret.documents.document import Document
from visret.documents.encodings import decode
from visret.documents.text import PlainText
from visret.errors import DocumentError
from visret.types import Loss

MAX_BYTES = 256 << 20  # bytes of a book's texts, unpacked
MAX_CHARACTERS = 200_000  # characters of a page
_DAMAGED = "copy or download it again"
_PICTURE = re.compile(r"<(?:img|image)\b[^<>]*>", re.IGNORECASE)
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # algorithms that disguise fonts only
_LICENCES = ("META-INF/rights.xml", "META-INF/license.lcpl", "META-INF/sinf.xml")


def opened(path: Path, _: str | None) -> Document:
    """Return the text of a book, a page for each item of its spine. Raises DocumentError if damaged or protected."""
    with archives.zip_file(path) as archive:
        book = _Book(path, archive)
        text = PlainText(path, pages=(page for item in book.spine() for page in _cut(book.text(item))))
    if not len(text):
        raise DocumentError(path, f"is a book without any text; {_DAMAGED}")
    text.lost += book.losses()
    return text


def _cut(text: str) -> Iterator[str]:
    yield from (text[start : start + MAX_CHARACTERS] for start in range(0, max(1, len(text)), MAX_CHARACTERS))


class _Book:
    """The archive that a book is, and the texts in it."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        self._names = {name.lower(): name for name in archive.namelist()}
        self._left = MAX_BYTES
        self._missing: list[str] = []
        self._pictures = 0
        self._check_licence()

    def spine(self) -> list[str]:
        """Return the names of the items of the spine, in order."""
        container = self._xml("META-INF/container.xml")
        package = next((one.get("full-path") for one in _named(container, "rootfile") if one.get("full-path")), None)
        if not package:
            raise DocumentError(self.path, f"is a book whose container.xml names no content; {_DAMAGED}")
        root, folder = self._xml(package), posixpath.dirname(package)
        items = {item.get("id"): item.get("href", "") for item in _named(root, "item")}
        hrefs = [items.get(item.get("idref"), "") for item in _named(root, "itemref")]
        return [posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0]))) for href in hrefs if href]

    def text(self, name: str) -> str:
        """Return the text of an item; "" where there is none."""
        data = self._bytes(name)
        if data is None:
            self._missing.append(name)
            return ""
        stated = re.match(rb"[^<]*<\?xml[^>]*encoding\s*=\s*[\"']([\w.:-]+)", data[:200])
        source = decode(data, declared=stated and stated[1].decode("ascii")).text
        described, count = _PICTURE.subn(_description, source)
        text = office.text_of_html(described.encode("utf-8", "replace"))
        if count and not text and "cover" not in name.lower():
            self._pictures += 1
        return text

    def losses(self) -> Iterator[Loss]:
        """Yield what is missing from the book, and what it has only as pictures."""
        if self._missing:
            some = ", ".join(map(repr, self._missing[:3]))
            count = "one" if len(self._missing) == 1 else f"{len(self._missing):,}"
            yield Loss(f"{count} of its chapters, which cannot be read ({some})", _DAMAGED)
        if self._pictures:
            pages = "one page that is" if self._pictures == 1 else f"{self._pictures:,} pages that are"
            yield Loss(f"what is on {pages} only a picture", "add the book as a PDF, or its pictures")

    def _check_licence(self) -> None:
        stated = self._bytes("META-INF/encryption.xml") or b""
        algorithms = re.findall(rb"EncryptionMethod[^<>]*Algorithm\s*=\s*[\"']([^\"']+)", stated)
        sealed = any(one.decode("ascii", "replace") not in _FONTS for one in algorithms)
        if sealed or any(name.lower() in self._names for name in _LICENCES):
            raise DocumentError(
                self.path, "is protected (DRM) and opens only in its shop's reader; get a copy without it"
            )

    def _xml(self, name: str) -> ElementTree.Element:
        data = self._bytes(name)
        if data is None:
            raise DocumentError(self.path, f"is not an EPUB book, or a damaged one (no {name}); {_DAMAGED}")
        if b"<!ENTITY" in data:
            raise DocumentError(self.path, f"is a book whose {name} defines entities, which is refused; {_DAMAGED}")
        try:
            return ElementTree.fromstring(data)
        except ElementTree.ParseError as error:
            raise DocumentError(self.path, f"is a damaged book ({name}: {error}); {_DAMAGED}") from error

    def _bytes(self, name: str) -> bytes | None:
        """Read a part of the archive; None where it is missing or damaged. Raises DocumentError if it is too large."""
        stored = self._names.get(name.lower())
        if stored is None:
            return None
        try:
            with self._archive.open(stored) as part:
                data = part.read(self._left + 1)
        except archives.BROKEN:
            return None
        self._left -= len(data)
        if self._left < 0:
            raise DocumentError(self.path, f"has more than {MAX_BYTES >> 20} MiB of text; divide it")
        return data


def _named(root: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    """Return the elements with a name, in any namespace."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == tag)


def _description(picture: re.Match[str]) -> str:
    """Return the text that stands for a picture: its `alt`."""
    found = re.search(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", picture[0], re.IGNORECASE)
    return f" {found[1] or found[2] or ''} " if found else " "
