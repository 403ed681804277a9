"""Pages as the index keeps them: those made in memory, which have no file, and those whose file is drawn again."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

from visret import documents, ocr
from visret.documents import formats
from visret.documents.inside import unpacked
from visret.errors import DocumentError, MissingExtra
from visret.index import Document, PageIndex, renditions
from visret.ingest.discovery import Source, source_at
from visret.ingest.fetched import Fetched
from visret.types import Box, Page, PageRef, Word

if TYPE_CHECKING:
    from PIL.Image import Image


def stored_page(index: PageIndex, ref: PageRef, *, image: bool = True) -> Page:
    """Return a page as the index keeps it: its text and, if made in memory, its picture, unless `image` is False."""
    snapshot = index.snapshot
    segment, row = snapshot.find(ref)
    text, word_boxes = snapshot.words(segment, row)
    size_pt, metadata = snapshot.size_pt(segment, row), snapshot.page_metadata(segment, row)
    if size_pt is None:
        return Page.from_text(text, doc=ref.doc, page=ref.page, metadata=metadata)
    words = None
    if word_boxes is not None:
        lines = [(word, line) for line, on_it in enumerate(text.split("\n")) for word in on_it.split()]
        boxes = [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in word_boxes]
        words = tuple(Word(word, box, (), line) for (word, line), box in zip(lines, boxes, strict=True))
    picture = stored_image(index, ref) if image else None
    return Page(ref, size_pt, picture, words, None, metadata)


def stored_image(index: PageIndex, ref: PageRef) -> Image | None:
    """Return the picture that the index keeps of a page, or None. Raises DocumentError where it is damaged."""
    from PIL import Image

    data = renditions.read(index.path, index.snapshot.document(ref.doc).number, ref.page)
    try:
        return None if data is None else Image.open(BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        reason = f"its picture in the index is damaged ({error}); `visret verify` says what else is"
        raise DocumentError(ref.doc, reason, page=ref.page) from error


def drawn_page(
    index: PageIndex,
    ref: PageRef,
    fetched: Fetched,
    *,
    dpi: float,
    password: str | None,
    words: bool = True,
    box: Box | None = None,
) -> Page:
    """Return a page of a file, read again; words that were read by OCR are those that were indexed.

    fetched: holds the file, if it is an object: pages of one document are mostly drawn one after the other. words:
    whether they are wanted beside the picture. box: draw only this part of the page, in page fractions.
    """
    snapshot = index.snapshot
    document = snapshot.document(ref.doc)
    source = check_unchanged(index, document)
    metadata = snapshot.page_metadata(*snapshot.find(ref))
    pdf = renditions.pdf_of(index.path, document.number)
    if pdf is None and formats.converts(document.member or document.source or ""):
        page = stored_page(index, ref)
        if page.size_pt is None:  # HTML that was read as plain text
            return page
        raise DocumentError(document.source or "", "the PDF it was converted to is lost; index it again")
    with ExitStack() as stack:
        path = pdf or source.path
        if pdf is None and source.object is not None:
            path = stack.enter_context(fetched.held(source.object))
        if document.member and pdf is None:
            path = stack.enter_context(unpacked(path, document.member, password=password))
        opened = stack.enter_context(documents.open_document(path, password=password))
        page = opened.page(ref.page, doc=ref.doc, dpi=dpi, metadata=metadata, words=words, box=box)
    if not words:
        return page
    return replace(page, words=stored_page(index, ref).words) if ocr.METADATA in metadata else page


def check_unchanged(index: PageIndex, document: Document) -> Source:
    """Return the document's file. Raises DocumentError unless it is the one that was indexed."""
    address = document.source or ""
    if document.member and (file := index.snapshot.at(address)) is not None:
        document = index.snapshot.document(file)
    try:
        source = source_at(address, document.doc)
        if source.version() == (document.size, document.mtime_ns) or source.sha256() == document.hash:
            return source
    except OSError as error:
        reason = "is no longer there" if isinstance(error, FileNotFoundError) else error.strerror
        raise DocumentError(address, f"{reason}; put it back, or index again") from error
    except MissingExtra as error:
        raise DocumentError(address, str(error)) from error
    raise DocumentError(address, "has changed since it was indexed; index it again to see its pages")


def webp(image: Image) -> bytes:
    """Return a picture as lossless WebP, because it may be indexed again with another model."""
    out = BytesIO()
    image.save(out, "webp", lossless=True, method=0)
    return out.getvalue()
