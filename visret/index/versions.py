"""The catalogues beside the current one: next/, which a reindex fills, and previous-N/, which it took the place of."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from visret.errors import IndexFormatError, PageIndexError
from visret.index import seal
from visret.index.arrays import sync_folder
from visret.index.catalogue import (
    IndexModel,
    connect,
    create_catalogue,
    open_database,
    read_models,
    read_settings,
    reading_errors,
    writing_errors,
)
from visret.index.layout import CATALOGUE, NEXT, PREVIOUS, previous_folder
from visret.index.upgrade import upgrade
from visret.reduction import Storage

# Every document of the current catalogue, in next/: those that are there and the same keep the pages they have.
_FOLLOW = """
DELETE FROM documents WHERE number NOT IN (
    SELECT here.number FROM documents AS here JOIN current.documents AS there USING (number)
    WHERE here.doc = there.doc AND here.source IS there.source AND here.member = there.member
        AND here.hash IS there.hash);
UPDATE segments SET live = (SELECT count(*) FROM pages WHERE segment = segments.number);
DELETE FROM segments WHERE live = 0;
INSERT INTO documents SELECT number, doc, source, hash, size, mtime_ns, 'partial', NULL, metadata, expected, member
    FROM current.documents WHERE number NOT IN (SELECT number FROM documents);
