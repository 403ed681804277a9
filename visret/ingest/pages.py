"""Opening a file and reading its pages, in a worker: by the text layer and, where that is in doubt, by the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from visret import documents, ocr
from visret.documents import formats, office
from visret.ingest.options import ReadOptions
from visret.ocr import trust
from visret.types import Loss, Page

OCR_THREADS = 2  # a page takes half the time, of 1.2 times the work, and the encoder waits for it
UNREAD_TEXT = Loss("text in a font without a table of characters", "--ocr auto reads it from the page's picture")


def is_converted(path: Path, options: ReadOptions) -> bool:
    """Return whether LibreOffice is asked for a PDF; without it, HTML and spreadsheets at least have words."""
    if not formats.converts(path) or office.program() is not None:
        return formats.converts(path)
    return options.pictures or not formats.has_text(path)


def opened(path: Path, options: ReadOptions) -> documents.Document:
    """Open a file, as plain text if nothing else can be had of it."""
    if formats.has_text(path):
        text, lost = office.text_without(path)
        document = documents.text_document(path, text)
        document.lost += lost
        return document
    return documents.open_document(path, password=options.password)


def read_page(document: documents.Document, number: int, options: ReadOptions) -> Page:
    """Read a page; if its words are in doubt, it gets those seen in its picture."""
    page = document.page(number, image=options.pictures)
    if options.ocr == "never" and not options.pictures and (page.torn or page.unread > trust.BROKEN):
        return replace(page, lost=(*page.lost, UNREAD_TEXT))
    if options.ocr == "never" or page.size_pt is None or (options.ocr == "auto" and not trust.doubtful(page)):
        return page
    dpi = ocr.dpi_of(page.size_pt)
    drawn = document.page(number, words=False, dpi=dpi).image
    read = ocr.with_words(replace(page, image=drawn), options.ocr, threads=OCR_THREADS)
    if drawn is not None and (better := ocr.better_dpi(drawn, dpi)) > dpi:
        drawn = document.page(number, words=False, dpi=better).image
        read = ocr.with_words(replace(page, image=drawn), options.ocr, threads=OCR_THREADS)
    return replace(read, image=page.image)
