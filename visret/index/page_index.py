"""An index of pages in a folder; visret/index/layout.py describes the files."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from visret import forks
from visret.codec import Codec
from visret.errors import PageIndexError
from visret.folders import unwritable
from visret.index import catalogue, damage, seal, versions
from visret.index import fitted as fits
from visret.index.catalogue import DocumentRow, IndexModel, LivePages, SegmentRow
from visret.index.embedded import adding, kind_of
from visret.index.fields import FIELDS, VECTORS, pack_page
from visret.index.fitted import Fitted
from visret.index.layout import CATALOGUE, FITTED, LOCK, MAX_NUMBER, NEXT, RENDITIONS, SEAL, SEGMENTS
from visret.index.segment import Segment, open_segment
from visret.index.snapshot import Snapshot
from visret.index.upgrade import upgrade
from visret.index.writer import Writer, sweep, writer_lock
from visret.reduction import Storage, losing_lengths, mean_count, summary_size
from visret.types import PageEmbedding

_Segments = dict[int, tuple[Segment, LivePages]]
_SIZE = "SELECT coalesce(sum(bytes), 0) FROM segments"


@dataclass(frozen=True, slots=True)
class IndexStats:
    """The size of an index.

    vectors: those stored for its pages. bytes: its size on disk. states: the number of documents in each state.
    segments: how many it has. removed: pages that are gone and still take room. free: free bytes on the disk.
    format: that of the catalogue, see layout.py.
    beside: bytes of segments that belong not to this version, but to one that a reindex is building or has replaced.
    lacks: how many pages lack which fields, and what adds them, in words.
    """

    documents: int
    pages: int
    vectors: int
    bytes: int
    states: Mapping[str, int]
    segments: int
    removed: int
    free: int
    beside: int
    format: int
    lacks: Sequence[str]

    @property
    def bytes_per_page(self) -> float:
        """Bytes on disk for each page; 0 where there is none."""
        return self.bytes / self.pages if self.pages else 0.0


def page_bytes(storage: Storage, page: PageEmbedding) -> int:
    """Estimate the bytes that a page, as a model makes it, takes on disk: vectors, summary, means, places and text."""
    if not len(page.vectors):
        return sum(array.nbytes for array in pack_page(page).values())
    reduced = storage.reduce(page)
    count, d = reduced.vectors.shape
    d = storage.dim or d
    vectors = count * Codec(storage.codec, d).bytes_a_vector
    small = (summary_size(count) + mean_count(count)) * Codec("int8", d).bytes_a_vector
    return int(vectors + small + sum(array.nbytes for array in pack_page(reduced).values()))


class PageIndex:
    """An index of pages as vectors, on disk. Made by `create` or `open`.

    Readers use `snapshot`, one committed state; `refresh` goes to the latest. Safe to use from several threads.
    `damage.verify` and `damage.repair` are for an index that may not open.
    """

    def __init__(self, path: str | Path, *, version_of: PageIndex | None = None) -> None:
        """Open an index, or, with `version_of`, the version of that index whose catalogue is in the folder `path`."""
        self._home = Path(path).absolute()  # of the catalogue
        self._path = self._home if version_of is None else version_of.path  # of everything else
        self._guard = forks.Lock()
        self._written = 0  # the latest commit of our own
        # Segments that somebody in this process may still read, whose folders therefore outlive their pages.
        self._open: WeakValueDictionary[int, Segment] = (
            WeakValueDictionary() if version_of is None else version_of._open
        )
        self._state: _State | None = None  # closed
        self.refresh()

    @classmethod
    def create(cls, path: str | Path, *, model: IndexModel, storage: Storage = Storage()) -> PageIndex:  # noqa: B008
        """Make an empty index in a new or empty folder, and open it."""
        _check_storage(path, model, storage)
        cls.check_new(path)
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a path with a zero in it
            raise PageIndexError(path, f"cannot be made: {getattr(error, 'strerror', None) or error}") from error
        with writer_lock(folder):
            _refuse_used(folder)
            with catalogue.writing_errors(folder):
                (folder / SEGMENTS).mkdir(exist_ok=True)
                versions.create(folder, model, storage)
        return cls.open(path)

    @staticmethod
    def check_new(path: str | Path) -> None:
        """Raise PageIndexError if `create` can make no index: nothing can be written, or something is there already.

        It is quick and leaves nothing behind, so it can be called before a model is loaded.
        """
        folder = Path(path)
        if reason := unwritable(folder):
            raise PageIndexError(path, f"cannot be made: {reason}")
        if folder.exists():
            _refuse_used(folder)

    @classmethod
    def open(cls, path: str | Path) -> PageIndex:
        """Open an index. Maps its files and reads no vectors. Raises IndexFormatError."""
        return cls(path)

    @property
    def path(self) -> Path:
        """The folder of the index, as an absolute path."""
        return self._path

    @property
    def address(self) -> str:
        """The path, which opens the index again."""
        return str(self._path)

    @property
    def model(self) -> IndexModel:
        """The model of its vectors."""
        return self.snapshot.model

    @property
    def storage(self) -> Storage:
        """The way vectors are made smaller and encoded before they are stored."""
        return self._latest().storage

    @property
    def snapshot(self) -> Snapshot:
        """The committed state that readers see: the latest at open, at `refresh`, and after our own commits."""
        return self._latest().snapshot

    def refresh(self) -> bool:
        """Go to the latest committed state, and return whether it differs from the one before."""
        with self._guard:
            before = self._state
            with closing(catalogue.connect(self._home)) as connection, catalogue.reading_errors(self._home):
                # One transaction: no commit, and so no removal of a folder, comes between the rows and the maps.
                connection.execute("BEGIN")
                settings = catalogue.read_settings(connection)
                storage, learned, commits = settings.storage, settings.fitted, settings.commits
                if before is not None and before.snapshot.commits == commits:
                    return False
                models = catalogue.read_models(connection)
                model = models[min(models)]
                same = before is not None and (before.snapshot.model, before.storage, before.learned)
                fitted = before.snapshot.fitted if before and same == (model, storage, learned) else None
                if fitted is None:
                    fitted = fits.read(self._path, storage, model.dim, learned)
                documents = catalogue.read_documents(connection)
                segments = self._read_segments(connection, models, documents, fitted)
                unread = catalogue.read_unread_pages(connection)
                losses = catalogue.read_losses(connection, settings)
                keys = catalogue.read_metadata_keys(connection)
            added = {number: one for number, one in models.items() if one is not model}
            snapshot = Snapshot(
                self._path, commits, model, fitted, segments, documents, unread, losses, keys, settings.floor, added
            )
            self._state = _State(snapshot, segments, storage, learned)
            return True

    def embedding(self, ref: tuple[str, int]) -> PageEmbedding:
        """Return a page as stored: its vectors are what scoring sees. Raises InvalidArgument if there is none."""
        return self.snapshot.embedding(ref)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Hold the only writer; see `Writer`. What is pending at the end is committed, or discarded after an error.

        Raises IndexLocked where another process, or another thread of this one, is writing.
        """
        with writer_lock(self._path), self._writing() as writer:
            yield writer

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        with self._connected() as connection:
            state = self._latest()
            writer = Writer(
                self._path,
                connection,
                state.snapshot,
                model=state.snapshot.model,
                storage=state.storage,
                fitted=state.snapshot.fitted,
                committed=self._wrote,
                sweep=self._tidy,
            )
            del state  # or its segments would count as read until the end
            yield writer
            writer.commit()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Open a connection to write with; what is left over is deleted before and after."""
        with closing(catalogue.connect(self._home, write=True)) as connection:
            self.refresh()
            seal.refresh(self._home)
            upgrade(self._home, connection)
            self._tidy()
            try:
                yield connection
            finally:
                self._tidy()

    def _tidy(self) -> None:
        self.refresh()
        sweep(self._path, keep=set(self._open))

    @contextmanager
    def reindexing(self, model: IndexModel, storage: Storage) -> Iterator[tuple[PageIndex, Writer]]:
        """Build this index anew, for another model or storage; the new one takes its place at the end of the block.

        Yields the new index and its writer. It has every document, with number, names and metadata; those without pages
        are "partial". Readers see the old index until the end, and after an error. A second call for the same model and
        storage goes on where the first stopped, except with documents that have changed in the old index.

        Raises IndexLocked where another process, or another thread of this one, is writing.
        """
        _check_storage(self._path, model, storage)
        with writer_lock(self._path), self._connected() as connection:
            versions.prepare(self._path, model, storage)
            new = PageIndex(self._path / NEXT, version_of=self)
            with new._writing() as writer:
                yield new, writer
            self._switch(connection, new)

    def go_back(self) -> None:
        """Go back to what the last `reindexing` replaced; what is there now is kept in its stead.

        Raises PageIndexError where nothing is kept, IndexLocked where another process or thread is writing.
        """
        with writer_lock(self._path), self._connected() as connection:
            if not (kept := [folder for folder in versions.folders(self._path) if folder.name != NEXT]):
                raise PageIndexError(
                    self._path, "there is nothing to go back to: it was never reindexed, or has been compacted since"
                )
            self._switch(connection, PageIndex(kept[0], version_of=self))

    def _switch(self, connection: sqlite3.Connection, chosen: PageIndex) -> None:
        chosen.refresh()  # what does not open must not take the place of what does
        versions.switch(self._path, connection, chosen._home)
        with catalogue.reading_errors(self._path):
            self._wrote(catalogue.read_settings(connection).commits)

    def compact(self, *, codec: str | None = None, dim: int | None = None) -> None:
        """Write segments again without removed pages, small ones together; see `Writer.compact`."""
        with self.writing() as writer:
            writer.compact(codec=codec, dim=dim)

    def stats(self) -> IndexStats:
        """Measure the index."""
        snapshot = self._latest().snapshot
        with closing(catalogue.connect(self._path)) as connection, catalogue.reading_errors(self._path):
            size = connection.execute(_SIZE).fetchone()[0]
            number = catalogue.read_format(connection)
        files = [self._path / name for name in (CATALOGUE, SEAL)]
        files += [*self._path.glob(f"{FITTED}*/*"), *(self._path / RENDITIONS).glob("*/*")]
        return IndexStats(
            documents=len(snapshot.docs()),
            pages=len(snapshot),
            vectors=sum(int(np.diff(s.offsets)[snapshot.rows(s.number)].sum()) for s in snapshot.segments),
            bytes=size + sum(file.stat().st_size for file in files),
            states=Counter(document.state for document in snapshot.documents()),
            segments=len(snapshot.segments),
            removed=sum(len(segment) for segment in snapshot.segments) - len(snapshot),
            free=shutil.disk_usage(self._path).free,
            beside=sum(size for (size,) in versions.select(self._path, _SIZE)),
            format=number,
            lacks=_lacks(snapshot),
        )

    def verify(self) -> list[str]:
        """List everything that is wrong with the latest committed state; see `damage.verify`."""
        return damage.verify(self._path)

    def repair(self) -> list[str]:
        """Drop everything that `verify` finds damaged, and list what was lost; see `damage.repair`."""
        return damage.repair(self._path, keep=set(self._open))

    def close(self) -> None:
        """Let go of all maps; snapshots taken before keep theirs."""
        with self._guard:
            self._state = None

    def __enter__(self) -> PageIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _latest(self) -> _State:
        with self._guard:
            if self._state is None:
                raise PageIndexError(self._path, "this index is closed; open it again with PageIndex.open")
            if self._state.snapshot.commits < self._written:
                self.refresh()
            return self._state

    def _wrote(self, commits: int) -> None:
        seal.write(self._home)
        self._written = commits

    def _read_segments(
        self,
        connection: sqlite3.Connection,
        models: Mapping[int, IndexModel],
        documents: Mapping[int, DocumentRow],
        fitted: Fitted | None,
    ) -> _Segments:
        """Read all segments with their live pages. Rows only ever die, so as many as before are the same ones."""
        before = self._state.segments if self._state else {}
        numbers = np.fromiter(documents, np.int64, len(documents))
        if len(numbers) and (numbers.min() < 1 or numbers.max() > MAX_NUMBER):
            raise ValueError(f"document numbers from {numbers.min()} to {numbers.max()}")
        segments: _Segments = {}
        for row in catalogue.read_segments(connection):
            segment, live = before.get(row.number, (None, None))
            if segment is None or segment.checksums != catalogue.parse_object(row.checksums):
                if fitted is None or row.model not in models:
                    raise ValueError(f"segment {row.number} of model {row.model} comes before its model or its codec")
                segment = self._map(row, fitted.codec)
            if live is None or len(live.rows) != row.live:
                live = catalogue.read_pages(connection, row)
                known = np.isin(live.documents, numbers) & (live.pages >= 1) & (live.pages <= MAX_NUMBER)
                if not known.all():
                    raise ValueError(f"segment {row.number} has pages of no document")
            segments[row.number] = segment, live
        return segments

    def _map(self, row: SegmentRow, codec: Codec) -> Segment:
        segment = open_segment(self._path, row, codec)
        self._open[row.number] = segment
        return segment


def _lacks(snapshot: Snapshot) -> list[str]:
    pages = {field.name: 0 for field in FIELDS}
    for segment in snapshot.segments:
        # What vectors lack means nothing without them.
        for field in (VECTORS,) if VECTORS in segment.lacks else segment.lacks:
            pages[field.name] += len(snapshot.rows(segment.number))
    lines = [f"{pages[f.name]:,} pages have no {f.name}: {f.adding}" for f in FIELDS if pages[f.name]]
    for number, model in snapshot.added.items():
        if count := snapshot.count_lacking(number):
            lines.append(f"{count:,} pages have no {kind_of(model)} vectors of {model.name}: {adding(model)}")
    return lines


class _State(NamedTuple):
    snapshot: Snapshot
    segments: _Segments
    storage: Storage
    learned: Mapping[str, Any]


def _check_storage(path: str | Path, model: IndexModel, storage: Storage) -> None:
    if not model.makes_vectors and storage != Storage():
        raise PageIndexError(path, "without a model there are no vectors: leave out codec, dim, pool and prune")
    if not model.unit_vectors and (lost := losing_lengths(storage)):
        raise PageIndexError(path, f"the vectors of {model.name} differ in length, and {lost} does not keep that")
    if storage.dim is not None and storage.dim >= model.dim:
        raise PageIndexError(path, f"dim must be below the {model.dim} of {model.name}, got {storage.dim}")


def _refuse_used(folder: Path) -> None:
    """Refuse a folder that has more in it than an interrupted `create` leaves."""
    if (folder / CATALOGUE).exists():
        raise PageIndexError(folder, "is an index already; open it, or choose another folder")
    for entry in folder.iterdir():
        unfinished = entry.name.startswith((LOCK, SEAL)) or entry.name.startswith(f"{CATALOGUE}.new")
        if not unfinished and not (entry.name == SEGMENTS and entry.is_dir() and not any(entry.iterdir())):
            raise PageIndexError(folder, f"is not empty (it holds {entry.name!r}); choose a new or an empty folder")
