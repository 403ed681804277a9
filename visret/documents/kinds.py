"""The kind of a document by its content, before LibreOffice opens it: names lie, and LibreOffice guesses.

A .doc may be RTF, HTML or a .docx inside, and is read as that. LibreOffice would print text that is none of them as if
it were a letter. A file that would make it ask or hang is refused here, in words.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from visret.documents import formats
from visret.errors import DocumentError, PasswordRequired

MAX_BYTES = 1 << 30  # of a document's parts, unpacked

OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # the container of Office before 2007, and of encrypted OOXML
_STREAMS = {"WordDocument": ".doc", "PowerPoint Document": ".ppt", "Workbook": ".xls", "Book": ".xls"}
_PARTS = {"word/": ".docx", "xl/workbook.bin": ".xlsb", "xl/": ".xlsx", "ppt/": ".pptx"}
_ODF = "application/vnd.oasis.opendocument."
_MEDIA = {"text": ".odt", "spreadsheet": ".ods", "presentation": ".odp", "graphics": ".odg"}
_OF_OFFICE_2003 = {b'progid="Word.Document"': ".word.xml", b'progid="Excel.Sheet"': ".excel.xml"}
_VARIANTS = {".docm": ".docx", ".xlsm": ".xlsx", ".pptm": ".pptx"}  # the same with macros, which do not run


def kind_of(path: Path) -> str:
    """Return the ending that the file should have; ".word.xml" and ".excel.xml" are the XML of Office 2003.

    Raises DocumentError where it is empty, damaged or of a kind that LibreOffice does not convert, and PasswordRequired
    where it is encrypted.
    """
    suffix = formats.ending(path)
    if not formats.converts(path):
        known = " ".join(suffix for suffix in formats.FORMATS if formats.converts(f"x{suffix}"))
        raise DocumentError(path, f"is not a document LibreOffice converts; {known} are")
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise DocumentError(path, f"cannot be opened: {error.strerror}") from error
    if not head:
        raise DocumentError(path, "is empty (0 bytes); copy or download it again")
    if formats.is_html(path):
        return suffix
    looks: dict[str, Callable[[Path, str, bytes], str | None]] = {".svg": _drawing, ".rtf": _rich_text}
    found = looks.get(suffix, _office)(path, suffix, head)
    return suffix if _VARIANTS.get(suffix, suffix) == found else found or suffix


def _drawing(path: Path, suffix: str, head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        raise DocumentError(path, "is a compressed SVG drawing; unpack it (gunzip) and name it .svg again")
    if b"<svg" not in head and b":svg" not in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DocumentError(path, "is not an SVG drawing: there is no <svg> in it")
    return suffix


def _rich_text(path: Path, suffix: str, head: bytes) -> str:
    if not head.startswith(b"{\\rtf"):
        raise DocumentError(path, "is not an RTF file: it does not begin with {\\rtf")
    return suffix


def _office(path: Path, suffix: str, head: bytes) -> str | None:
    if head.startswith(OLE):
        return _compound(path, suffix)
    old = suffix in set(_STREAMS.values())
    if head.startswith(b"PK") or not old:
        return _zipped(path, suffix)
    return _text(path, suffix, head)


def _compound(path: Path, suffix: str) -> str:
    """Return the ending of the program it belongs to; a document may hold others, so its own ending is tried first."""
    data = path.read_bytes()
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise PasswordRequired(path, "is encrypted; save a copy without a password")
    there = [kind for stream, kind in _STREAMS.items() if f"{stream}\0".encode("utf-16-le") in data]
    if not there:
        said = "is in the format of Office before 2007, but not of Word, Excel or PowerPoint"
        raise DocumentError(path, f"{said}; open it in the program that made it, and save it as PDF")
    old = suffix[:4]  # .doc of .docx
    return old if old in there else there[0]


def _zipped(path: Path, suffix: str) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
            if size > MAX_BYTES:
                raise DocumentError(path, f"unpacks to {size:,} bytes; more than {MAX_BYTES:,} are not read")
            names = archive.namelist()
            manifest = archive.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in names else b""
            media = archive.read("mimetype")[:100].decode("ascii", "replace") if "mimetype" in names else ""
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise DocumentError(path, f"is a damaged {suffix[1:].upper()} file ({error}); copy it again") from error
    if b"encryption-data" in manifest:
        raise PasswordRequired(path, "is encrypted; save a copy without a password")
    if not {"[Content_Types].xml", "content.xml"} & set(names):
        raise DocumentError(path, f"is a ZIP file, but not in {suffix[1:].upper()} format")
    if "content.xml" in names:
        return _MEDIA.get(media.removeprefix(_ODF).partition("-")[0].strip())
    return next((kind for part, kind in _PARTS.items() if any(name.startswith(part) for name in names)), None)


def _text(path: Path, suffix: str, head: bytes) -> str:
    """Return the kind of a text file named as of Office before 2007: programs write RTF, XML and HTML so."""
    if head.startswith(b"{\\rtf"):
        return ".rtf"
    for mark, kind in _OF_OFFICE_2003.items():
        if mark in head and b"<!DOCTYPE" not in head and b"<!ENTITY" not in head:
            return kind
    name = suffix[1:].upper()
    if b"MIME-Version:" in head[:500]:
        raise DocumentError(path, f"is a web archive (MHTML), not {name}; open it in Office and save it again")
    if re.search(rb"<(!doctype\s+html|html|head|body|table)\b", head.replace(b"\0", b""), re.IGNORECASE):
        return ".html"
    what = "is plain text" if b"\0" not in head and not head.startswith(b"%PDF") else "has other content"
    raise DocumentError(path, f"is not in {name} format: it {what}; rename it with the ending of its real format")
