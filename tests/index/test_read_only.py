"""Readers of a folder that they cannot write, while another process writes to it elsewhere."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import pytest
from support.pages import add, create

from visret.index import PageIndex
from visret.index.layout import CATALOGUE, SEGMENTS

# The answer to each line: the names of the documents, after `refresh`; and whether the vectors of what was there first
# are still those that were read then.
READER = """
import sys
from visret.errors import IndexFormatError, PageIndexError
from visret.index import PageIndex

def names(index):
    return sorted(index.snapshot.docs())

index = None
for line in sys.stdin:
    try:
        if index is None:
            index = PageIndex.open(sys.argv[1])
            first = index.snapshot
            vectors = first.embedding(("a.pdf", 1)).vectors.tolist()
        index.refresh()
        said = ["same" if first.embedding(("a.pdf", 1)).vectors.tolist() == vectors else "other", *names(index)]
    except PageIndexError as error:
        said = [type(error).__name__, str(error)]
    print(*said, flush=True)
"""
MOUNTED = (
    'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && ! touch "$2/x" 2>/dev/null && exec "$3" -c "$4" "$2"'
)


@contextmanager
def reading(path, view):
    """A process that sees an index in another place, and cannot write there; yields what asks it."""
    view.mkdir()
    command = ["unshare", "--mount", "bash", "-c", MOUNTED, "bash", path, view, sys.executable, READER]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except FileNotFoundError:
        pytest.skip("needs unshare, of Linux, to mount a folder read-only")

    def ask():
        try:
            process.stdin.write("\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = process.stdout.readline().strip()
        if not answer:
            _, said = process.communicate()
            if "unshare" in said or "mount:" in said:
                pytest.skip("needs the right to mount a folder read-only")
            pytest.fail(said)
        return answer

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()


def test_what_another_process_adds_and_compacts_is_seen_without_writing_anything(tmp_path):
    path = tmp_path / "i.visret"
    with create(path) as index, index.writing() as writer:
        add(writer, "a.pdf")
    with reading(path, tmp_path / "view") as ask:
        assert ask() == "same a.pdf"
        with PageIndex.open(path) as index:
            with index.writing() as writer:
                add(writer, "b.pdf")
            assert ask() == "same a.pdf b.pdf"
            with index.writing() as writer:
                writer.remove("b.pdf")
                writer.compact()
                add(writer, "c.pdf")
            index.compact()
        assert sorted(folder.name for folder in (path / SEGMENTS).iterdir()) != ["000001"]
        assert not (path / SEGMENTS / "000001").exists()  # whose vectors the reader has mapped
        assert ask() == "same a.pdf c.pdf"


def test_a_writer_that_died_in_a_commit_is_named_until_one_that_may_write_undoes_it(tmp_path):
    path = tmp_path / "i.visret"
    with create(path) as index, index.writing() as writer:
        add(writer, "a.pdf")
    with reading(path, tmp_path / "view") as ask:
        assert ask() == "same a.pdf"
        dead = os.fork()
        if not dead:  # pages of the catalogue are on disk, and the journal that takes them back
            connection = sqlite3.connect(path / CATALOGUE, isolation_level=None)
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE junk (x)")
            connection.executemany("INSERT INTO junk VALUES (?)", [("x" * 500,)] * 500)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(dead, 0)
        said = ask()
        assert said.startswith("PageIndexError")  # it is no damage
        assert "stopped in the middle of a commit" in said
        assert "visret info" in said
        PageIndex.open(path).close()
        assert ask() == "same a.pdf"
