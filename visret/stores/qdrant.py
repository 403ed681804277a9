"""Qdrant: the pages of an index as points of a collection, and the collection in the place of an index.

One point holds a page (`_points`), and one more, the manifest, says which model and codec made them. `export` makes a
collection equal to an index: pages that are there with the same content are skipped, so that an export that was stopped
goes on where it was, and pages that are gone from the index are deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from visret.errors import InvalidArgument, PageIndexError
from visret.index import IndexModel, PageIndex, Snapshot
from visret.index.page_index import IndexStats
from visret.reduction import Storage
from visret.search.pipeline import SAMPLE
from visret.stores import _engines, _points
from visret.stores._engines import Engine, Payload, Point
from visret.stores._pages import Pages
from visret.stores._scorers import SCORERS

BATCH = 4_500_000
"""The bytes of float32 vectors in one request, at most; a page has fewer.

They are five times as many in JSON, and a server takes 32 MB of that.
"""
DRIFT = 0.1
"""How far the mean length of pages may move, as a share, before the weights of all words are written again."""


Told = Callable[[int, int], None]
"""A function that is told how many pages are done, and how many there are."""


class Exported(NamedTuple):
    """The numbers of pages that an export wrote, that were there already, and that it deleted."""

    written: int
    kept: int
    deleted: int


def export(index: PageIndex, url: str | Engine, *, keep: bool = False, progress: Told | None = None) -> Exported:
    """Write the pages of an index into a collection of Qdrant, and delete those that the index no longer has.

    url: as `visret.stores` has it. keep: delete nothing, so that several indexes made in the same way can share a
    collection. progress: called with the number of pages that are done, and of all.

    Pages can be found as soon as they are written; it can be stopped at any time, and the next call goes on.

    Raises InvalidArgument, and writes nothing, for an index without pages or vectors, and if many pages have
    more vectors than a point holds; PageIndexError if the collection holds pages that were made in another way.
    """
    engine = _engines.at(url) if isinstance(url, str) else url
    snapshot = index.snapshot
    if not snapshot.model.makes_vectors:
        raise InvalidArgument(f"{index.path} was made without a model, so its pages have no vectors to export")
    if not len(snapshot) or snapshot.fitted is None:
        raise InvalidArgument(f"{index.path} has no pages to export")
    _points.too_large(snapshot, snapshot.fitted.codec.dim + 1)
    try:
        return _export(snapshot, index.storage, engine, keep, progress)
    finally:
        if isinstance(url, str):
            engine.close()


def _export(snapshot: Snapshot, storage: Storage, engine: Engine, keep: bool, progress: Told | None) -> Exported:
    assert snapshot.fitted is not None  # there are pages
    if not engine.exists():
        engine.create(snapshot.fitted.codec.dim + 1)
        engine.index({_points.WHERE: "keyword", _points.KIND: "keyword"})
    before = engine.retrieve([_points.MANIFEST]).get(_points.MANIFEST)
    there = {one: payload["hash"] for one, payload in engine.scroll(["hash"], _points.is_page())}
    made = _manifest(snapshot, storage, before if there else None, keep=keep)
    if before is not None and there and _made_by(before, keep=keep) != _made_by(made, keep=keep):
        raise PageIndexError(
            engine.name,
            "holds pages of another model, or stored in another way: export into another, or delete it first",
        )
    engine.upsert([Point(_points.MANIFEST, {}, made)])
    writing = _Writing(engine)
    seen = set()
    for done, (segment, row) in enumerate(_rows(snapshot), 1):
        payload = _points.payload(snapshot, segment, row, made["mean_terms"])
        seen.add(one := _points.id_of(payload["doc"], payload["page"]))
        if there.get(one) != payload["hash"]:
            writing.put(_points.point(snapshot, segment, row, payload))
        if progress is not None:
            progress(done, len(snapshot))
    writing.flush()
    gone = [] if keep else sorted(there.keys() - seen)
    if gone:
        engine.delete(gone)
    engine.finish()
    return Exported(writing.count, len(snapshot) - writing.count, len(gone))


class _Writing:
    """Points on their way, several in a request; numbers to filter by are indexed with the first that has them."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        self._engine = engine
        self._points: list[Point] = []
        self._size = 0
        self._indexed: set[str] = set()

    def put(self, point: Point) -> None:
        """Write a point, soon."""
        new = {f"{_points.NUMBERS}.{name}" for name in point.payload[_points.NUMBERS]} - self._indexed
        if new:
            self._engine.index(dict.fromkeys(sorted(new), "float"))
            self._indexed |= new
        size = sum(one.nbytes for one in point.vectors.values() if isinstance(one, np.ndarray))
        if self._size + size > BATCH:
            self.flush()
        self._points.append(point)
        self._size += size
        self.count += 1

    def flush(self) -> None:
        """Write what waits."""
        if self._points:
            self._engine.upsert(self._points)
        self._points, self._size = [], 0


