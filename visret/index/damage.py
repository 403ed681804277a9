"""Damage to an index: finding it, and dropping it so that the rest can be used."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from visret.errors import IndexFormatError, PageIndexError
from visret.index import catalogue, embedded, renditions, seal, versions
from visret.index import fitted as fits
from visret.index.arrays import FOREIGN
from visret.index.layout import CATALOGUE, NEXT, SEAL
from visret.index.segment import problems as problems_of_segment
from visret.index.writer import sweep, writer_lock


def verify(path: str | Path) -> list[str]:
    """List everything that is wrong with the latest committed state of an index, in words. Reads every byte.

    Raises IndexFormatError where the catalogue cannot be read at all.
    """
    index = Path(path).absolute()
    before = _commits(index)
    with closing(catalogue.connect(index)) as connection:
        problems = find(index, connection).words()
    # A writer that removed a segment meanwhile has damaged nothing.
    return verify(index) if problems and _commits(index) != before else problems


def repair(path: str | Path, *, keep: Collection[int] = ()) -> list[str]:
    """Drop everything that `verify` finds damaged, and list what was lost, in words.

    Pages in damaged segments are gone, and their documents partial: the next run over the files reads them again.
    keep: numbers of segments that this process still reads, whose folders stay. Raises IndexFormatError where the
    catalogue is damaged, IndexLocked while it is being written.
    """
    index = Path(path).absolute()
    with writer_lock(index), closing(catalogue.connect(index, write=True)) as connection:
        found = find(index, connection)
        lost = drop(index, connection, found) if found.words() else []
        seal.write(index)
        sweep(index, keep=set(keep))
    return lost


def _commits(index: Path) -> list[int]:
    """Read how many commits there were, of every version."""
    with closing(catalogue.connect(index)) as connection, catalogue.reading_errors(index):
        commits = catalogue.read_settings(connection).commits
    beside = versions.select(index, "SELECT value FROM settings WHERE key = 'commits'")
    return [commits, *(value for (value,) in beside)]


@dataclass(frozen=True)
class Damage:
    """All damage, in words. segments: by number; pictures: by document number and page; versions: by their folder."""

    catalogue: list[str]
    fitted: list[str]
    segments: dict[int, list[str]]
    pictures: dict[tuple[int, int], str]
    versions: dict[Path, list[str]]

    def words(self) -> list[str]:
        """List all of it."""
        here = [*self.catalogue, *self.fitted, *chain(*self.segments.values()), *self.pictures.values()]
        return [*here, *chain(*self.versions.values())]


def find(index: Path, connection: sqlite3.Connection) -> Damage:
    """Read every byte of the latest committed state, and of the versions beside it."""
    found = _find(index, index, connection)
    for folder in versions.folders(index):
        try:
            with closing(catalogue.connect(folder)) as beside:
                wrong = _find(index, folder, beside).words()
        except PageIndexError as error:
            wrong = [error.reason]
        # A picture is damaged once, however many versions show it.
        if wrong := [problem for problem in wrong if problem not in found.pictures.values()]:
            found.versions[folder] = [f"{folder.name}: {problem}" for problem in wrong]
    return found


def _find(index: Path, home: Path, connection: sqlite3.Connection) -> Damage:
    """Find the damage of one version. home: the folder of its catalogue."""
    sealed = seal.problem(home)
    problems = [] if sealed is None else [sealed]
    with catalogue.reading_errors(home):
        for (found,) in connection.execute("PRAGMA integrity_check"):
            problems += [] if found == "ok" else [f"{CATALOGUE}: {found}"]
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
            problems.append(f"{CATALOGUE}: row {row} of {table} refers to a missing row of {parent}")
        settings, models = catalogue.read_settings(connection), catalogue.read_models(connection)
        added = {number: model for number, model in models.items() if number != min(models)}
        segments = catalogue.read_segments(connection)
        pictures = renditions.problems(index, connection)
        learned = list(fits.problems(index, settings.fitted))
        fitted = None
        if not _harm(learned):
            try:
                fitted = fits.read(index, settings.storage, models[min(models)].dim, settings.fitted)
            except PageIndexError as error:
                learned.append(error.reason)
        damaged = {}
        for row in segments:
            lost = f"segment {row.number}: its vectors mean nothing without what was learned"
            wrong = [lost] if fitted is None else list(problems_of_segment(index, row, fitted.codec, added))
            damaged[row.number] = wrong
    return Damage(problems, learned, {number: wrong for number, wrong in damaged.items() if wrong}, pictures, {})


def drop(index: Path, connection: sqlite3.Connection, damage: Damage) -> list[str]:
    """Remove what is damaged, in one transaction, and say in words what that cost. Only the writer may call this.

    A document that lost pages is partial, so the next run reads them again. Raises IndexFormatError where the catalogue
    is damaged.
    """
    structure = [problem for problem in damage.catalogue if not problem.startswith(SEAL)]
    if structure:
        raise IndexFormatError(
            index, f"{structure[0]}; nothing here says what was right: index the documents again in a new folder"
        )
    harmed = [number for number, problems in damage.segments.items() if _harm(problems)]
    extra = {number: _only_added(damage.segments[number]) for number in harmed}
    segments = [number for number in harmed if not extra[number]]
    lost: list[str] = []
    with catalogue.writing_errors(index), connection:
        connection.execute("BEGIN IMMEDIATE")
        marks = ", ".join("?" * len(segments))
        documents = connection.execute(
            f"SELECT document, doc, source, count(*) FROM pages JOIN documents ON number = document "
            f"WHERE segment IN ({marks}) GROUP BY document ORDER BY document",
            segments,
        ).fetchall()
        for number, doc, source, count in documents:
            pages = f"{count} page{'s' * (count != 1)}"
            again = "bring its file in again" if source is not None else "it was made in memory: add it again"
            lost.append(f"{doc}: {pages} dropped; {again}")
            connection.execute("UPDATE documents SET state = 'partial', reason = NULL WHERE number = ?", (number,))
        lost += [_drop_added(connection, segment, number) for segment in harmed for number in extra[segment]]
        connection.execute(f"DELETE FROM pages WHERE segment IN ({marks})", segments)
        connection.execute(f"DELETE FROM segments WHERE number IN ({marks})", segments)
        if _harm(damage.fitted):
            connection.execute("UPDATE settings SET value = '{}' WHERE key = 'fitted'")
        for document, page in damage.pictures:
            (doc,) = connection.execute("SELECT doc FROM documents WHERE number = ?", (document,)).fetchone()
            if page == renditions.PDF:  # another conversion may break its pages elsewhere: all are read again
                lost.append(f"{doc}: the PDF it was converted to was dropped; bring its file in again")
                connection.execute("UPDATE documents SET state = 'partial', size = NULL WHERE number = ?", (document,))
            else:
                lost.append(f"{doc}: the picture of page {page} was dropped; the page itself is still there")
            connection.execute("DELETE FROM renditions WHERE document = ? AND page = ?", (document, page))
        for folder in damage.versions:
            lost.append(f"{folder.name} was dropped; the index itself is not affected")
            if folder.name != NEXT:
                connection.execute("DELETE FROM settings WHERE key = 'previous'")
        connection.execute("UPDATE settings SET value = value + 1 WHERE key = 'commits'")
    for document, page in damage.pictures:
        renditions.path_of(index, document, page).unlink(missing_ok=True)
    for folder in damage.versions:
        versions.discard(folder)
    return lost


def _only_added(problems: list[str]) -> list[int]:
    """Return the numbers of the added models whose files are damaged, if nothing else is; they can be made again."""
    named = [re.match(r"segment \d+: (\w+)\.npy ", one) for one in problems if not one.endswith(FOREIGN)]
    found = [None if one is None else embedded.number_of(one[1]) for one in named]
    return sorted({number for number in found if number is not None}) if None not in found else []


def _drop_added(connection: sqlite3.Connection, segment: int, number: int) -> str:
    """Let a segment be without what an added model made of its pages; say what makes it again."""
    (text,) = connection.execute("SELECT checksums FROM segments WHERE number = ?", (segment,)).fetchone()
    kept = {file: one for file, one in catalogue.parse_object(text).items() if embedded.number_of(file) != number}
    connection.execute("UPDATE segments SET checksums = ? WHERE number = ?", (json.dumps(kept), segment))
    model = catalogue.read_models(connection).get(number)
    name = "an added model" if model is None else model.name
    return f"segment {segment}: the vectors of {name} were dropped; visret add-model makes them again"


def _harm(problems: list[str]) -> bool:
    """Return whether anything is lost: a file that does not belong in a folder costs nothing."""
    return any(not problem.endswith(FOREIGN) for problem in problems)
