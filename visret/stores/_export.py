"""The pages of an index as points of a collection, whatever engine holds it.

One point holds a page (`_points`), and one more, the manifest, says which model and codec made them. `export` makes a
collection equal to an index: pages that are there with the same content are skipped, so that an export that was stopped
goes on where it was, and pages that are gone from the index are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from visret.choices import DENSE
from visret.errors import InvalidArgument, PageIndexError
from visret.index import PageIndex, Snapshot
from visret.reduction import Storage
from visret.search.pipeline import SAMPLE
from visret.stores import _points
from visret.stores._engine import SUMMARY, TOKENS, Engine, Payload, Point

DRIFT = 0.1
"""How far the mean length of pages may move, as a share, before the weights of all words are written again."""


Told = Callable[[int, int], None]
"""A function that is told how many pages are done, and how many there are."""


class Exported(NamedTuple):
    """The numbers of pages that an export wrote, that were there already, and that it deleted.

    left_out: the names of the models that were added to the index, whose vectors stay there: those that make sparse
    ones, and all for a collection that was made before they were added.
    """

    written: int
    kept: int
    deleted: int
    left_out: tuple[str, ...] = ()


def export(index: PageIndex, engine: Engine, *, keep: bool = False, progress: Told | None = None) -> Exported:
    """Write the pages of an index into a collection, and delete those that the index no longer has.

    keep: delete nothing, so that several indexes made in the same way can share a collection. progress: called with the
    number of pages that are done, and of all.

    Pages can be found as soon as they are written; it can be stopped at any time, and the next call goes on.

    Raises InvalidArgument, and writes nothing, for an index without pages or vectors, and if many pages have more
    vectors than a point holds; PageIndexError if the collection holds pages that were made in another way.
    """
    snapshot = exportable(index)
    large = [str(_points.id_of(*ref)) for ref in _points.too_large(snapshot, engine)]
    assert snapshot.fitted is not None  # `exportable` says so
    added = snapshot.added_for(DENSE)
    if not engine.exists():
        dims = dict.fromkeys((TOKENS, SUMMARY), snapshot.fitted.codec.dim + 1)
        engine.create(dims if added is None else dims | {DENSE: added[1].dim})
        engine.index({_points.WHERE: "keyword", _points.KIND: "keyword"})
        before = None
    else:
        before = engine.retrieve([_points.MANIFEST]).get(_points.MANIFEST)
        if before is not None and _points.added_in(before) is None:
            added = None  # it was made without room for them
    there = {one: payload["hash"] for one, payload in engine.scroll(["hash"], _points.is_page())}
    made = _manifest(snapshot, index.storage, before if there else None, added, keep=keep, counts=engine.weighs_words)
    made["large"] = sorted({*large, *(before["large"] if before and there and keep else ())})
    if before is not None and there and _made_by(before, keep=keep) != _made_by(made, keep=keep):
        raise PageIndexError(
            engine.name,
            "holds pages of another model, or stored in another way: export into another, or delete it first",
        )
    engine.upsert([Point(_points.MANIFEST, {}, {}, made)])
    writing = _Writing(engine)
    seen = set()
    for done, (segment, row) in enumerate(rows(snapshot), 1):
        payload = _points.payload(snapshot, segment, row, made["mean_terms"], added)
        seen.add(one := _points.id_of(payload["doc"], payload["page"]))
        if there.get(one) != payload["hash"]:
            writing.put(_points.point(snapshot, segment, row, payload, engine.most_floats, added))
        if progress is not None:
            progress(done, len(snapshot))
    writing.flush()
    gone = [] if keep else sorted(there.keys() - seen)
    if gone:
        engine.delete(gone)
    engine.finish()
    left_out = tuple(model.name for number, model in snapshot.added.items() if added is None or number != added[0])
    return Exported(writing.count, len(snapshot) - writing.count, len(gone), left_out)


def exportable(index: PageIndex) -> Snapshot:
    """Return what an index has now. Raises InvalidArgument if it has no pages, or they have no vectors."""
    snapshot = index.snapshot
    if not snapshot.model.makes_vectors:
        raise InvalidArgument(f"{index.path} was made without a model, so its pages have no vectors to export")
    if not len(snapshot) or snapshot.fitted is None:
        raise InvalidArgument(f"{index.path} has no pages to export")
    return snapshot


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
        size = sum(one.nbytes for one in point.vectors.values())
        if self._size + size > self._engine.batch:
            self.flush()
        self._points.append(point)
        self._size += size
        self.count += 1

    def flush(self) -> None:
        """Write what waits."""
        if self._points:
            self._engine.upsert(self._points)
        self._points, self._size = [], 0


def _manifest(
    snapshot: Snapshot,
    storage: Storage,
    before: Payload | None,
    added: _points.Added | None,
    *,
    keep: bool,
    counts: bool,
) -> Payload:
    """Return the manifest, with what must stay as it is in the one before. counts: whether the engine counts terms."""
    mean = None if counts else _mean_terms(snapshot)
    if mean is not None and before and (keep or abs(mean / (before["mean_terms"] or 1) - 1) <= DRIFT):
        mean = before["mean_terms"]
    refs = [snapshot.ref(*place) for place in _spread(snapshot)]
    made = _points.manifest(snapshot, storage, mean, [str(_points.id_of(*ref)) for ref in refs], added)
    made["longest"] = max(_longest(snapshot), before["longest"] if before else 0.0)
    made["vectors"] = sum(int(np.diff(s.offsets)[snapshot.rows(s.number)].sum()) for s in snapshot.segments)
    if before is not None and keep:
        made["keys"] = sorted({*made["keys"], *before["keys"]})
        made["vectors"] = max(made["vectors"], before["vectors"])
        if added is not None and (other := before.get(_points.ADDED)):
            made[_points.ADDED] |= {key: max(made[_points.ADDED][key], other[key]) for key in ("lacking", "longest")}
    return made


def _mean_terms(snapshot: Snapshot) -> float:
    """Return the mean number of terms of a page."""
    lengths = [s.postings.lengths[snapshot.rows(s.number)].sum(dtype=np.int64) for s in snapshot.segments]
    return float(sum(map(int, lengths)) / len(snapshot))


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
        _points.added_in(manifest),
    ]


def rows(snapshot: Snapshot) -> Iterator[tuple[int, int]]:
    """Yield the segment and row of every page."""
    for segment in snapshot.segments:
        yield from ((segment.number, row) for row in snapshot.rows(segment.number).tolist())


def _spread(snapshot: Snapshot) -> list[tuple[int, int]]:
    """Return the pages that say what a page is like in general, as `search.pipeline` chooses them."""
    places, count = list(rows(snapshot)), min(SAMPLE, len(snapshot))
    return [places[place] for place in ((2 * np.arange(count) + 1) * len(places) // (2 * count)).tolist()]


def _longest(snapshot: Snapshot) -> float:
    """Return a bound of the length of the vectors."""
    if snapshot.model.unit_vectors:
        return 1.05  # of codes of few bits, a little more than 1
    return max(
        float(np.linalg.norm(snapshot.segment(segment).page(row).vectors, axis=1).max())
        for segment, row in rows(snapshot)
    )
