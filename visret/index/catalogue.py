"""The catalogue: connections to it, and its rows as one committed state."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visret.choices import KINDS, NO_MODEL
from visret.errors import IndexFormatError, PageIndexError
from visret.index.layout import APPLICATION_ID, CATALOGUE, FORMAT, MAX_NUMBER, READABLE, SCHEMA, STATES
from visret.reduction import Storage

# A reader holds the catalogue for milliseconds, a writer while it commits; longer means that something hangs.
_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class IndexModel:
    """The model that made an index's vectors, and everything else that decides them.

    identity: the revision of a hub repository, or the SHA-256 of configuration and weights.
    dim: dimensions of a vector; 0 if there is no model, and there are no vectors. modality: "text" or "image".
    preprocessing: a JSON object, `Encoder.preprocessing`.
    """

    name: str
    identity: str
    dim: int
    modality: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def makes_vectors(self) -> bool:
        """True if there is a model, so that pages have vectors."""
        return self.dim > 0

    @property
    def unit_vectors(self) -> bool:
        """True if vectors have the length 1; `Encoder.preprocessing` says where they do not."""
        return "lengths" not in self.preprocessing


@dataclass(frozen=True, slots=True)
class Document:
    """A document of the index.

    number: its number, never used twice. doc: its name. source: absolute path, None for pages made in memory.
    hash, size (bytes), mtime_ns: of the file when it was read. state: done, partial, failed or empty; reason: why.
    expected: pages in the file, where known. pages: the page numbers that can be found, sorted; empty: those with
    nothing the model reads; blank: those of them with nothing that OCR reads; failed: (page, reason) of those that
    failed. member: its place in the file, "" for the file itself. lost: (page, what, help) of content that is known to
    be missing, page None of the document.
    """

    number: int
    doc: str
    source: str | None
    hash: str | None
    size: int | None
    mtime_ns: int | None
    state: str
    reason: str | None
    metadata: Mapping[str, Any] = field(hash=False)
    expected: int | None
    member: str
    pages: tuple[int, ...]
    empty: tuple[int, ...]
    blank: tuple[int, ...]
    failed: tuple[tuple[int, str], ...]
    lost: tuple[tuple[int | None, str, str], ...]


class DocumentRow(NamedTuple):
    """A row of `documents`. source: str, bytes (not UTF-8), or None. metadata: JSON."""

    number: int
    doc: str
    source: str | bytes | None
    hash: str | None
    size: int | None
    mtime_ns: int | None
    state: str
    reason: str | None
    metadata: str
    expected: int | None
    member: str = ""


class UnreadPage(NamedTuple):
    """A row of `unread_pages`."""

    page: int
    reason: str | None
    blank: int


class Floor(NamedTuple):
    """The matches that the pages for most other questions do not reach; `visret.search.elsewhere` measures them.

    pages: how many pages there were then. short, long: the floors for the best page, of short and of long questions.
    several_short, several_long: those for the mean of the first few pages.
    """

    pages: int
    short: float
    long: float
    several_short: float
    several_long: float


class Settings(NamedTuple):
    """The rows of `settings`. fitted: what visret.index.fitted wrote; commits: how many so far.

    previous, since: the versions, as layout.py says; None where there are none. lost_from: the number of the first
    document of which it is known what is missing. floor: None where it has not been measured.
    """

    storage: Storage
    fitted: Mapping[str, Any]
    commits: int
    previous: int | None
    since: int | None
    lost_from: int
    floor: Floor | None = None


class Losses(NamedTuple):
    """The content that is known to be missing.

    of: maps a document's number to (page, what, help), by page; page is None for the whole document.
    known_from: the number of the first document of which it is known.
    """

    of: Mapping[int, Sequence[tuple[int | None, str, str]]]
    known_from: int


class SegmentRow(NamedTuple):
    """A row of `segments`. checksums: JSON."""

    number: int
    model: int
    pages: int
    live: int
    vectors: int
    bytes: int
    checksums: str


class LivePages:
    """The pages of one segment that are in the index, sorted by row.

    rows, documents, pages: (L,) int64, row in the segment, number of the document, page number.
    sizes: (L, 2) float64 width, height in points; NaN for plain text.
    """

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        table = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3)
        self.rows: np.ndarray
        self.documents: np.ndarray
        self.pages: np.ndarray
        self.rows, self.documents, self.pages = np.ascontiguousarray(table.T)
        self.sizes: np.ndarray = np.array([row[3:5] for row in rows], np.float64).reshape(-1, 2)
        self._metadata = {row[0]: row[5] for row in rows if row[5] is not None}
        for array in (self.rows, self.documents, self.pages, self.sizes):
            array.flags.writeable = False

    @cached_property
    def metadata(self) -> dict[int, dict[str, Any]]:
        """The metadata of the pages that have some of their own, by row."""
        return {row: parse_object(text) for row, text in self._metadata.items()}


def connect(index: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open the catalogue of a folder, checked to be one that this version reads.

    Read-only file systems work: SQLite itself opens a file read-only where it may not write. `immutable=1` is not
    used, since a folder that we may not write may be written by somebody else. A reader may still have to roll back
    what a crashed writer left.
    """
    path = index / CATALOGUE
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # no permission, a name that is too long, links in a circle
        raise PageIndexError(index, f"cannot be reached: {getattr(error, 'strerror', None) or error}") from error
    if not path.is_file():
        what = "is not an index folder" if index.exists() else "does not exist"
        raise IndexFormatError(index, f"{what}; make an index with: visret index PATH... --index {index}")
    with reading_errors(index):
        connection = open_database(path)
    try:
        with reading_errors(index):
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if application != APPLICATION_ID:
                raise IndexFormatError(index, f"{CATALOGUE} is not the catalogue of an index")
            if version not in READABLE:
                hint = "upgrade visret" if version > FORMAT else "index the documents again"
                known = " and ".join(map(str, READABLE))
                raise IndexFormatError(index, f"format {version}, this visret reads formats {known}; {hint}")
            # Code in a database: triggers and views run with the statements that touch them.
            code = "SELECT name FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
            if found := connection.execute(code).fetchone():
                raise IndexFormatError(index, f"{CATALOGUE} holds {found[0]!r}, which no index has; do not trust it")
            if not write:
                connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def open_database(path: Path) -> sqlite3.Connection:
    """Return a connection with this format's settings. Transactions are begun and ended by hand."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    # trusted_schema first: nothing may be read of a stranger's schema before it is off. EXTRA: with FULL, the name of a
    # deleted journal may come back after a power cut, and undo a commit that was acknowledged.
    try:
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "foreign_keys = ON", "synchronous = EXTRA"):
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def create_catalogue(path: Path, model: IndexModel, storage: Storage) -> None:
    """Write the catalogue of an empty index to a new file."""
    with closing(open_database(path)) as connection:
        # No free pages: SQLite takes them into use without a record of what they held, so after a commit that was
        # killed half way the file would be as good as before, and not the bytes that the seal vouches for.
        connection.execute("PRAGMA auto_vacuum = FULL")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {SCHEMA}"
        )
        settings = {"storage": json.dumps(asdict(storage)), "fitted": "{}", "commits": 0}
        connection.executemany("INSERT INTO settings VALUES (?, ?)", settings.items())
        connection.execute(
            "INSERT INTO models (name, identity, dim, modality, preprocessing) VALUES (?, ?, ?, ?, ?)",
            (
                model.name,
                model.identity,
                model.dim,
                model.modality,
                json.dumps(dict(model.preprocessing), sort_keys=True),
            ),
        )
        connection.execute("COMMIT")


@contextmanager
def reading_errors(index: Path) -> Iterator[None]:
    """Turn any failure that a damaged or hostile catalogue causes into an IndexFormatError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise PageIndexError(
                index,
                f"the catalogue has been busy for {_BUSY_SECONDS:.0f} s; try again. Where nothing else uses it, its "
                "file system may have no locks: keep the index on a local disk",
            ) from error
        if _is_lock(error):
            raise without_locks(index, error) from error
        if getattr(error, "sqlite_errorname", "") == "SQLITE_READONLY_ROLLBACK":
            raise PageIndexError(
                index,
                "its writer was stopped in the middle of a commit, which this process cannot undo, as it may not write "
                "here; run visret info on it once where it can be written",
            ) from error
        raise IndexFormatError(index, f"{CATALOGUE} cannot be read: {error}") from error
    except sqlite3.DatabaseError as error:
        raise IndexFormatError(index, f"{CATALOGUE} is damaged: {error}") from error
    except (TypeError, ValueError, OverflowError, KeyError, RecursionError) as error:
        raise IndexFormatError(index, f"{CATALOGUE} is damaged: {error}") from error