DELETE FROM renditions;
INSERT INTO renditions SELECT document, page, checksum FROM current.renditions;
INSERT OR IGNORE INTO metadata_keys SELECT key FROM current.metadata_keys;
INSERT OR REPLACE INTO settings SELECT 'since', value FROM current.settings WHERE key = 'commits';
UPDATE settings SET value = value + 1 WHERE key = 'commits'
"""


def create(folder: Path, model: IndexModel, storage: Storage) -> None:
    """Make the catalogue of an empty index in a folder that is there, whole or not at all."""
    unfinished = folder / f"{CATALOGUE}.new"
    unfinished.unlink(missing_ok=True)
    create_catalogue(unfinished, model, storage)
    seal.create(folder, unfinished.name)
    unfinished.rename(folder / CATALOGUE)
    sync_folder(folder)


def prepare(index: Path, model: IndexModel, storage: Storage) -> None:
    """Make next/, or go on with it if it is for this model and storage. Only the writer may call this.

    It has every document; those without pages are "partial".
    """
    folder = index / NEXT
    with writing_errors(index):
        if not _is_of(folder, model, storage):
            discard(folder)
            folder.mkdir()
            sync_folder(index)
            create(folder, model, storage)
        with closing(connect(folder, write=True)) as connection:
            upgrade(folder, connection)
            connection.execute("ATTACH DATABASE ? AS current", (str(index / CATALOGUE),))
            connection.execute("BEGIN IMMEDIATE")
            for statement in _FOLLOW.split(";"):
                connection.execute(statement)
            _raise_sequences(connection, connection.execute("SELECT name, seq FROM current.sqlite_sequence").fetchall())
            connection.execute("COMMIT")
    seal.write(folder)


def _is_of(folder: Path, model: IndexModel, storage: Storage) -> bool:
    try:
        with closing(connect(folder)) as connection, reading_errors(folder):
            return read_settings(connection).storage == storage and read_models(connection) == {1: model}
    except IndexFormatError:  # not there, or damaged
        return False


def switch(index: Path, connection: sqlite3.Connection, chosen: Path) -> None:
    """Make the catalogue in the folder `chosen` the current one, in one transaction; the old one is kept beside it.

    Only the writer may call this, and has to seal it.

    connection: to the current catalogue. After a PageIndexError all is as it was.
    """
    with reading_errors(index):
        commits = read_settings(connection).commits
    kept = previous_folder(index, commits)
    with writing_errors(index):
        discard(kept)  # what a crash left
        kept.mkdir()
        with closing(open_database(kept / CATALOGUE)) as copy:
            connection.backup(copy)
        seal.create(kept, CATALOGUE)
        if wrong := seal.problem(kept):
            raise PageIndexError(index, f"cannot write {kept.name}: {wrong}")
        sync_folder(kept)
        sync_folder(index)
        with closing(connect(chosen)) as source, closing(sqlite3.connect(":memory:")) as made:
            source.backup(made)
            _carry_metadata(connection, made)
            _carry_models(connection, made)
            _raise_sequences(made, connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
            made.execute("UPDATE settings SET value = ? WHERE key = 'commits'", (commits + 1,))
            made.execute("INSERT OR REPLACE INTO settings VALUES ('previous', ?)", (commits,))
            made.commit()
            made.backup(connection)


def folders(index: Path) -> list[Path]:
    """List the folders of the catalogues beside the current one that are of use: next/ first."""
    with closing(connect(index)) as connection, reading_errors(index):
        previous = read_settings(connection).previous
    since = None
    if there := (index / NEXT / CATALOGUE).exists():
        with suppress(IndexFormatError), closing(connect(index / NEXT)) as connection, reading_errors(index / NEXT):
            since = read_settings(connection).since
    became_current = previous is not None and since is not None and since <= previous
    found = [index / NEXT] if there and not became_current else []
    return found if previous is None else [*found, previous_folder(index, previous)]


def select(index: Path, query: str) -> list[tuple[Any, ...]]:
    """Collect the rows of a query to each catalogue beside the current one; none of those that cannot be read."""
    rows = []
    for folder in folders(index):
        with suppress(PageIndexError), closing(connect(folder)) as connection, reading_errors(folder):
            rows += connection.execute(query).fetchall()
    return rows


def tidy(index: Path) -> list[Path]:
    """Delete what is of no use any more, and list what is left, as `folders`. Only the writer may call this."""
    kept = folders(index)
    for folder in [index / NEXT, *index.glob(f"{PREVIOUS}-*")]:
        if folder not in kept and folder.exists():
            discard(folder)
    return kept


def discard(folder: Path) -> None:
    """Delete a catalogue beside the current one, itself first, so that half of it never counts."""
    with suppress(OSError):  # open on Windows, for instance: the next writer tries again
        (folder / CATALOGUE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _carry_metadata(current: sqlite3.Connection, made: sqlite3.Connection) -> None:
    """Carry metadata over, since it belongs to documents, not to versions: what filters hide stays hidden."""
    # all at once: a query that an error leaves half read keeps its lock for as long as somebody has the traceback
    documents = current.execute("SELECT number, doc, source, metadata FROM documents").fetchall()
    for number, doc, source, metadata in documents:
        values = {"number": number, "doc": doc, "source": source, "metadata": metadata}
        there = "number = :number"
        if not made.execute(f"SELECT 1 FROM documents WHERE {there}", values).fetchone():
            there = "doc = :doc AND source IS :source"  # read anew since
        made.execute(f"UPDATE documents SET metadata = :metadata WHERE {there}", values)
    keys = current.execute("SELECT key FROM metadata_keys").fetchall()
    made.executemany("INSERT OR IGNORE INTO metadata_keys VALUES (?)", keys)


def _carry_models(current: sqlite3.Connection, made: sqlite3.Connection) -> None:
    """Carry added models over, since people add them to an index, not to a version; they go over its pages later."""
    there = read_models(made)
    kinds = {model.preprocessing.get("kind") for model in there.values()}
    for number, model in read_models(current).items():
        if "kind" in model.preprocessing and model.preprocessing["kind"] not in kinds:
            row = current.execute("SELECT * FROM models WHERE number = ?", (number,)).fetchone()
            made.execute("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?)", row)


def _raise_sequences(connection: sqlite3.Connection, used: Iterable[tuple[str, int]]) -> None:
    """Let numbers that were used elsewhere count as used here."""
    here = dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    for name, number in used:
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, max(number, here.get(name, 0))))
