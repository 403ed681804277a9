"""An estimate, before a long run, of the pages, time and bytes that indexing will take, from a sample of pages."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from visret.documents import formats
from visret.errors import DocumentError
from visret.index import page_bytes
from visret.index.embedded import packed
from visret.ingest.added import record
from visret.ingest.discovery import Source, discover
from visret.ingest.encoding import batches, encode
from visret.ingest.fetched import Fetched
from visret.ingest.messages import Inside, Opened, Request, WorkerAnswer
from visret.ingest.options import ReadOptions
from visret.ingest.process import Died, Workers
from visret.ingest.report import Patterns
from visret.reduction import Storage
from visret.types import Embedder, Encoder, Page, PageEmbedding

PAGES = 96  # of the sample
SECONDS = 20.0  # for opening files, and for encoding pages


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of what indexing will take.

    Documents and bytes are counted, and so are pages if all files can be opened in SECONDS. Office documents are taken
    to be like the others; documents in archives are left out, and so is OCR, which takes some seconds a page.
    pages: those with something that the model reads. seconds: for these, on this machine. index_bytes: their size on
    disk.
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
    beside: Embedder | None = None,
    storage: Storage | None = None,
    include: Patterns = (),
    exclude: Patterns = (),
    password: str | None = None,
) -> Estimate:
    """Estimate what a new index of these files and folders will take; nothing is written.

    beside: the model whose single vectors are added, if the encoder has one (`embedders.load_beside`).
    include, exclude, password: as for `Retriever.add`. Raises DocumentError where no page of the sample can be read.
    """
    files = discover(paths, include=include, exclude=exclude).sources
    chance = random.Random(0)
    options = ReadOptions(password=password, pictures=encoder.spec.modality == "image")
    with closing(Workers()) as workers, closing(Fetched()) as fetched:

        def asked(source: Source, *pages: int) -> list[WorkerAnswer]:
            try:
                path = source.path if source.object is None else fetched.file(source.object)
            except DocumentError:  # the run reports it
                return []
            return _read(workers, Request(str(path), options, only=pages))

        places, opened = [], 0  # every page of the files that were opened
        deadline = time.monotonic() + SECONDS
        quick = [source for source in files if not formats.converts(source.path)]  # the others would be converted
        for source in chance.sample(quick, len(quick)):
            opened += 1
            answers = asked(source)
            pages_of_it = sum(answer.pages for answer in answers if isinstance(answer, Opened))
            places += [(source, number) for number in range(1, pages_of_it + 1)]
            if time.monotonic() > deadline:
                break
        sample = chance.sample(places, min(PAGES, len(places)))
        if any(source.object is not None for source, _ in sample):  # each is fetched once
            sample.sort(key=lambda place: place[0].address)
        read = [asked(source, number) for source, number in sample]
    pages = [answer for answers in read for answer in answers if isinstance(answer, Page)]
    readable = [page for page in pages if encoder.can_read(page)]
    seconds, size = _encode(encoder, beside, readable, storage or Storage())
    count = len(places) / opened * len(files) * len(readable) / len(sample)
    total = sum(source.version().size for source in files)
    return Estimate(len(files), total, round(count), round(count * seconds, 3), round(count * size))


def _read(workers: Workers, request: Request) -> list[WorkerAnswer]:
    """Return what comes of a file; nothing where it ends the worker, as it will in the run, which reports it."""
    try:
        answers = list(workers.read(request, doc=request.path))
    except Died:
        return []
    return [answer for answer in answers if not isinstance(answer, Inside)]


def _encode(encoder: Encoder, beside: Embedder | None, pages: list[Page], storage: Storage) -> tuple[float, float]:
    """Return the seconds and bytes that a page takes. Raises DocumentError where none can be encoded."""
    list(encode(encoder, pages[:1]))  # what happens only once
    _bytes_beside(beside, pages[:1])
    started = time.monotonic()
    sizes = []
    small = 0
    for batch in batches(pages, encoder):
        small += _bytes_beside(beside, batch)
        for _, outcome in encode(encoder, batch):
            if isinstance(outcome, PageEmbedding):
                sizes.append(page_bytes(storage, outcome))
        if time.monotonic() - started > SECONDS:
            break
    if not sizes:
        raise DocumentError("estimate", f"{encoder.spec.name} reads none of the pages that were tried")
    return (time.monotonic() - started) / len(sizes), (sum(sizes) + small) / len(sizes)


def _bytes_beside(beside: Embedder | None, pages: Sequence[Page]) -> int:
    """Return the bytes of the single vectors that a model makes of pages; 0 without a model."""
    read = [page for page in pages if beside is not None and beside.can_read(page)]
    if beside is None or not read:
        return 0
    model = record(beside)
    return sum(part.nbytes for made in beside.embed_pages(read) for part in packed(model, made).values())
