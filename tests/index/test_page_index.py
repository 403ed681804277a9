import ctypes
import gc
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
import threading
from contextlib import closing, contextmanager
from mmap import mmap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.pages import DIM, FLOATS, MODEL, add, embed, refs

from visret.codec import Codec
from visret.errors import IndexFormatError, PageIndexError
from visret.index import PageIndex, Segment, arrays, catalogue, damage, layout, versions
from visret.index.fields import SUMMARIES
from visret.index.segment import open_segment
from visret.reduction import Storage


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "papers.visret"
    with PageIndex.create(path, model=MODEL, storage=FLOATS) as index, index.writing() as writer:
        add(writer, "a.pdf", (1, 2, 3), metadata={"year": 2020})
        writer.commit()
        add(writer, "b.pdf", (1, 2))
    return path


def change(path, *statements):
    """Write to the catalogue as a stranger would."""
    with closing(sqlite3.connect(path / layout.CATALOGUE)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            connection.execute(statement)


def test_an_index_remembers_its_model_and_storage(path):
    with PageIndex.open(str(path)) as index:
        assert index.model == MODEL
        assert index.storage == FLOATS
        assert index.path == path


def test_a_power_cut_takes_no_commit_that_was_acknowledged(path, monkeypatch):
    """SQLite promises it for these settings; other tests do without them, for time."""
    monkeypatch.setattr(sqlite3, "connect", sqlite3.dbapi2.connect)
    with closing(catalogue.connect(path)) as connection:
        for setting, expected in {"synchronous": 3, "journal_mode": "delete"}.items():
            assert connection.execute(f"PRAGMA {setting}").fetchone() == (expected,)


def test_an_empty_index_works(index):
    assert refs(index) == []
    assert len(index.snapshot) == 0
    assert index.snapshot.select().rows == {}
    assert index.verify() == []
    assert index.stats().bytes_per_page == 0
    with index.writing() as writer:
        assert writer.commit() == 0
    assert index.refresh() is False, "a commit of nothing is none"


def test_a_folder_in_use_is_refused(tmp_path, path):
    with pytest.raises(PageIndexError, match="is an index already; open it"):
        PageIndex.create(path, model=MODEL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.pdf").touch()
    with pytest.raises(PageIndexError, match=r"is not empty \(it holds 'thesis\.pdf'\)"):
        PageIndex.create(tmp_path / "mine", model=MODEL)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.pdf"]
    with pytest.raises(PageIndexError, match="cannot be made"):
        PageIndex.create(tmp_path / "mine" / "thesis.pdf" / "i", model=MODEL)
    for dim in (DIM, DIM + 1):
        with pytest.raises(PageIndexError, match=f"dim must be below the 8 of toy, got {dim}"):
            PageIndex.create(tmp_path / "new", model=MODEL, storage=Storage(dim=dim))
    assert not (tmp_path / "new").exists()


def test_an_interrupted_create_can_be_repeated(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, "sync_folder", interrupt)
        patch.setattr(Path, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            PageIndex.create(tmp_path / "deep" / "i", model=MODEL)
    with pytest.raises(IndexFormatError, match="is not an index folder"):
        PageIndex.open(tmp_path / "deep" / "i")
    with PageIndex.create(tmp_path / "deep" / "i", model=MODEL) as index:
        assert index.storage == Storage()
    assert {file.name for file in (tmp_path / "deep" / "i").iterdir()} == {
        *(layout.CATALOGUE, layout.SEAL, layout.SEGMENTS, layout.LOCK)
    }


def test_paths_may_have_any_name(tmp_path):
    path = tmp_path / "50 % ä?mode=memory#x.visret"
    with PageIndex.create(path, model=MODEL) as index, index.writing() as writer:
        add(writer, "a.pdf")
    with PageIndex.open(path) as index:
        assert refs(index) == [("a.pdf", 1)]


def test_a_moved_index_works(tmp_path, path):
    moved = path.rename(tmp_path / "elsewhere")
    with PageIndex.open(moved) as index:
        assert index.verify() == []
        assert len(refs(index)) == 5


def test_a_copy_without_empty_folders_works(index):
    (index.path / layout.SEGMENTS).rmdir()
    with PageIndex.open(index.path) as copy, copy.writing() as writer:
        add(writer, "a.pdf")
    assert copy.refresh()
    assert refs(copy) == [("a.pdf", 1)]


def test_a_closed_index_says_so(path):
    index = PageIndex.open(path)
    snapshot = index.snapshot
    index.close()
    with pytest.raises(PageIndexError, match="is closed; open it again"):
        _ = index.snapshot
    assert snapshot.embedding(("a.pdf", 1)).ref == ("a.pdf", 1)


def test_a_reader_keeps_its_state_until_refresh(path):
    with PageIndex.open(path) as reader, PageIndex.open(path) as other:
        before = reader.snapshot
        with other.writing() as writer:
            writer.remove("a.pdf")
            add(writer, "c.pdf")
        assert reader.snapshot is before
        assert ("a.pdf", 1) in refs(reader)
        vectors = [s.rows.codes for s in before.segments]
        np.testing.assert_array_equal(np.concatenate(vectors)[:4], embed("a.pdf", 1).vectors)
        assert reader.refresh()
        assert refs(reader) == [("b.pdf", 1), ("b.pdf", 2), ("c.pdf", 1)]
        assert before.docs() == {"a.pdf": 1, "b.pdf": 2}


def test_a_state_is_read_from_one_commit(path, monkeypatch):
    """A writer that is quick waits until a reader has read all; here it starts in the middle."""
    read_documents = catalogue.read_documents

    def remove():
        with PageIndex.open(path) as other, other.writing() as writer:
            writer.remove("a.pdf")

    def slowly(connection):
        monkeypatch.undo()
        thread.start()
        thread.join(0.3)
        return read_documents(connection)

    thread = threading.Thread(target=remove)
    monkeypatch.setattr(catalogue, "read_documents", slowly)
    with PageIndex.open(path) as index:
        thread.join()
        assert list(index.snapshot.docs()) == ["a.pdf", "b.pdf"]
        assert len(refs(index)) == 5
        assert index.refresh()
        assert refs(index) == [("b.pdf", 1), ("b.pdf", 2)]


def test_readers_cannot_write(path):
    with closing(catalogue.connect(path)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM pages")


def test_segments_stay_open_over_commits(path):
    with PageIndex.open(path) as index:
        before = index.snapshot.segments
        with index.writing() as writer:
            add(writer, "c.pdf")
        assert index.snapshot.segments[:2] == before


def test_opening_reads_no_vectors(path):
    """Content may be anything: only `verify` looks at it."""
    file = layout.segment_folder(path, 1) / "vectors.npy"
    data = bytearray(file.read_bytes())
    data[-12 * DIM * 4 :] = bytes(12 * DIM * 4)
    file.write_bytes(data)
    with PageIndex.open(path) as index:
        assert not index.embedding(("a.pdf", 3)).vectors.any()
        assert index.verify() == ["segment 1: vectors.npy is damaged (its checksum differs)"]


def test_vectors_are_mapped_and_read_only(path):
    with PageIndex.open(path) as index:
        for segment in index.snapshot.segments:
            for array in (segment.rows.codes, segment.stored(SUMMARIES).codes, segment.stored(SUMMARIES).scales):
                owner = array
                while not isinstance(owner, mmap | ctypes.Array):
                    owner = owner.obj if isinstance(owner, memoryview) else owner.base
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0
                with pytest.raises(ValueError, match="cannot set WRITEABLE flag to True"):
                    array.flags.writeable = True  # and then a write would end the process


@pytest.mark.parametrize("platform", ["win32", "linux"])
def test_every_system_maps_alike(path, monkeypatch, platform):
    """Windows' way can be gone everywhere; Python 3.13's only there, and before it that of the C library."""
    monkeypatch.setattr(arrays, "sys", SimpleNamespace(platform=platform, version_info=sys.version_info))
    monkeypatch.setattr(arrays, "_libc", arrays._libc if platform == "linux" else None)
    with PageIndex.open(path) as index:
        np.testing.assert_array_equal(index.embedding(("a.pdf", 3)).vectors, embed("a.pdf", 3).vectors)
        with pytest.raises(ValueError, match="WRITEABLE"):
            index.snapshot.segments[0].rows.codes.flags.writeable = True


def test_folders_are_made_durable_only_where_that_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(os, "open", None)
    arrays.sync_folder(tmp_path)


OPEN_FILES = Path("/proc/self/fd")


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="Linux lists them")
def test_maps_keep_no_files_open(path):
    before = len(list(OPEN_FILES.iterdir()))
    with PageIndex.open(path) as index:
        assert len(index.snapshot.segments) == 2
        assert len(list(OPEN_FILES.iterdir())) == before


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="Linux lists them")
def test_maps_end_with_their_arrays(path):
    def mapped():
        gc.collect()
        return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())

    with PageIndex.open(path) as index:
        part = index.snapshot.segments[0].rows.codes[:1]
        assert mapped() == len(list(path.glob("segments/*/*.npy")))
    del index
    assert mapped() == 1
    assert part.any()
    del part
    assert mapped() == 0


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="needs the limits of POSIX")
def test_too_many_open_files_say_what_to_do(path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(0)
    os.close(first_free)
    with closing(catalogue.connect(path)) as connection:
        connection.execute("SELECT * FROM pages").fetchall()
        segments = catalogue.read_segments(connection)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free + 1, hard))
        try:
            with pytest.raises(PageIndexError, match=r"cannot be read: Too many open files; allow more .*ulimit -n"):
                open_segment(path, segments[0], Codec("float32", DIM))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_stats_count_what_can_be_found(path):
    with PageIndex.open(path) as index:
        with index.writing() as writer:
            add(writer, "c.pdf", (), state="failed")
            add(writer, "d.pdf", [embed("d.pdf", n=7)])
            writer.remove("b.pdf")
        stats = index.stats()
        assert (stats.documents, stats.pages, stats.vectors) == (3, 4, 3 * 4 + 7)
        assert stats.states == {"done": 2, "failed": 1}
        files = [file for file in path.rglob("*") if file.is_file() and file.name != layout.LOCK]
        assert stats.bytes == sum(file.stat().st_size for file in files)
        assert stats.bytes_per_page == stats.bytes / 4


