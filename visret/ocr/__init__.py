"""The words in a picture of a page, read by RapidOCR where it is installed (extra `ocr`), else by `glyph`.

    reading = ocr.read(image)
    reading.words, reading.confidence

Reading order and hyphens are those of the text layer. These are the modules; each imports only modules above it:

    letters     how much a text looks like words of a language
    printed     where print stands in a picture of a page
    edges       what looks like print in a picture and was not read
    lines       lines read in a picture, put together as words in reading order
    trust       whether the words of a text layer are what stands on the page
    joined      the page's own words, and those read in its picture, as one text
    glyph/      visret's own two networks that read pictures of pages, and their weights
    rapidocr    reading by RapidOCR
    engines     the choice between the two, and a cache of what they have read
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from visret.choices import OCR_MODES as MODES
from visret.errors import InvalidArgument
from visret.ocr import joined, trust
from visret.ocr.engines import DPI, ENGINES, NAMES, better_dpi, dpi_of, engine, read
from visret.ocr.lines import Reading
from visret.types import Loss, Page

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DPI",
    "ENGINES",
    "METADATA",
    "MODES",
    "Reading",
    "better_dpi",
    "dpi_of",
    "engine",
    "read",
    "usable_mode",
    "with_words",
]

METADATA = "ocr_confidence"  # in the metadata of a page that was read here: its words' mean confidence


def usable_mode(mode: str, modality: str) -> str:
    """Return the mode that `mode` means for a model that reads "text" or looks at an "image".

    For a model that looks at images, "auto" means "never". Raises InvalidArgument for another mode and for "always"
    with a model that reads no words, and whatever `engine` raises.
    """
    if mode not in MODES:
        raise InvalidArgument(f"ocr: {mode!r} is not one of {', '.join(MODES)}")
    if modality == "text":
        engine()  # a wrong setting is an error before the first file
        return mode
    if mode == "always":
        raise InvalidArgument("ocr: this model looks at the pictures of pages and reads no words; leave 'always' out")
    return "never"


def with_words(page: Page, mode: str = "auto", *, threads: int | None = None) -> Page:
    """Return the page with METADATA and the words that its image shows besides its own; unchanged if there are none.

    mode: "auto" reads the image only if the page's own words do not cover all that stands on it, or do not match it
    (`trust`); "always" and "never" do as they say. The page's own words stay as they are, unless they have no meaning
    or other and better words were read in their place.
    """
    if mode == "never" or page.image is None:
        return page
    image, dpi = page.image, _dpi_of(page.image, page.size_pt)

    def said(picture: Image) -> Reading:
        return read(picture, dpi=dpi, threads=threads)

    own = trust.sensible(page.words or ())
    doubt = trust.ANY if mode == "always" else trust.doubt(page, own, image, said)
    if doubt is None:
        return page
    whole = said(image)
    if whole.lost:
        page = replace(page, lost=(*page.lost, *whole.lost))
    own = joined.believed(own, whole, doubt)
    new = joined.missing(own, whole)
    kept = trust.without_nonsense(new)
    if len(kept.words) < len(new.words) or trust.is_unread([*own, *new.words], page, image):
        kept = trust.without_nonsense(new, unread=True)
        page = replace(page, lost=(*page.lost, _unreadable()))
    if not kept.words:
        return page
    metadata = {**page.metadata, METADATA: round(float(kept.confidence), 3)}
    return replace(page, words=joined.joined(own, kept), metadata=metadata)


def _unreadable() -> Loss:
    by = engine()
    more = "pip install 'visret[ocr]' reads Chinese, Japanese and worse pictures; for other scripts, " * (by == "glyph")
    layer = "put a text layer on it with an OCR program that knows the script, such as ocrmypdf"
    return Loss(f"print in a picture that {NAMES[by]} cannot read, as in another script", more + layer)


def _dpi_of(image: Image, size_pt: tuple[float, float] | None) -> float | None:
    """Return the resolution of a page's image; None if nothing states it."""
    return None if size_pt is None else image.width * 72 / size_pt[0]
