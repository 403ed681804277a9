"""Tracked changes and comments of Writer and Word documents, which are read as if all changes had been accepted.

If the changes were printed, deleted text would stand among the rest, and words would run together.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from visret.documents.opendocument import MAX_XML, parsed, rewrite
from visret.types import Loss

_STORIES = re.compile(r"word/(document|header\d*|footer\d*|footnotes|endnotes)\.xml")
_DELETED = re.compile(rb"<(\w+:)?(delText|moveFrom)[\s>]")
_DELETED_TEXT = re.compile(rb"<((?:\w+:)?delText)\b[^>]*(?:/>|>.*?</\1\s*>)", re.DOTALL)
_SETTINGS = re.compile(rb"<((?:\w+:)?)settings\b[^>]*>")
_TRACKED = re.compile(rb"<text:tracked-changes\b.*?</text:tracked-changes>|<text:tracked-changes\b[^>]*/>", re.DOTALL)
_HIDE = b'<%srevisionView %smarkup="0" %sinsDel="0"/>'
_IN_DOC = bytes([0x00, 0x08, 0x01])  # sprmCFRMarkDel, which every deleted passage of a .doc has
_IN_RTF = re.compile(rb"\\deleted\b")

LOST = Loss("text that tracked changes delete", "reject the changes in a copy of it, and read that")


def may_be_in(source: Path) -> bool:
    """Return whether a .doc or .rtf file may hold deleted passages."""
    data = source.read_bytes()
    return bool(_IN_RTF.search(data)) if source.suffix == ".rtf" else _IN_DOC in data


def accept(source: Path) -> list[Loss]:
    """Accept the changes in a .docx or .odt file, so that LibreOffice shows them so; return what that leaves out."""
    with zipfile.ZipFile(source) as archive:
        if source.suffix == ".odt":
            return _accept_opendocument(source, archive)
        return _accept_open_xml(source, archive)


def comments_of(source: Path) -> int:
    """Count the comments of a .docx file that are not empty."""
    with zipfile.ZipFile(source) as archive:
        comments = parsed(archive, "word/comments.xml")
    return 0 if comments is None else sum(bool("".join(one.itertext()).strip()) for one in comments)


def _accept_open_xml(source: Path, archive: zipfile.ZipFile) -> list[Loss]:
    names = archive.namelist()
    stories = {name: _read(archive, name) for name in names if _STORIES.fullmatch(name)}
    if not any(map(_DELETED.search, stories.values())):
        return []
    settings = _read(archive, "word/settings.xml") if "word/settings.xml" in names else b""
    found = _SETTINGS.search(settings)
    if found is None or found[0].endswith(b"/>"):
        rewrite(source, {name: _DELETED_TEXT.sub(b"", story) for name, story in stories.items()})
    else:
        view = _HIDE % ((found[1],) * 3)
        rewrite(source, {"word/settings.xml": settings[: found.end()] + view + settings[found.end() :]})
    return [LOST]


def _accept_opendocument(source: Path, archive: zipfile.ZipFile) -> list[Loss]:
    parts = {name: _read(archive, name) for name in ("content.xml", "styles.xml") if name in archive.namelist()}
    tracked = [one for part in parts.values() for one in _TRACKED.findall(part)]
    if not tracked:
        return []
    rewrite(source, {name: _TRACKED.sub(b"", part) for name, part in parts.items()})
    return [LOST] if any(b"<text:deletion" in one for one in tracked) else []


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as part:
        return part.read(MAX_XML)