def _manifest(snapshot: Snapshot, storage: Storage, before: Payload | None, *, keep: bool) -> Payload:
    """Return the manifest, with what must stay as it is in the one before."""
    lengths = [s.postings.lengths[snapshot.rows(s.number)].sum(dtype=np.int64) for s in snapshot.segments]
    mean = float(sum(map(int, lengths)) / len(snapshot))
    if before is not None and (keep or abs(mean / (before["mean_terms"] or 1) - 1) <= DRIFT):
        mean = before["mean_terms"]
    refs = [snapshot.ref(*place) for place in _spread(snapshot)]
    made = _points.manifest(snapshot, storage, mean, [str(_points.id_of(*ref)) for ref in refs])
    made["longest"] = max(_longest(snapshot), before["longest"] if before else 0.0)
    made["vectors"] = sum(int(np.diff(s.offsets)[snapshot.rows(s.number)].sum()) for s in snapshot.segments)
    large = _points.too_large(snapshot, snapshot.fitted.codec.dim + 1)  # type: ignore[union-attr]
    made["large"] = sorted(
        {*(str(_points.id_of(*ref)) for ref in large), *(before["large"] if before and keep else ())}
    )
    if before is not None and keep:
        made["keys"] = sorted({*made["keys"], *before["keys"]})
        made["vectors"] = max(made["vectors"], before["vectors"])
    return made


def _made_by(manifest: Payload, *, keep: bool) -> list[object]:
    """Return what must be equal for pages to meet in one score, and to be read by one manifest.

    Terms that are made by other rules are written again, unless pages of other indexes are kept.
    """
    model, codec = manifest["model"], manifest["codec"]
    return [
        manifest["format"],
        manifest["terms"] if keep else None,
        model,
        codec["name"],
        codec["dim"],
        codec["step"],
        manifest["fitted"],
    ]


def _rows(snapshot: Snapshot) -> Iterator[tuple[int, int]]:
    """Yield the segment and row of every page."""
    for segment in snapshot.segments:
        yield from ((segment.number, row) for row in snapshot.rows(segment.number).tolist())


def _spread(snapshot: Snapshot) -> list[tuple[int, int]]:
    """Return the pages that say what a page is like in general, as `search.pipeline` chooses them."""
    rows, count = list(_rows(snapshot)), min(SAMPLE, len(snapshot))
    return [rows[place] for place in ((2 * np.arange(count) + 1) * len(rows) // (2 * count)).tolist()]


def _longest(snapshot: Snapshot) -> float:
    """Return a bound of the length of the vectors."""
    if snapshot.model.unit_vectors:
        return 1.05  # of codes of few bits, a little more than 1
    return max(
        float(np.linalg.norm(snapshot.segment(segment).page(row).vectors, axis=1).max())
        for segment, row in _rows(snapshot)
    )


class QdrantIndex:
    """A collection in the place of an index, for a Retriever; it is only read.

    path: the address, as errors name it. snapshot: its pages.
    """

    def __init__(self, engine: Engine) -> None:
        self.path = Path(engine.name)
        self._engine = engine
        self.snapshot = self._read()

    @property
    def model(self) -> IndexModel:
        """The model of its vectors."""
        return self.snapshot.model

    @property
    def storage(self) -> Storage:
        """The way the index stored the vectors."""
        return self.snapshot.storage

    def refresh(self) -> bool:
        """Forget what was read, and return whether the manifest differs."""
        before = self.snapshot.manifest
        self.snapshot = self._read()
        return self.snapshot.manifest != before

    def writing(self) -> NoReturn:
        """Refuse to write."""
        raise InvalidArgument(
            f"{self._engine.name} is only searched; change the index that it was made from, and run visret export again"
        )

    def compact(self, **_: object) -> NoReturn:
        """Refuse to write."""
        self.writing()

    def reindexing(self, *_: object) -> NoReturn:
        """Refuse to write."""
        self.writing()

    go_back = writing

    def stats(self) -> IndexStats:
        """Count what is there; its bytes are for the engine to say."""
        documents, pages = list(self.snapshot.documents()), self.snapshot
        states = Counter(document.state for document in documents)
        return IndexStats(
            len(documents), len(pages), pages.manifest["vectors"], 0, states, 1, 0, 0, 0, _points.FORMAT, ()
        )

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()

    def _read(self) -> Pages:
        if not self._engine.exists():
            raise _engines.absent(self._engine.name)
        manifest = self._engine.retrieve([_points.MANIFEST]).get(_points.MANIFEST)
        if manifest is None:
            raise _engines.absent(self._engine.name)
        return Pages(self._engine, manifest, SCORERS)


def open_(url: str) -> QdrantIndex:
    """Open a collection at an address. Raises PageIndexError if there is none, or visret did not write it."""
    return QdrantIndex(_engines.at(url))