@contextmanager
def writing_errors(index: Path) -> Iterator[None]:
    """Turn the failure of a commit into a PageIndexError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and _is_lock(error):
            raise without_locks(index, error) from error
        kept = "so nothing of this commit was kept"
        if _is_full(error):
            raise PageIndexError(
                index, f"the disk is full, {kept}: {error}; free some space and run it again"
            ) from error
        raise PageIndexError(index, f"cannot write, {kept}: {error}") from error


def without_locks(index: Path, error: Exception) -> PageIndexError:
    """Return the error for a file system without locks, where two writers would destroy what each other writes."""
    return PageIndexError(
        index,
        f"the file system of this folder cannot lock files ({error}), as some network drives cannot; keep the index "
        "on a local disk (what visret find remembers goes where VISRET_CACHE says)",
    )


def _is_lock(error: sqlite3.Error) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    return name in ("SQLITE_PROTOCOL", "SQLITE_NOLFS") or (name.startswith("SQLITE_IOERR") and name.endswith("LOCK"))


def _is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def read_settings(connection: sqlite3.Connection) -> Settings:
    """Read all settings."""
    settings = dict(connection.execute("SELECT key, value FROM settings"))
    if "codec" in settings:
        raise ValueError("its vectors are stored as in an earlier visret; index the documents again in a new folder")
    storage = Storage(**parse_object(settings["storage"]))
    fitted, commits = parse_object(settings["fitted"]), settings["commits"]
    previous, since = settings.get("previous"), settings.get("since")
    if not isinstance(commits, int):
        raise ValueError(f"{commits!r} commits")
    if not (isinstance(previous, int | None) and isinstance(since, int | None)):
        raise ValueError(f"versions {previous!r}, {since!r}")
    numbers = all(isinstance(fitted[key], int) for key in ("number", "vectors")) if fitted else True
    if not numbers or (fitted and not isinstance(fitted["checksums"], dict)):
        raise ValueError(f"fitted: {fitted}")
    lost_from = settings.get("lost_from", 1) if read_format(connection) >= 3 else MAX_NUMBER
    if not isinstance(lost_from, int):
        raise ValueError(f"lost_from {lost_from!r}")
    floor = Floor(**parse_object(settings["floors"])) if "floors" in settings else None
    if floor is not None and not all(isinstance(one, int | float) for one in floor):
        raise ValueError(f"floor: {floor}")
    return Settings(storage, fitted, commits, previous, since, lost_from, floor)


def read_models(connection: sqlite3.Connection) -> dict[int, IndexModel]:
    """Read all models, by number; the first is that of the index, the others were added to it."""
    models: dict[int, IndexModel] = {}
    for number, name, identity, dim, modality, preprocessing in connection.execute(
        "SELECT number, name, identity, dim, modality, preprocessing FROM models ORDER BY number"
    ):
        if not (isinstance(name, str) and isinstance(identity, str) and isinstance(dim, int)):
            raise ValueError(f"model {number} has dim {dim!r}")
        if dim < (name != NO_MODEL):
            raise ValueError(f"model {number} has dim {dim}")
        made = parse_object(preprocessing)
        if models and made.get("kind") not in KINDS:
            raise ValueError(f"model {number} makes {made.get('kind')!r}")
        models[number] = IndexModel(name, identity, dim, str(modality), made)
    if not models:
        raise ValueError("it names no model")
    return models


def read_segments(connection: sqlite3.Connection) -> list[SegmentRow]:
    """Read all rows of segments, sorted by number."""
    rows = connection.execute(f"SELECT {', '.join(SegmentRow._fields)} FROM segments ORDER BY number")
    segments = [SegmentRow(*row) for row in rows]
    for row in segments:
        if not all(isinstance(x, int) for x in row[:6]):
            raise ValueError(f"segment {row.number}: {row[1:6]}")
    return segments


def read_pages(connection: sqlite3.Connection, segment: SegmentRow) -> LivePages:
    """Read the live pages of one segment."""
    columns = "row, document, page, width_pt, height_pt, metadata"
    rows = connection.execute(
        f"SELECT {columns} FROM pages WHERE segment = ? ORDER BY row", (segment.number,)
    ).fetchall()
    live = LivePages(rows)
    if len(rows) != segment.live or (rows and (live.rows[0] < 0 or live.rows[-1] >= segment.pages)):
        raise ValueError(
            f"segment {segment.number} has {segment.pages} pages, {segment.live} live, but {len(rows)} rows"
        )
    return live


def read_format(connection: sqlite3.Connection) -> int:
    """Read the format of the catalogue."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def read_documents(connection: sqlite3.Connection) -> dict[int, DocumentRow]:
    """Read all documents, by number."""
    documents = {}
    there = {name for _, name, *_ in connection.execute("PRAGMA table_info(documents)")}
    fields = [name for name in DocumentRow._fields if name in there or name not in DocumentRow._field_defaults]
    for values in connection.execute(f"SELECT {', '.join(fields)} FROM documents"):
        row = DocumentRow(**dict(zip(fields, values, strict=True)))
        texts = isinstance(row.doc, str) and isinstance(row.member, str)
        if not texts or not isinstance(row.source, str | bytes | None) or row.state not in STATES:
            raise ValueError(f"document {row.number}: {row.doc!r}, {row.source!r}, {row.state!r}")
        documents[row.number] = row
    return documents


