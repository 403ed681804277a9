"""Reading and encoding the files of a run: what an `Executor` is given and yields, and the one that works right here.

Worker processes read pages ahead of the encoder, and the caller's thread encodes batches across files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from visret.index.packing import PackedPage, Packing
from visret.ingest import reader
from visret.ingest.costs import File
from visret.ingest.encoding import batch_pages, encode
from visret.ingest.made import MadePages
from visret.ingest.options import ReadOptions
from visret.ingest.progress import Teller, Watch
from visret.ingest.reader import Reader, lane_count
from visret.ingest.tasks import Read, Task, file_ahead
from visret.types import Encoder, Executor, PageEmbedding, PageRef

BATCH_SECONDS = 10.0  # pages that come slowly, as by OCR, do not wait for a full batch

Outcomes = Mapping[PageRef, PageEmbedding | PackedPage | str]


@dataclass(frozen=True, slots=True)
class Job:
    """The work of a run.

    tasks: the files. made: pages made in memory, which come after those of files; they cannot leave this process.
    packing: returns how the index stores pages now; it has to learn that from the first ones, if it was not `fitted`.
    teller: is to be called now and then. An executor sets the forecast of its progress.
    """

    tasks: Sequence[Task]
    made: Sequence[MadePages]
    options: ReadOptions
    encoder: Encoder
    packing: Callable[[], Packing]
    teller: Teller


@dataclass(frozen=True, slots=True)
class Encoded:
    """Some of what came of files, and what became of the pages in it: vectors, or the reason why there are none.

    Pages that the model cannot read are not in `outcomes`.
    """

    reads: Sequence[Read]
    outcomes: Outcomes


class Here(Executor[Job, Encoded]):
    """The executor that reads in processes of this machine, and encodes in this one."""

    def carry_out(self, job: Job) -> Iterator[Encoded]:
        """Yield what comes of files, then of pages that were made in memory, a batch at a time."""
        batch: list[Read] = []
        size = batch_pages(job.encoder)
        with _watched(job) as watch, Reader(job.tasks, job.options, watch) as reads:
            in_memory = (watch.reading(0, one.key, one.reads, time.process_time) for one in job.made)
            pages, taken = 0, time.monotonic()
            for item in chain(reads, chain.from_iterable(in_memory)):
                batch.append(item)
                pages += item.page is not None
                if pages >= size or time.monotonic() - taken > BATCH_SECONDS:
                    yield _encoded(job.encoder, batch, watch)
                    batch, pages, taken = [], 0, time.monotonic()
            yield _encoded(job.encoder, batch, watch)


def _encoded(encoder: Encoder, batch: Sequence[Read], watch: Watch) -> Encoded:
    """Encode the pages of a batch."""
    pages = [read.page for read in batch if read.page is not None]
    with watch.encoding(pages):
        return Encoded(batch, dict(encode(encoder, [page for page in pages if encoder.can_read(page)])))


def _watched(job: Job) -> Watch:
    return Watch(
        job.teller,
        [*map(file_ahead, job.tasks), *(File(one.key, "stored", 0, pages=one.pages) for one in job.made)],
        lanes=lane_count(len(job.tasks)),
        options=job.options,
        spec=job.encoder.spec,
        room=reader.AHEAD_BYTES,
    )
