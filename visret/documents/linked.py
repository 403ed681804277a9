"""Content that an office document does not hold as its own: pictures it only links to, and documents embedded in it.

Pictures are not fetched, and of an embedded document only its picture is drawn, so both are reported as missing.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from visret.documents.opendocument import MAX_XML
from visret.types import Loss

_RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, RuntimeError)  # also for a password, or an unknown method
_INSIDE = re.compile(rb"\bType=[\"'][^\"']*/(package|oleObject|aFChunk)[\"']")
_OF_CHART = re.compile(r"(^|/)(charts|diagrams)/_rels/")
_FORMULA = re.compile(rb"\b[Pp]rog[Ii][Dd]=[\"'](?:Equation|MathType)")
_PICTURE = re.compile(rb"<draw:image\b[^>]*?\bxlink:href=[\"']([^\"']*)")


def pictures(source: Path) -> list[Loss]:
    """Return the loss of the pictures that an Office Open XML or OpenDocument file only links to."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            number = _of_opendocument(archive) if "content.xml" in names else _of_open_xml(archive, names)
    except _BROKEN:  # it is another kind of file, or LibreOffice will say what is wrong
        return []
    what = "a picture that the document only links to" if number == 1 else f"{number:,} pictures that it only links to"
    return [Loss(what, "embed linked pictures (File, Info, Edit Links to Files), and save it again")] if number else []


def embedded(source: Path) -> list[Loss]:
    """Return the loss of documents inside an Office Open XML file, except formulas and the numbers behind charts."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            parts = [_read(archive, name) for name in names if name.endswith(".rels") and not _OF_CHART.search(name)]
            kinds = [kind for part in parts for one in _RELATION.findall(part) for kind in _INSIDE.findall(one)]
            number = len(kinds)
            if b"oleObject" in kinds:
                told = (_read(archive, name) for name in names if name.endswith(".xml") and name.count("/") < 3)
                number -= sum(len(_FORMULA.findall(part)) for part in told)
    except _BROKEN:
        return []
    what = "a document embedded in it" if number == 1 else f"{number:,} documents embedded in it"
    return [Loss(what, "open it in its program, and save them as files of their own")] if number > 0 else []


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
