"""The upgrade of a catalogue of an earlier format to this one, before it is written to."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from visret.index import seal
from visret.index.catalogue import read_format, reading_errors, writing_errors
from visret.index.layout import FORMAT, SCHEMA


def upgrade(home: Path, connection: sqlite3.Connection) -> None:
    """Bring the catalogue in the folder `home` to this format, in one commit, and seal it. For the writer only.

    After a PageIndexError it is as it was.
    """
    with reading_errors(home):
        if read_format(connection) == FORMAT:
            return
    with writing_errors(home):
        connection.execute("PRAGMA foreign_keys = OFF")  # has no effect inside a transaction
        try:
            connection.execute("BEGIN IMMEDIATE")
            _to_3(connection)
            connection.execute("UPDATE settings SET value = value + 1 WHERE key = 'commits'")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            connection.execute("PRAGMA foreign_keys = ON")
    seal.write(home)


def _to_3(connection: sqlite3.Connection) -> None:
    """Upgrade from format 2: documents may be members of a file, and what is known to be lost has a table.

    SQLite cannot drop a UNIQUE, so the table is made anew, by the steps of sqlite.org/lang_altertable.html.
    """
    columns = ", ".join(name for _, name, *_ in connection.execute("PRAGMA table_info(documents)").fetchall())
    used = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").fetchone()
    connection.execute(_table("documents").replace("TABLE documents", "TABLE documents_3", 1))
    connection.execute(f"INSERT INTO documents_3 ({columns}) SELECT {columns} FROM documents")
    connection.execute("DROP TABLE documents")
    connection.execute("ALTER TABLE documents_3 RENAME TO documents")
    connection.execute("DELETE FROM sqlite_sequence WHERE name IN ('documents', 'documents_3')")
    connection.execute("INSERT INTO sqlite_sequence VALUES ('documents', ?)", used or (0,))  # no number is used twice
    connection.execute(_table("lost"))
    connection.execute("INSERT INTO settings VALUES ('lost_from', ?)", (1 + (used or (0,))[0],))
    connection.execute("PRAGMA user_version = 3")


def _table(name: str) -> str:
    """Return the statement of SCHEMA that makes a table."""
    found = re.search(rf"CREATE TABLE {name} \(.*?\n\)[^;]*;", SCHEMA, re.DOTALL)
    assert found is not None
    return found[0]
