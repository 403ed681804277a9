"""Pictures that a document does not hold but only names the place of: they are not fetched, and said to be missing."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from visret.documents.opendocument import MAX_XML
from visret.types import Loss

_RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
_PICTURE = re.compile(rb"<draw:image\b[^>]*?\bxlink:href=[\"']([^\"']*)")


def pictures(source: Path) -> list[Loss]:
    """The pictures that an Office Open XML or OpenDocument file only links to."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            number = _of_opendocument(archive) if "content.xml" in names else _of_open_xml(archive, names)
    except (zipfile.BadZipFile, OSError):  # another kind of file, or LibreOffice says what is wrong with it
        return []
    what = "a picture that the document only links to" if number == 1 else f"{number:,} pictures that it only links to"
    return [Loss(what, "embed linked pictures (File, Info, Edit Links to Files), and save it again")] if number else []


def _of_open_xml(archive: zipfile.ZipFile, names: list[str]) -> int:
    parts = [_read(archive, name) for name in names if name.endswith(".rels")]
    relations = (one for part in parts for one in _RELATION.findall(part))
    return sum(b'/image"' in one and b'TargetMode="External"' in one for one in relations)


def _of_opendocument(archive: zipfile.ZipFile) -> int:
    inside = re.compile(rb"(\./)?(Pictures|media|Object|ObjectReplacements)[ /]|#")
    return sum(not inside.match(place) for place in _PICTURE.findall(_read(archive, "content.xml")) if place)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as part:
        return part.read(MAX_XML)
