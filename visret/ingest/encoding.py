"""The encoding of pages to vectors, in batches: if a page spoils a batch, only that page is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from visret.errors import VisretError
from visret.types import Encoder, Page, PageEmbedding, PageRef

BATCH_PAGES = {"text": 32, "image": 4}


def encode(encoder: Encoder, pages: Sequence[Page]) -> Iterator[tuple[PageRef, PageEmbedding | str]]:
    """Yield the embedding of each page, or the reason why it has none."""
    if not pages:
        return
    try:
        yield from zip([page.ref for page in pages], encoder.encode_pages(pages), strict=True)
    except VisretError as error:
        if len(pages) == 1:
            yield pages[0].ref, str(error)
            return
        for page in pages:  # find the one that spoils the batch
            yield from encode(encoder, [page])


def batch_pages(encoder: Encoder) -> int:
    """Return how many pages are encoded together."""
    return BATCH_PAGES[encoder.spec.modality]


def batches(pages: Iterable[Page], encoder: Encoder) -> Iterator[list[Page]]:
    """Divide pages into the batches that are encoded together."""
    rest = iter(pages)
    while batch := list(islice(rest, batch_pages(encoder))):
        yield batch
