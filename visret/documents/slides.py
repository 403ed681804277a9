"""Text that belongs to a slide but is not on it: the speaker's notes, comments, and text that does not fit.

notes = of_slides(Path("talk.pptx"))       # a list for each slide, including hidden ones
said = texts_of_slides(Path("talk.pptx"))  # the texts of its shapes, wherever they lie
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from visret.documents.opendocument import children_gone, paragraphs, parsed, q

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_SLIDES = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_REFERENCE = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_MAIN = "ppt/presentation.xml"
_FURNITURE = {"sldImg", "sldNum", "dt", "hdr", "ftr"}  # of a page of notes: a picture of its slide, number, date
_FIELDS = {q("text:page-number"), q("presentation:header"), q("presentation:footer"), q("presentation:date-time")}


class Note(NamedTuple):
    """A text that belongs to a page. head: its heading."""

    head: str
    text: str


def of_slides(path: Path) -> list[list[Note]] | None:
    """Return the notes and comments of every slide of a .pptx or .odp file; None where it cannot be parsed."""
    try:
        with zipfile.ZipFile(path) as archive:
            if "content.xml" in archive.namelist():
                return _of_opendocument(archive)
            return _of_open_xml(archive)
    except (zipfile.BadZipFile, OSError):
        return None


def texts_of_slides(path: Path) -> list[list[str]]:
    """Return the paragraphs on or beside every slide of a .pptx or .odp file; [] where they cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _texts_of_opendocument(archive) if "content.xml" in archive.namelist() else _texts(archive)
    except (zipfile.BadZipFile, OSError):
        return []


def _texts_of_opendocument(archive: zipfile.ZipFile) -> list[list[str]]:
    pages = _pages(archive) or []
    for page in pages:
        children_gone(page, page.findall(q("presentation:notes")))
        for one in list(page.iter()):
            if any(child.tag in _FIELDS for child in one) or _is_switched_off(one):
                one.clear()
    return [[text.strip() for text in paragraphs(page) if text.strip()] for page in pages]


def _is_switched_off(shape: Element) -> bool:
    """Return whether a shape is hidden, which LibreOffice writes in a namespace that changes with its version."""
    return any(name.endswith("}display") and value == "none" for name, value in shape.items())


def _texts(archive: zipfile.ZipFile) -> list[list[str]]:
    return [list(dict.fromkeys(_said_on(archive, slide))) if slide else [] for slide in _slides(archive) or []]


def _said_on(archive: zipfile.ZipFile, slide: str) -> Iterator[str]:
    """Yield the paragraphs of a slide and of its diagrams, without those of shapes that are not to be shown."""
    diagrams = [part for kind, part in _related(archive, slide).values() if kind == "diagramData"]
    for root in [root for part in (slide, *diagrams) if (root := parsed(archive, part)) is not None]:
        unseen = {one for shape in root.iter() if _is_unseen(shape) for one in shape.iter(f"{_DRAWING}p")}
        for one in root.iter(f"{_DRAWING}p"):
            if one not in unseen and (text := _said(one).strip()):
                yield text


def _is_unseen(shape: Element) -> bool:
    """Return whether a shape is hidden, or has the slide's number, its date, or a line for all slides."""
    if _local(shape) not in ("sp", "grpSp", "graphicFrame", "cxnSp"):
        return False
    return any(
        (_local(one) == "cNvPr" and one.get("hidden") in ("1", "true"))
        or (_local(one) == "ph" and one.get("type") in _FURNITURE)
        for properties in shape
        if _local(properties).startswith("nv")
        for one in properties.iter()
    )


def _of_opendocument(archive: zipfile.ZipFile) -> list[list[Note]] | None:
    pages = _pages(archive)
    return None if pages is None else [list(_beside(page)) for page in pages]


def _pages(archive: zipfile.ZipFile) -> list[Element] | None:
    content = parsed(archive, "content.xml")
    body = None if content is None else next(content.iter(q("office:presentation")), None)
    return None if body is None else body.findall(q("draw:page"))