@contextmanager
def read_only(folder):
    """Nothing in the folder can be written by this process, even if it is root."""
    entries = [folder, *folder.rglob("*")]
    modes = [(entry, stat.S_IMODE(entry.stat().st_mode)) for entry in entries]
    for entry in entries:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
        for entry, mode in modes:
            entry.chmod(mode)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_an_index_that_cannot_be_written_can_be_read(path):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        copy = Path(shutil.copytree(path, Path(folder) / "i"))
        with read_only(copy):
            with PageIndex.open(copy) as index:
                assert len(refs(index)) == 5
                np.testing.assert_array_equal(index.embedding(("b.pdf", 2)).vectors, embed("b.pdf", 2).vectors)
                assert index.refresh() is False
                assert index.verify() == []
                with pytest.raises(PageIndexError, match="cannot be written: Permission denied"), index.writing():
                    pass
            with pytest.raises(PageIndexError, match="cannot be made"):
                PageIndex.create(copy / "new", model=MODEL)


# ---- what is not an index


def test_folders_that_are_no_index(tmp_path):
    with pytest.raises(IndexFormatError, match="does not exist; make an index with: visret index"):
        PageIndex.open(tmp_path / "nowhere")
    with pytest.raises(IndexFormatError, match="is not an index folder"):
        PageIndex.open(tmp_path)
    assert list(tmp_path.iterdir()) == [], "opening makes nothing"


