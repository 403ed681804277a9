"""Runs whose files are cut into parts, as for other machines, and what an index holds, to compare two of them."""

import pickle
import random

import visret
from visret.encoders import _languages
from visret.ingest.apart import Model, PartEncoder, PartReader
from visret.ingest.execution import Encoded
from visret.ingest.parts import Cut


def sent(value):
    """A value as it arrives in another process."""
    return pickle.loads(pickle.dumps(value))


class InParts:
    """An executor that does everything in this process, in any order, and loses portions on the way.

    losses: the share of calls that end with the loss of a portion, or a function of the portion.
    """

    def __init__(self, *, losses=0.0, seed=0):
        self.losses = losses if callable(losses) else lambda portion: self.random.random() < losses
        self.random = random.Random(seed)
        self.portions = 0
        self.lost = 0

    def carry_out(self, job):
        reader, encoder = PartReader(), PartEncoder()
        reader.ready(visret.__version__)
        encoder.ready(visret.__version__, sent(Model.of(job.encoder, job.packing().index)), 1)
        cut = Cut(job.tasks, job.encoder.spec.modality)
        read = []
        try:
            while cut.left:
                portion = cut.next_portion() if not read or self.random.random() < 0.6 else None
                if portion is not None:
                    parts, answers = reader.read(sent(portion.parts), job.options)
                    if reads := list(cut.was_read(portion, sent(parts.glances))):
                        yield Encoded(reads, {})
                    read.append((portion, sent(answers)))
                    continue
                portion, answers = read.pop(self.random.randrange(len(read)))
                self.portions += 1
                if self.losses(portion):
                    self.lost += 1
                    if reads := list(cut.died(portion, "it was lost")):
                        yield Encoded(reads, {})
                    yield from (encoded for _, encoded in cut.ready(in_order=job.packing().fitted is None))
                    continue
                coded, said, warned = encoder.encode(answers, sent(job.packing()))
                assert said == []
                _languages.join_others(warned)
                cut.was_encoded(portion, sent(coded))
                yield from (encoded for _, encoded in cut.ready(in_order=job.packing().fitted is None))
        finally:
            reader.workers.close()
            reader.close()


def contents(retriever):
    """Everything that an index holds: of each document but its number, and of each page as it is stored."""
    index = retriever._index
    index.refresh()
    snapshot = index.snapshot
    documents = {
        one.doc: [
            *(one.source, one.member, one.hash, one.state, one.reason, one.expected, one.metadata, one.size),
            *(list(one.pages), list(one.empty), list(one.failed), list(one.lost)),
        ]
        for one in snapshot.documents()
    }
    pages = {}
    for segment in snapshot.segments:
        for row in snapshot.rows(segment.number).tolist():
            stored = {name: array.tobytes() for name, array in segment.packed(row).items()}
            ref = snapshot.ref(segment.number, row)
            assert ref not in pages
            pages[ref] = stored, snapshot.size_pt(segment.number, row), snapshot.page_metadata(segment.number, row)
    return documents, pages