def read_unread_pages(connection: sqlite3.Connection) -> dict[int, list[UnreadPage]]:
    """Read the pages without vectors, sorted by page, of each document by its number."""
    pages: dict[int, list[UnreadPage]] = {}
    for document, *rest in connection.execute(
        "SELECT document, page, reason, blank FROM unread_pages ORDER BY document, page"
    ):
        pages.setdefault(document, []).append(UnreadPage(*rest))
    return pages


def read_losses(connection: sqlite3.Connection, settings: Settings) -> Losses:
    """Read what is known to be missing from documents that were read."""
    lost: dict[int, list[tuple[int | None, str, str]]] = {}
    if read_format(connection) < 3:
        return Losses(lost, settings.lost_from)
    for document, page, what, help_ in connection.execute(
        "SELECT document, page, what, help FROM lost ORDER BY document, page, what"
    ):
        lost.setdefault(document, []).append((int(page) or None, str(what), str(help_)))
    return Losses(lost, settings.lost_from)


def read_metadata_keys(connection: sqlite3.Connection) -> frozenset[str]:
    """Read all metadata keys that were ever written."""
    return frozenset(key for (key,) in connection.execute("SELECT key FROM metadata_keys"))


def parse_object(text: str) -> dict[str, Any]:
    """Parse a JSON object of the catalogue. Raises ValueError."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {text[:40]!r}")
    return value


def store_source(source: str | None) -> str | bytes | None:
    """Return a path as the catalogue keeps it: text, or bytes where the file's name is not valid UTF-8."""
    if source is None:
        return None
    try:
        source.encode()
    except UnicodeEncodeError:
        return os.fsencode(source)
    return source


def load_source(stored: str | bytes | None) -> str | None:
    """Return the path that `store_source` was given."""
    return os.fsdecode(stored) if isinstance(stored, bytes) else stored