@pytest.mark.parametrize("data", [b"", b"junk" * 1000, b"SQLite format 3\0" + b"junk" * 1000])
def test_files_that_are_no_catalogue(tmp_path, data):
    (tmp_path / layout.CATALOGUE).write_bytes(data)
    with pytest.raises(IndexFormatError, match=r"catalogue\.sqlite"):
        PageIndex.open(tmp_path)


def test_another_database_is_no_catalogue(tmp_path):
    change(tmp_path, "CREATE TABLE pages (id)")
    with pytest.raises(IndexFormatError, match=r"catalogue\.sqlite is not the catalogue of an index"):
        PageIndex.open(tmp_path)


@pytest.mark.parametrize(("version", "hint"), [(layout.FORMAT + 1, "upgrade visret"), (0, "index the documents again")])
def test_another_format_says_what_to_do(path, version, hint):
    change(path, f"PRAGMA user_version = {version}")
    with pytest.raises(IndexFormatError, match=f"format {version}, this visret reads formats 2 and 3; {hint}"):
        PageIndex.open(path)


@pytest.mark.parametrize("table", ["settings", "models", "segments", "documents", "pages", "unread_pages"])
def test_missing_tables(path, table):
    change(path, f"DROP TABLE {table}")
    with pytest.raises(IndexFormatError, match=f"no such table: {table}"):
        PageIndex.open(path)