def _beside(page: Element) -> Iterator[Note]:
    for notes in page.findall(q("presentation:notes")):
        for field in list(notes.iter()):
            if any(child.tag in _FIELDS for child in field):
                field.clear()
        if text := "\n".join(paragraphs(notes)).strip():
            yield Note("Notes", text)
    for comment in page.iter(q("office:annotation")):
        if text := "\n".join(paragraphs(comment)).strip():
            yield _comment(comment.findtext(q("dc:creator")), text)


def _of_open_xml(archive: zipfile.ZipFile) -> list[list[Note]] | None:
    slides = _slides(archive)
    if slides is None:
        return None
    authors = dict(_authors(archive, _related(archive, _MAIN).values()))
    return [list(_of_slide(archive, slide, authors)) if slide else [] for slide in slides]


def _slides(archive: zipfile.ZipFile) -> list[str] | None:
    """Return the parts of an Office Open XML file that are its slides, in order; "" for one that is missing."""
    presentation = parsed(archive, _MAIN)
    if presentation is None:
        return None
    parts = _related(archive, _MAIN)
    return [parts.get(one.get(_REFERENCE, ""), ("", ""))[1] for one in presentation.iter(f"{_SLIDES}sldId")]


def _of_slide(archive: zipfile.ZipFile, slide: str, authors: dict[str, str]) -> Iterator[Note]:
    for kind, part in _related(archive, slide).values():
        if kind not in ("notesSlide", "comments"):
            continue
        root = parsed(archive, part)
        if root is None:
            continue
        if kind == "comments":
            yield from _comments(root, authors)
        elif text := "\n".join(_typed(root)).strip():
            yield Note("Notes", text)


def _typed(notes: Element) -> Iterator[str]:
    """Yield the paragraphs of a page of notes."""
    for shape in notes.iter(f"{_SLIDES}sp"):
        holder = next(shape.iter(f"{_SLIDES}ph"), None)
        if holder is None or holder.get("type") not in _FURNITURE:
            yield from map(_said, shape.iter(f"{_DRAWING}p"))


def _said(paragraph: Element) -> str:
    signs = {f"{_DRAWING}br": "\n", f"{_DRAWING}tab": "\t"}
    return "".join(one.text or "" if one.tag == f"{_DRAWING}t" else signs.get(one.tag, "") for one in paragraph.iter())


def _comments(root: Element, authors: dict[str, str]) -> Iterator[Note]:
    """Yield comments and the answers to them, as PowerPoint has written them since 2007, and since 2021."""
    for one in root.iter():
        if _local(one) not in ("cm", "reply"):
            continue
        bodies = [child for child in one if _local(child) in ("text", "txBody")]
        texts = [body.text or "" if _local(body) == "text" else "\n".join(map(_said, body.iter(f"{_DRAWING}p")))
                 for body in bodies]  # fmt: skip
        if text := "\n".join(texts).strip():
            yield _comment(authors.get(one.get("authorId", "")), text)


def _comment(author: str | None, text: str) -> Note:
    return Note(f"Comment by {author}" if author else "Comment", text)


def _authors(archive: zipfile.ZipFile, parts: object) -> Iterator[tuple[str, str]]:
    for kind, part in parts:  # type: ignore[attr-defined]
        root = parsed(archive, part) if kind in ("commentAuthors", "authors") else None
        for one in root if root is not None else ():
            yield one.get("id", ""), one.get("name", "")


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _related(archive: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Map the id of each reference in a part of an Office Open XML file to the kind and name of the other part."""
    folder, name = posixpath.split(part)
    root = parsed(archive, f"{folder}/_rels/{name}.rels")
    found = {}
    for one in root if root is not None else ():
        if one.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/", folder, one.get("Target", ""))).lstrip("/")
            found[one.get("Id", "")] = (one.get("Type", "").rpartition("/")[2], target)
    return found
