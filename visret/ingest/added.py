"""The vectors that added models make of the pages of an index, segment by segment.

Pages that are in the index are not read again: models that read words get the stored text, and models that look at
pages get their pictures, drawn from the files. What is made of a segment that is not finished is kept in the folder of
the index, so that an interrupted run goes on from there.
"""

from __future__ import annotations

import logging
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visret.errors import DocumentError, ModelMismatch, VisretError
from visret.index import IndexModel, PageIndex, Segment, Snapshot
from visret.index.embedded import Packed, kind_of, packed
from visret.index.layout import unfinished_file
from visret.ingest.report import Failure
from visret.types import Embedder, Page, PageRef

_log = logging.getLogger("visret")

PAGES = 64  # that are given to a model at once
PAGES_ELSEWHERE = 1024  # that are given to one on other machines
KEEP_SECONDS = 60.0  # after so many, what was made of an unfinished segment is kept

Draw = Callable[[PageRef], Page]


@dataclass(frozen=True, slots=True)
class Filled:
    """The report of what an added model did.

    model, kind: its name, and the kind of vectors: "dense" or "sparse". pages: those that have vectors now and had none
    before. empty: pages with nothing that it reads. failed: pages that it could not be given, with the reason; they are
    not found by its vectors. seconds: how long it took.
    """

    model: str
    kind: str
    pages: int = 0
    empty: int = 0
    failed: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


def record(embedder: Embedder) -> IndexModel:
    """Return what an index keeps of a model that is added to it."""
    spec = embedder.spec
    kind = {"embed": "dense", "sparse": "sparse"}[spec.task]
    made = {"kind": kind, **embedder.preprocessing}
    return IndexModel(spec.name, spec.revision, spec.dim, spec.modality, made)


def check_same(path: Path, here: IndexModel, embedder: Embedder) -> None:
    """Raise ModelMismatch unless a loaded model is the one that was added to the index."""
    now = record(embedder)
    if now == here:
        return
    said = {
        **{name: (getattr(here, name), getattr(now, name)) for name in ("name", "identity", "dim", "modality")},
        **{
            key: (here.preprocessing.get(key), now.preprocessing.get(key))
            for key in {*here.preprocessing, *now.preprocessing}
        },
    }
    what, (before, after) = next((key, both) for key, both in sorted(said.items()) if both[0] != both[1])
    raise ModelMismatch(
        path,
        f"the {kind_of(here)} vectors were made by {here.name} with {what} = {before!r}, this model has {after!r}; use "
        "that model, or remove it and add this one: visret remove-model",
    )


def fill(
    index: PageIndex,
    number: int,
    embedder: Embedder,
    draw: Draw,
    *,
    progress: Callable[[int, int], None] | None = None,
    at_once: int | None = None,
) -> Filled:
    """Let an added model go over all pages that it has not been over. draw: returns a page with its picture.

    progress: is told how many of these pages are done, and how many there are. at_once: how many of them the model gets
    at a time; None for PAGES. Raises IndexLocked where another process writes.
    """
    start = time.monotonic()
    with index.writing() as writer:
        snapshot = index.snapshot
        model = snapshot.added[number]
        report = Filled(model.name, kind_of(model))
        left = [segment for segment in snapshot.segments if number not in segment.added]
        total, done, pages = sum(len(snapshot.rows(one.number)) for one in left), 0, 0
        for segment in left:
            part = _Part(index.path, number, segment)
            try:
                for count in _make(part, snapshot, model, embedder, draw, report.failed, at_once or PAGES):
                    done += count
                    if progress is not None:
                        progress(done, total)
            except BaseException:
                part.keep()
                raise
            rows = [part.made.get(row) or packed(model, None) for row in range(len(segment))]
            writer.embed(segment.number, number, rows)
            part.drop()
            pages += sum(any(map(len, row.values())) for row in rows)
        if left:
            writer.merge()
    for failure in report.failed:
        _log.warning("%s, page %s: has no %s vector: %s", failure.path, failure.page, report.kind, failure.reason)
    empty = total - pages - len(report.failed)
    return Filled(report.model, report.kind, pages, empty, report.failed, round(time.monotonic() - start, 3))


class _Part:
    """The vectors made of the pages of a segment so far, by row; kept in a file until they are all there."""

    def __init__(self, index: Path, number: int, segment: Segment) -> None:
        self.segment = segment
        self.made: dict[int, Packed] = {}
        self._file = unfinished_file(index, number, segment.number)
        self._kept = time.monotonic()
        with (
            suppress(OSError, ValueError, KeyError, zipfile.BadZipFile),
            np.load(self._file, allow_pickle=False) as file,
        ):
            for name in file.files:
                row, _, array = name.partition(" ")
                self.made.setdefault(int(row), {})[array] = file[name]

    def add(self, row: int, page: Packed) -> None:
        """Take in what was made of a page."""
        self.made[row] = page
        if time.monotonic() - self._kept > KEEP_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write what there is to the file, as far as the disk allows; nothing else depends on it."""
        arrays = {f"{row} {name}": array for row, page in self.made.items() for name, array in page.items()}
        with suppress(OSError):
            draft = self._file.with_suffix(".new.npz")
            np.savez(draft, **arrays)  # type: ignore[arg-type]
            draft.replace(self._file)
        self._kept = time.monotonic()

    def drop(self) -> None:
        """Delete the file."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def _make(
    part: _Part,
    snapshot: Snapshot,
    model: IndexModel,
    embedder: Embedder,
    draw: Draw,
    failed: list[Failure],
    at_once: int,
) -> Iterator[int]:
    """Make what is lacking of the pages of a segment; yield how many pages are done in each step."""
    rows = snapshot.rows(part.segment.number)
    left = [row for row in rows.tolist() if row not in part.made]
    yield len(rows) - len(left)
    for start in range(0, len(left), at_once):
        some = left[start : start + at_once]
        pages = {}
        for row in some:
            ref = snapshot.ref(part.segment.number, row)
            try:
                page = _page(part.segment, row, ref, embedder, draw)
            except DocumentError as error:
                failed.append(Failure(ref.doc, ref.page, error.reason))
                continue
            if embedder.can_read(page):
                pages[row] = page
        for row, made in _embedded(embedder, model, pages, failed):
            part.add(row, made)
        yield len(some)


def _page(segment: Segment, row: int, ref: PageRef, embedder: Embedder, draw: Draw) -> Page:
    if embedder.spec.modality == "image":
        return draw(ref)
    return Page.from_text(segment.text(row), doc=ref.doc, page=ref.page)


def _embedded(
    embedder: Embedder, model: IndexModel, pages: dict[int, Page], failed: list[Failure]
) -> Iterator[tuple[int, Packed]]:
    """Yield what was made of each page; one that spoils the others is given alone, and named if it fails then too."""
    if not pages:
        return
    try:
        made: Sequence[object] = embedder.embed_pages(list(pages.values()))
        stored = [packed(model, one) for one in made]  # type: ignore[arg-type]
        yield from zip(pages, stored, strict=True)
    except VisretError as error:
        if len(pages) == 1:
            ((_, page),) = pages.items()
            failed.append(Failure(page.ref.doc, page.ref.page, str(error)))
            return
        for row, page in pages.items():
            yield from _embedded(embedder, model, {row: page}, failed)