HOSTILE = [
    "UPDATE segments SET number = -1 WHERE number = 1",
    "UPDATE segments SET number = 99 WHERE number = 1",
    "UPDATE segments SET number = 0 WHERE number = 1",
    "UPDATE segments SET pages = 4 WHERE number = 1",
    "UPDATE segments SET pages = 9223372036854775807 WHERE number = 1",
    "UPDATE segments SET pages = '../../etc' WHERE number = 1",
    "UPDATE segments SET pages = -3 WHERE number = 1",
    "UPDATE segments SET vectors = 11 WHERE number = 1",
    "UPDATE segments SET vectors = 9223372036854775807 WHERE number = 1",
    "UPDATE segments SET live = 2 WHERE number = 1",
    "UPDATE segments SET live = 2.5 WHERE number = 1",
    "UPDATE segments SET model = 7 WHERE number = 1",
    "UPDATE segments SET checksums = '[]' WHERE number = 1",
    "UPDATE segments SET checksums = 7 WHERE number = 1",
    "UPDATE models SET dim = 4",
    "UPDATE models SET dim = 0",
    "UPDATE models SET dim = 'eight'",
    "UPDATE models SET dim = 9223372036854775807",
    "UPDATE models SET name = x'07'",
    "UPDATE models SET preprocessing = '{'",
    "UPDATE models SET preprocessing = '[1]'",
    f"UPDATE models SET preprocessing = '{'[' * 100_000}'",
    "DELETE FROM models",
    "UPDATE settings SET value = '{}' WHERE key = 'storage'",
    *(
        f"""UPDATE settings SET value = '{{"codec": {value}}}' WHERE key = 'storage'"""
        for value in (
            '"int8"',
            '"pickle"',
            '"residual2"',
            "7",
            '"float32", "dim": "x"',
            '"float32", "dim": 4',
            '"a", "b": 1',
        )
    ),
    "UPDATE settings SET value = x'00' WHERE key = 'storage'",
    "UPDATE settings SET value = '[]' WHERE key = 'fitted'",
    """UPDATE settings SET value = '{"vectors": 1}' WHERE key = 'fitted'""",
    "UPDATE settings SET value = 'many' WHERE key = 'commits'",
    "DELETE FROM settings",
    "UPDATE pages SET row = row + 100",
    "UPDATE pages SET row = -1 WHERE document = 1 AND page = 1",
    "UPDATE pages SET row = 'first' WHERE document = 1 AND page = 1",
    "UPDATE pages SET page = 0 WHERE document = 1 AND page = 1",
    "UPDATE pages SET page = 4294967297 WHERE document = 1 AND page = 1",
    "UPDATE pages SET document = 9 WHERE document = 1",
    "UPDATE pages SET width_pt = 'wide'",
    "UPDATE documents SET number = -1 WHERE number = 1; UPDATE pages SET document = -1 WHERE document = 1",
    "UPDATE documents SET number = 1 << 32 WHERE number = 1; UPDATE pages SET document = 1 << 32 WHERE document = 1",
    "UPDATE documents SET doc = x'ff' WHERE number = 1",
    "UPDATE documents SET doc = CAST(x'ff' AS TEXT) WHERE number = 1",
    "UPDATE documents SET source = 5 WHERE number = 1",
    "UPDATE documents SET state = 'odd' WHERE number = 1",
    "DELETE FROM documents WHERE number = 1",
]


