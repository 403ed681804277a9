"""The kinds of files that visret reads, in one table for everything that depends on the ending of a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple


class Format(NamedTuple):
    """A kind of file.

    reader: its reader: "pdf", "picture", "text", "table", "mail", "notebook", "book", "archive"; or "html", "sheet" and
        "office", of which LibreOffice makes a PDF, though the text of the first two can be read without it.
    media: its media type. converts: whether its pages are those of a PDF that LibreOffice makes of it. note: what a
        user has to know about files with this ending.
    """

    reader: str
    media: str
    converts: bool = False
    note: str = ""


_OPEN_XML = "application/vnd.openxmlformats-officedocument"
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument"
_MICROSOFT = "application/vnd.ms"

FORMATS: dict[str, Format] = {
    ".pdf": Format("pdf", "application/pdf"),
    ".png": Format("picture", "image/png"),
    ".jpg": Format("picture", "image/jpeg"),
    ".jpeg": Format("picture", "image/jpeg"),
    ".jpe": Format("picture", "image/jpeg"),
    ".jfif": Format("picture", "image/jpeg"),
    ".tif": Format("picture", "image/tiff"),
    ".tiff": Format("picture", "image/tiff"),
    ".webp": Format("picture", "image/webp"),
    ".bmp": Format("picture", "image/bmp"),
    ".gif": Format("picture", "image/gif", note="its first picture"),
    ".heic": Format("picture", "image/heic", note="needs `visret[heic]`"),
    ".heif": Format("picture", "image/heif", note="needs `visret[heic]`"),
    ".txt": Format("text", "text/plain"),
    ".log": Format("text", "text/plain"),
    ".md": Format("text", "text/markdown"),
    ".rst": Format("text", "text/x-rst"),
    ".csv": Format("table", "text/csv"),
    ".tsv": Format("table", "text/tab-separated-values"),
    ".eml": Format("mail", "message/rfc822"),
    ".ipynb": Format("notebook", "application/x-ipynb+json"),
    ".epub": Format("book", "application/epub+zip"),
    ".zip": Format("archive", "application/zip"),
    ".html": Format("html", "text/html", converts=True),
    ".htm": Format("html", "text/html", converts=True),
    ".docx": Format("office", f"{_OPEN_XML}.wordprocessingml.document", converts=True),
    ".pptx": Format("office", f"{_OPEN_XML}.presentationml.presentation", converts=True),
    ".xlsx": Format("sheet", f"{_OPEN_XML}.spreadsheetml.sheet", converts=True),
    ".odt": Format("office", f"{_OPEN_DOCUMENT}.text", converts=True),
    ".odp": Format("office", f"{_OPEN_DOCUMENT}.presentation", converts=True),
    ".ods": Format("sheet", f"{_OPEN_DOCUMENT}.spreadsheet", converts=True),
    ".odg": Format("office", f"{_OPEN_DOCUMENT}.graphics", converts=True),
    ".rtf": Format("office", "application/rtf", converts=True),
    ".doc": Format("office", "application/msword", converts=True),
    ".xls": Format("sheet", f"{_MICROSOFT}-excel", converts=True),
    ".ppt": Format("office", f"{_MICROSOFT}-powerpoint", converts=True),
    ".docm": Format("office", f"{_MICROSOFT}-word.document.macroEnabled.12", converts=True),
    ".xlsm": Format("sheet", f"{_MICROSOFT}-excel.sheet.macroEnabled.12", converts=True),
    ".pptm": Format("office", f"{_MICROSOFT}-powerpoint.presentation.macroEnabled.12", converts=True),
    ".xlsb": Format("sheet", f"{_MICROSOFT}-excel.sheet.binary.macroEnabled.12", converts=True),
    ".svg": Format("office", "image/svg+xml", converts=True),
}


class Reader(NamedTuple):
    """A reader of files of a kind.

    about: the files and what is read of them, as the documents say it. module: that whose `opened(path, password)`
    reads a file. holds_files: whether a file may hold others, whose pages are then its own. is_taken: whether a server
    takes such files from visitors.
    """

    about: str
    module: str
    holds_files: bool = False
    is_taken: bool = True


# A file called .pdf that is not a PDF is read as a picture; HTML and office files are read as the PDFs made of them.
READERS = {
    "pdf": Reader("PDF", "visret.documents.pictures"),
    "picture": Reader("pictures", "visret.documents.pictures"),
    "text": Reader("text", "visret.documents.text"),
    "table": Reader("tables as text: one row a line", "visret.documents.tables"),
    "mail": Reader("mail, with its attachments", "visret.documents.mail", holds_files=True),
    "notebook": Reader("notebooks: their cells and what these printed", "visret.documents.notebooks"),
    "book": Reader("books, one chapter a page; protected ones are not read", "visret.documents.books"),
    "archive": Reader(
        "archives, like a folder: at most 10,000 files and 1 GiB unpacked",
        "visret.documents.archives",
        holds_files=True,
        is_taken=False,
    ),
}


def ending(path: str | PurePath) -> str:
    """Return the ending of a file's name in lower case, with its dot; "" where it has none."""
    return PurePath(path).suffix.lower()


def format_of(path: str | PurePath) -> Format | None:
    """Return the format that a file's name states; None for one that visret does not read."""
    return FORMATS.get(ending(path))


def converts(path: str | PurePath) -> bool:
    """Return whether LibreOffice makes a PDF of a file with this name."""
    found = format_of(path)
    return found is not None and found.converts


def is_html(path: str | PurePath) -> bool:
    """Return whether a file is HTML by its name."""
    found = format_of(path)
    return found is not None and found.reader == "html"


def has_text(path: str | PurePath) -> bool:
    """Return whether LibreOffice converts a file with this name, but is not needed for its text."""
    found = format_of(path)
    return found is not None and found.reader in ("html", "sheet")


def kinds() -> dict[str, str]:
    """Return the kinds of files in words, each with its endings, for the documents."""
    found: dict[str, list[str]] = {}
    for suffix, one in FORMATS.items():
        kind = "through LibreOffice" if one.converts else READERS[one.reader].about
        found.setdefault(kind, []).append(f"`{suffix}`" + (f" ({one.note})" if one.note else ""))
    return {kind: " ".join(endings) for kind, endings in found.items()}


def holds_files(reader: str) -> bool:
    """Return whether files of a reader may hold others, whose pages are then their own."""
    return reader in READERS and READERS[reader].holds_files


def endings(readers: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the endings of these readers; all endings where none is named."""
    wanted = set(readers)
    return tuple(suffix for suffix, one in FORMATS.items() if not wanted or one.reader in wanted)


def refusal(path: Path) -> str:
    """Say why a file of another kind is not read, in words that follow its name."""
    return f"files ending in {ending(path) or 'nothing'!r} are not read; {' '.join(FORMATS)} are"


def unread(endings: Counter[str]) -> str:
    """Say in words how many files with these endings are of kinds that are not read."""
    count = endings.total()
    listed = ", ".join(f"{number:,} {suffix or 'without ending'}" for suffix, number in endings.most_common())
    return f"{count:,} file{'s' * (count != 1)} of kinds visret does not read: {listed}"
