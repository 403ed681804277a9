"""Pages as context for a language model: hits in, chat messages out, with an id for each page to cite."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from visret import pdf
from visret.errors import DocumentError
from visret.types import Hit, Page

if TYPE_CHECKING:
    from PIL.Image import Image

INSTRUCTION = (
    "Answer the question from the pages below and from nothing else. Cite the pages that support each statement by "
    "their numbers in square brackets, such as [1]. If the pages do not answer it, say so."
)
IMAGE_PIXELS = 1_000_000  # about what vision models scale a page to; more costs tokens and shows nothing new


def messages(
    question: str,
    hits: Sequence[Hit],
    *,
    pages: Callable[[Hit], Page] | None = None,
    vision: bool = True,
    max_pixels: int = IMAGE_PIXELS,
) -> list[dict[str, Any]]:
    """The question and the pages of the hits, as messages of the OpenAI chat format.

    Each page comes as its citation id ("[1] report.pdf, page 3"), its text where it has one, and its picture.

    pages: reads the page of a hit; `Retriever.page` also knows pages made in memory. Without it the hit's file is read.
    vision: False leaves the pictures out, for models that read text only.
    max_pixels: pictures are made smaller to this many.
    """
    read = pages or _from_file
    content: list[dict[str, Any]] = []
    for number, hit in enumerate(hits, 1):
        page = read(hit)
        content.append(_text(f"[{number}] {hit.doc}, page {hit.page}\n{page.text}".rstrip()))
        if vision and page.image is not None:
            content.append({"type": "image_url", "image_url": {"url": _data_url(page.image, max_pixels)}})
    content.append(_text(f"Question: {question}"))
    if not vision:
        joined = "\n\n".join(part["text"] for part in content)
        return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": joined}]
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": content}]


def _from_file(hit: Hit) -> Page:
    if hit.source is None:
        raise DocumentError(hit.doc, "was made in memory; pass pages=retriever.page", page=hit.page)
    with pdf.open_document(hit.source) as document:
        return document.page(hit.page, doc=hit.doc, image=True)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _data_url(image: Image, max_pixels: int) -> str:
    width, height = image.size
    shrink = min(1.0, (max_pixels / (width * height)) ** 0.5)
    if shrink < 1:
        image = image.resize((max(1, int(width * shrink)), max(1, int(height * shrink))))
    out = BytesIO()
    image.save(out, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