@pytest.mark.parametrize("statement", HOSTILE)
def test_a_catalogue_that_lies_is_refused(path, statement):
    change(path, *statement.split("; "))
    with pytest.raises(IndexFormatError, match=str(path)):
        PageIndex.open(path)


@pytest.mark.parametrize("text", ["7", "'{'", "'[]'", f"'{'[' * 100_000}'", "x'ff'"])
@pytest.mark.parametrize("table", ["documents", "pages"])
def test_metadata_that_is_no_object_is_refused_when_read(path, table, text):
    change(path, f"UPDATE {table} SET metadata = {text}")
    with PageIndex.open(path) as index:
        with pytest.raises(IndexFormatError, match="is damaged"):
            index.snapshot.select({"year": 2020})
        with pytest.raises(IndexFormatError, match="is damaged"):
            index.snapshot.metadata(*index.snapshot.find(("a.pdf", 1)))


@pytest.mark.parametrize(
    "code",
    [
        "CREATE TRIGGER evil AFTER DELETE ON documents BEGIN DELETE FROM pages; END",
        "CREATE VIEW evil AS SELECT 1",
        "INSERT INTO sqlite_master VALUES ('table', 'evil', 'evil', 0, 'CREATE VIRTUAL TABLE evil USING unknown')",
    ],
)
def test_a_catalogue_with_code_in_it_is_refused(path, code):
    change(path, "PRAGMA writable_schema = ON", code)
    with pytest.raises(IndexFormatError, match=r"'evil'.* do not trust it"):
        PageIndex.open(path)
    with pytest.raises(IndexFormatError, match="do not trust it"):
        damage.verify(path)


def test_a_missing_segment_is_refused(path):
    shutil.rmtree(layout.segment_folder(path, 2))
    with pytest.raises(IndexFormatError, match=r"segment 2: .*\.npy is missing"):
        PageIndex.open(path)


def test_only_folders_of_segments_are_swept(path):
    kept = [path / layout.SEGMENTS / name for name in ("notes", "1", "00000a", "-00001", "000001.bak")]
    gone = [path / layout.SEGMENTS / name for name in ("000009", "1234567")]
    for folder in kept + gone:
        folder.mkdir()
        (folder / "file").touch()
    with PageIndex.open(path) as index, index.writing():
        pass
    assert all(folder.exists() for folder in kept)
    assert not any(folder.exists() for folder in gone)


def test_verify_blames_nobody_for_what_was_removed_meanwhile(path, monkeypatch):
    problems = Segment.problems

    def remove_first(segment):
        monkeypatch.undo()
        with PageIndex.open(path) as other, other.writing() as writer:
            writer.remove("a.pdf")
        return problems(segment)

    with PageIndex.open(path) as index:
        monkeypatch.setattr(Segment, "problems", remove_first)
        assert index.verify() == []
        assert index.refresh()
        assert refs(index) == [("b.pdf", 1), ("b.pdf", 2)]


def test_verify_reads_the_catalogue_too(path):
    with PageIndex.open(path) as index:
        change(path, "INSERT INTO unread_pages VALUES (77, 1, NULL, 0)")
        assert any("unread_pages refers to a missing row of documents" in problem for problem in index.verify())
