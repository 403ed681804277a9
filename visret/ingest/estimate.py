"""What indexing will take, before a long run: pages, time and bytes, from a sample of the pages."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from visret.documents import formats
from visret.errors import DocumentError
from visret.index import page_bytes
from visret.ingest import process
from visret.ingest.discovery import discover
from visret.ingest.encoding import batches, encode
from visret.ingest.messages import Answer, Inside, Opened, Request
from visret.ingest.options import ReadOptions
from visret.ingest.report import Patterns
from visret.reduction import Storage
from visret.types import Encoder, Page, PageEmbedding

PAGES = 96  # of the sample
SECONDS = 20.0  # for opening files, and for encoding pages


@dataclass(frozen=True, slots=True)
class Estimate:
    """documents and bytes are counted; pages too, where all files can be opened in SECONDS.

    Office documents are taken to be like the others; documents in archives, and OCR, some seconds a page, are left out.
    pages: with something the model reads. seconds: for them, on this machine. index_bytes: what they take on disk.
    """

    documents: int
    bytes: int
    pages: int
    seconds: float
    index_bytes: int


def estimate(
    paths: str | Path | Iterable[str | Path],
    *,
    encoder: Encoder,
    storage: Storage | None = None,
    include: Patterns = (),
    exclude: Patterns = (),
    password: str | None = None,
) -> Estimate:
    """What a new index of these files and folders will take; nothing is written.

    include, exclude, password: as for `Retriever.add`. DocumentError where no page of the sample can be read.
    """
    files = [source.path for source in discover(paths, include=include, exclude=exclude).sources]
    chance = random.Random(0)
    options = ReadOptions(password=password, pictures=encoder.spec.modality == "image")
    with _Reader(options) as reader:
        places, opened = [], 0  # every page of the files that were opened
        deadline = time.monotonic() + SECONDS
        quick = [path for path in files if not formats.converts(path)]  # others are converted for it
        for path in chance.sample(quick, len(quick)):
            opened += 1
            places += [(path, number) for number in range(1, reader.count(path) + 1)]
            if time.monotonic() > deadline:
                break
        pages = [reader.page(path, number) for path, number in chance.sample(places, min(PAGES, len(places)))]
    readable = [page for page in pages if page is not None and encoder.can_read(page)]
    seconds, size = _encode(encoder, readable, storage or Storage())
    count = len(places) / opened * len(files) * len(readable) / len(pages)
    total = sum(path.stat().st_size for path in files)
    return Estimate(len(files), total, round(count), round(count * seconds, 3), round(count * size))


class _Reader:
    """A worker that reads files, another one where that died."""

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.worker: process.Worker | None = None

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self.worker is not None:
            self.worker.close()

    def count(self, path: Path) -> int:
        """How many pages the file has; none where it cannot be opened."""
        return sum(answer.pages for answer in self.read(path, ()) if isinstance(answer, Opened))

    def page(self, path: Path, number: int) -> Page | None:
        """None where it cannot be read."""
        return next((answer for answer in self.read(path, (number,)) if isinstance(answer, Page)), None)

    def read(self, path: Path, only: tuple[int, ...]) -> list[Answer]:
        """What comes of a file."""
        self.worker = self.worker or process.Worker()
        try:
            request = Request(str(path), self.options, only=only)
            return [answer for answer in self.worker.read(request, doc=str(path)) if not isinstance(answer, Inside)]
        except process.Died:  # it will in the run too, which says so
            self.worker = None
            return []


def _encode(encoder: Encoder, pages: list[Page], storage: Storage) -> tuple[float, float]:
    """Seconds and bytes a page. DocumentError where none can be encoded."""
    list(encode(encoder, pages[:1]))  # what happens only once
    started = time.monotonic()
    sizes = []
    for batch in batches(pages, encoder):
        for _, outcome in encode(encoder, batch):
            if isinstance(outcome, PageEmbedding):
                sizes.append(page_bytes(storage, outcome))
        if time.monotonic() - started > SECONDS:
            break
    if not sizes:
        raise DocumentError("estimate", f"{encoder.spec.name} reads none of the pages that were tried")
    return (time.monotonic() - started) / len(sizes), sum(sizes) / len(sizes)
