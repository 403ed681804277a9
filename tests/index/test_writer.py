import errno
import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support.pages import DIM, FLOATS, MODEL, add, embed, refs

from visret.errors import DuplicateDocument, IndexLocked, InvalidArgument, ModelMismatch, PageIndexError
from visret.index import PageIndex, arrays, catalogue, layout, renditions, seal
from visret.index import writer as writer_module
from visret.reduction import Storage

ROOT = Path(__file__).parents[2]


def run(script, *arguments):
    """A Python process of its own; what it prints."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n{script}"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def folders(index):
    return sorted(folder.name for folder in (index.path / "segments").iterdir())


def test_nothing_is_seen_before_the_commit(index):
    other = PageIndex.open(index.path)
    with index.writing() as writer:
        number = writer.add("a.pdf", expected=3)
        writer.put(number, embed(page=1))
        assert (writer.pending_pages, writer.pending_vectors) == (1, 4)
        assert writer.pending_bytes > 4 * DIM * 4
        other.refresh()
        assert refs(index) == refs(other) == []
        assert writer.commit() == 1
        assert (writer.pending_pages, writer.pending_vectors, writer.pending_bytes) == (0, 0, 0)
        assert refs(index) == [("a.pdf", 1)], "own commits are seen at once"
        assert index.snapshot.document("a.pdf").state == "partial"
        assert refs(other) == [], "others see them after refresh"
        assert other.refresh() is True
        assert other.refresh() is False
        assert refs(other) == [("a.pdf", 1)]
        writer.put(number, embed(page=2))
        writer.skip(number, 3)
        writer.finish(number)
    document = index.snapshot.document("a.pdf")
    assert (document.state, document.expected, document.pages, document.empty) == ("done", 3, (1, 2), (3,))
    np.testing.assert_array_equal(index.embedding(("a.pdf", 2)).vectors, embed(page=2).vectors)


def test_an_error_discards_what_was_not_committed(index):
    with suppress(KeyboardInterrupt), index.writing() as writer:
        add(writer, "a.pdf")
        writer.commit()
        add(writer, "b.pdf")
        raise KeyboardInterrupt
    assert refs(index) == [("a.pdf", 1)]
    assert list(index.snapshot.docs()) == ["a.pdf"]


def test_all_that_is_known_of_a_document_comes_back(index):
    facts = {"source": "/x/ä.pdf", "hash": "0af", "size": 1 << 40, "mtime_ns": 1_700_000_000_123_456_789, "expected": 4}
    with index.writing() as writer:
        number = writer.add("ä.pdf", metadata={"year": 2020, "tags": ["a", None, 1.5, True], "of": {"x": 1}}, **facts)
        writer.put(number, embed("ä.pdf", 3))
        writer.skip(number, 2, "too large")
        writer.skip(number, 1)
        writer.skip(number, 4, blank=True)
        writer.finish(number, "failed", "broken on page 4")
    document = PageIndex.open(index.path).snapshot.document("ä.pdf")
    assert {name: getattr(document, name) for name in facts} == facts
    assert document.metadata == {"year": 2020, "tags": ["a", None, 1.5, True], "of": {"x": 1}}
    assert (document.state, document.reason) == ("failed", "broken on page 4")
    assert (document.pages, document.empty, document.failed) == ((3,), (1, 4), ((2, "too large"),))
    assert document.blank == (4,)


def test_a_partial_document_goes_on_where_it_stopped(index):
    with index.writing() as writer:
        number = writer.add("a.pdf")
        writer.put(number, embed(page=1))
        writer.skip(number, 2, "not now")
    with PageIndex.open(index.path) as again, again.writing() as writer:
        number = again.snapshot.docs()["a.pdf"]
        writer.put(number, embed(page=2))
        writer.finish(number)
        writer.commit()
        document = again.snapshot.document("a.pdf")
    assert (document.pages, document.failed, document.state) == ((1, 2), (), "done")


def test_a_new_version_replaces_the_old_with_its_first_page(index):
    with index.writing() as writer:
        add(writer, "a.pdf", (1, 2, 3), source="/a.pdf", hash="old", metadata={"k": 1})
    with index.writing() as writer:
        number = writer.add("a.pdf", source="/a.pdf", hash="new", metadata={"k": 2})
        add(writer, "b.pdf")
        writer.commit()
        assert refs(index) == [("a.pdf", 1), ("a.pdf", 2), ("a.pdf", 3), ("b.pdf", 1)], "no page of it is there yet"
        assert index.snapshot.document("a.pdf").hash == "old"
        writer.put(number, embed(page=7))
        writer.commit()
        assert refs(index) == [("a.pdf", 7), ("b.pdf", 1)]
        assert index.snapshot.document("a.pdf").hash == "new"
        assert index.snapshot.document("a.pdf").metadata == {"k": 2}
    assert folders(index) == ["000002", "000003"], "the segment of the old version is gone"


@pytest.mark.parametrize("how", ["failed", "empty", "skipped"])
def test_a_new_version_without_pages_replaces_the_old_too(index, how):
    with index.writing() as writer:
        add(writer, "a.pdf")
    with index.writing() as writer:
        number = writer.add("a.pdf")
        if how == "skipped":
            writer.skip(number, 1)
        else:
            writer.finish(number, how, "why")
    assert refs(index) == []
    assert list(index.snapshot.docs()) == ["a.pdf"]
    assert folders(index) == []


def test_versions_that_never_appeared_leave_nothing(index):
    with index.writing() as writer:
        add(writer, "a.pdf")
    with index.writing() as writer:
        writer.add("new.pdf")
        writer.add("a.pdf")
        add(writer, "a.pdf", (2,))
        writer.remove("new.pdf")
    assert refs(index) == [("a.pdf", 2)]
    with index.writing() as writer:
        writer.add("a.pdf")
        writer.remove("a.pdf")
    assert refs(index) == []
    assert index.snapshot.docs() == {}


def test_facts_change_before_a_document_appears(index):
    with index.writing() as writer:
        add(writer, "a.pdf", hash="old")
    with index.writing() as writer:
        number = writer.add("a.pdf", hash="new")
        writer.update(number, expected=9)
        writer.commit()
        assert index.snapshot.document("a.pdf").hash == "old"
        writer.finish(number)
    assert (index.snapshot.document("a.pdf").hash, index.snapshot.document("a.pdf").expected) == ("new", 9)


def test_a_renamed_file_keeps_its_pages(index):
    with index.writing() as writer:
        number = add(writer, "a.pdf", (1, 2), source="/x/a.pdf", hash="h", metadata={"k": 1})
    place = index.snapshot.find(("a.pdf", 2))
    with index.writing() as writer:
        writer.update(number, doc="b.pdf", source="/x/b.pdf", mtime_ns=5)
        add(writer, "a.pdf", (9,), source="/x/a.pdf")
    snapshot = index.snapshot
    assert snapshot.find(("b.pdf", 2)) == place
    assert snapshot.document("b.pdf").number == number
    assert (snapshot.document("b.pdf").hash, snapshot.document("b.pdf").mtime_ns) == ("h", 5)
    assert snapshot.sources() == {"/x/a.pdf": 2, "/x/b.pdf": 1}
    assert refs(index) == [("a.pdf", 9), ("b.pdf", 1), ("b.pdf", 2)]


def test_names_belong_to_one_source(index):
    with index.writing() as writer:
        number = add(writer, "a.pdf", source="/x/a.pdf")
        memory = add(writer, "memory")
        for doc, source in (("a.pdf", "/y/a.pdf"), ("a.pdf", None), ("memory", "/x/m.pdf")):
            with pytest.raises(DuplicateDocument, match="is the name of another document"):
                writer.add(doc, source=source)
        with pytest.raises(DuplicateDocument, match=r"/x/a\.pdf is in the index already, as 'a\.pdf'"):
            writer.add("b.pdf", source="/x/a.pdf")
        with pytest.raises(DuplicateDocument, match=r"'a\.pdf' is the name of another"):
            writer.update(memory, doc="a.pdf")
        with pytest.raises(DuplicateDocument, match=r"/x/a\.pdf is in the index"):
            writer.update(memory, source="/x/a.pdf")
        writer.remove("memory")
        writer.update(number, doc="memory")
    assert refs(index) == [("memory", 1)]


def test_a_page_is_there_once(index):
    with index.writing() as writer:
        number = writer.add("a.pdf")
        writer.put(number, embed(page=1))
        with pytest.raises(DuplicateDocument, match=r"page 1 of a\.pdf is in the index already"):
            writer.put(number, embed(page=1))
        writer.commit()
        with pytest.raises(DuplicateDocument, match=r"page 1 of a\.pdf is in the index already"):
            writer.put(number, embed(page=1))
    assert refs(index) == [("a.pdf", 1)]


def test_what_is_not_there_cannot_be_changed(index):
    with index.writing() as writer:
        number = add(writer, "a.pdf")
        with pytest.raises(InvalidArgument, match=r"no document 'b\.pdf'"):
            writer.remove("b.pdf")
        with pytest.raises(InvalidArgument, match=r"page 1 is of 'b\.pdf', but document 1 is 'a\.pdf'"):
            writer.put(number, embed("b.pdf"))
        with pytest.raises(InvalidArgument, match="pages count from 1, got page 0"):
            writer.skip(number, 0)
        with pytest.raises(InvalidArgument, match="done, partial, failed, empty, not 'finished'"):
            writer.finish(number, "finished")
        writer.remove("a.pdf")
        for call in (
            lambda: writer.put(number, embed()),
            lambda: writer.finish(number),
            lambda: writer.update(number, size=1),
            lambda: writer.skip(number, 1),
        ):
            with pytest.raises(InvalidArgument, match="no document 1 in this index"):
                call()


def test_vectors_of_another_model_are_refused(index):
    with index.writing() as writer, pytest.raises(ModelMismatch, match="9 dimensions; the index was made by toy"):
        writer.put(writer.add("a.pdf"), embed(dim=9))


@pytest.mark.parametrize("doc", ["", "a\0b", "\udcff.pdf"])
def test_names_that_are_no_text_are_refused(index, doc):
    with index.writing() as writer, pytest.raises(PageIndexError, match="cannot name a document"):
        writer.add(doc)


@pytest.mark.parametrize(
    "metadata", [{"x": b""}, {"x": float("inf")}, {1: 2}, {"doc": 1}, {"page": 1}, {"source": 1}, {"\ud800": 1}]
)
def test_metadata_that_is_no_json_is_refused(index, metadata):
    with index.writing() as writer:
        with pytest.raises(InvalidArgument, match=r"metadata of a\.pdf"):
            writer.add("a.pdf", metadata=metadata)
        with pytest.raises(InvalidArgument, match=r"metadata of b\.pdf, page 1"):
            writer.put(writer.add("b.pdf"), embed("b.pdf", metadata=metadata))


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_file_name_that_is_not_utf8_comes_back(index):
    source = os.fsdecode(b"/x/caf\xe9.pdf")
    with index.writing() as writer:
        add(writer, "caf_.pdf", source=source)
    snapshot = PageIndex.open(index.path).snapshot
    assert snapshot.document("caf_.pdf").source == source
    assert snapshot.sources() == {source: 1}
    assert len(snapshot.select({"source": source}).rows) == 1
    with index.writing() as writer, pytest.raises(DuplicateDocument):
        writer.add("other.pdf", source=source)


def test_removed_pages_are_gone_and_their_folder_with_the_last(index):
    with index.writing() as writer:
        add(writer, "a.pdf", (1, 2))
        add(writer, "b.pdf", (1,))
    with index.writing() as writer:
        writer.remove("a.pdf")
    assert refs(index) == [("b.pdf", 1)]
    assert index.verify() == []
    assert folders(index) == ["000001"]
    with index.writing() as writer:
        writer.remove("b.pdf")
    assert (refs(index), folders(index)) == ([], [])
    with index.writing() as writer:
        assert add(writer, "a.pdf") == 3, "numbers are never used twice"
    assert folders(index) == ["000002"]


def test_a_folder_lives_as_long_as_its_readers(index):
    with index.writing() as writer:
        add(writer, "a.pdf", [embed(text="still here")])
    reader, held = PageIndex.open(index.path), index.snapshot
    with index.writing() as writer:
        writer.remove("a.pdf")
    assert held.embedding(("a.pdf", 1)).text == "still here"
    assert folders(index) == ["000001"]
    del held
    with index.writing():
        pass
    assert folders(index) == []
    if os.name == "posix":  # what is mapped outlives its file
        np.testing.assert_array_equal(reader.embedding(("a.pdf", 1)).vectors, embed().vectors)
        assert reader.embedding(("a.pdf", 1)).text == "still here"
    assert reader.refresh()
    assert refs(reader) == []


def test_pictures_go_with_their_document(index):
    with suppress(KeyboardInterrupt), index.writing() as writer:
        renditions.write(index.path, writer.add("a.pdf"), 1, b"never committed")
        raise KeyboardInterrupt
    assert not list((index.path / "renditions").iterdir())
    with index.writing() as writer:
        number = add(writer, "a.pdf")
        renditions.write(index.path, number, 1, b"picture")
    assert renditions.read(index.path, number, 1) == b"picture"
    with index.writing() as writer:
        writer.remove("a.pdf")
    assert renditions.read(index.path, number, 1) is None


def test_a_pdf_is_kept_before_its_pages_come(index):
    with index.writing() as writer:
        number = writer.add("a.odt", source="/a.odt")
        writer.keep_pdf(number, b"of LibreOffice")
        writer.compact()  # deletes what no document has
        writer.put(number, embed("a.odt"))
        writer.finish(number)
    assert renditions.pdf_of(index.path, number).read_bytes() == b"of LibreOffice"
    assert index.verify() == []
    with index.writing() as writer:
        writer.remove("a.odt")
    assert renditions.pdf_of(index.path, number) is None


# ---- one writer


def test_a_commit_killed_half_way_leaves_the_very_bytes_of_the_last(index, tmp_path):
    with index.writing() as writer:
        for number in range(300):
            add(writer, f"{number}.pdf", metadata={"title": "x" * 900})
        writer.commit()
        for number in range(10, 300):
            writer.remove(f"{number}.pdf")
        writer.commit()
        connection = writer._connection
        connection.execute("PRAGMA cache_size = 2")  # so that SQLite writes before the commit
        connection.execute("BEGIN IMMEDIATE")
        for number in range(3000):
            connection.execute("INSERT INTO settings VALUES (?, 'y')", (f"key {number}",))
        killed = tmp_path / "killed"
        killed.mkdir()
        for file in index.path.glob("catalogue*"):
            (killed / file.name).write_bytes(file.read_bytes())
        assert (killed / "catalogue.sqlite-journal").stat().st_size > 1024
        connection.execute("ROLLBACK")
    assert seal.problem(killed) is None


def test_a_second_writer_of_the_same_process_is_refused(index):
    with index.writing() as writer:
        with pytest.raises(IndexLocked, match="being written by another process or thread"), index.writing():
            pass
        with pytest.raises(IndexLocked), PageIndex.open(index.path).writing():
            pass
        add(writer, "a.pdf")
    with index.writing() as writer:
        add(writer, "b.pdf")
    assert refs(index) == [("a.pdf", 1), ("b.pdf", 1)]


def test_a_second_process_is_refused_until_the_first_is_gone(index):
    script = """
from visret.errors import IndexLocked
from visret.index import PageIndex
index = PageIndex.open(sys.argv[1])
try:
    with index.writing():
        print("locked it")
        sys.stdout.flush()
        if sys.argv[2] == "die":
            import os
            os._exit(0)
except IndexLocked as error:
    print(f"{len(index.snapshot)} pages to read;", error)
"""
    with index.writing() as writer:
        add(writer, "a.pdf")
        writer.commit()
        assert run(script, index.path, "") == (
            f"1 pages to read; {index.path}: is being written by another process or thread; "
            "wait for it to end, or stop it\n"
        )
    assert run(script, index.path, "die") == "locked it\n"
    with index.writing() as writer:
        add(writer, "b.pdf")
    assert len(index.snapshot) == 2


def test_readers_always_see_whole_commits(index):
    """Every commit adds one document of two pages and removes the one before."""
    wrong, stop = [], threading.Event()

    def read(reader):
        while not stop.is_set():
            reader.refresh()
            snapshot = reader.snapshot
            pages = [snapshot.embedding(snapshot.ref(s.number, int(r))) for s in snapshot.segments for r in [0, 1]]
            if len({page.ref.doc for page in pages}) > 1 or len(pages) not in (0, 2):
                wrong.append([page.ref for page in pages])

    threads = [threading.Thread(target=read, args=(index,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    with index.writing() as writer:
        for i in range(25):
            if i:
                writer.remove(f"{i - 1}.pdf")
            add(writer, f"{i}.pdf", (1, 2))
            writer.commit()
            assert refs(index) == [(f"{i}.pdf", 1), (f"{i}.pdf", 2)]
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- what goes wrong while writing


@pytest.mark.parametrize("step", range(13))
def test_a_full_disk_keeps_the_last_commit_and_the_changes(index, monkeypatch, step):
    """The step-th of eleven files, their folder and the one above cannot be synced; later there is room again."""
    with index.writing() as writer:
        add(writer, "a.pdf")
        writer.commit()
        add(writer, "a.pdf", (2,))
        add(writer, "b.pdf", (1, 2))
        calls = iter(range(100))
        fsync = os.fsync

        def fail(descriptor):
            if next(calls) == step:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(arrays.os, "fsync", fail)
        with pytest.raises(PageIndexError, match=r"nothing of this commit was kept: .*No space left"):
            writer.commit()
        assert refs(index) == [("a.pdf", 1)]
        assert folders(index) == ["000001"], "nothing is left behind"
        assert writer.commit() == 3
        assert next(calls) == step + 1 + 13 + 1, "so many syncs make a segment durable, the last one the seal"
    assert refs(index) == [("a.pdf", 2), ("b.pdf", 1), ("b.pdf", 2)]
    assert index.verify() == []


class Interrupting:
    """A connection that is interrupted before or after a statement."""

    def __init__(self, connection, when, error):
        self.connection, self.when, self.error = connection, when, error

    def execute(self, statement, *values):
        for moment in ("before", "after"):
            if self.when and statement.startswith(self.when[1]) and moment == self.when[0]:
                self.when = None
                raise self.error
            if moment == "before":
                result = self.connection.execute(statement, *values)
        return result

    def __getattr__(self, name):
        return getattr(self.connection, name)


STATEMENTS = [
    "BEGIN",
    "INSERT INTO segments",
    "INSERT INTO documents",
    "INSERT INTO pages",
    "UPDATE settings",
    "COMMIT",
]


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), sqlite3.OperationalError("database or disk is full")])
def test_a_commit_is_whole_or_not_at_all(index, statement, moment, error):
    done = (statement, moment) == ("COMMIT", "after")
    with index.writing() as writer:
        add(writer, "a.pdf")
        writer.commit()
        writer.remove("a.pdf")
        add(writer, "b.pdf", (1, 2))
        writer._connection = Interrupting(writer._connection, (moment, statement), error)
        with pytest.raises((KeyboardInterrupt, PageIndexError, sqlite3.OperationalError)):
            writer.commit()
        assert refs(index) == ([("b.pdf", 1), ("b.pdf", 2)] if done else [("a.pdf", 1)])
        assert writer.commit() == (0 if done else 2)
        assert refs(index) == [("b.pdf", 1), ("b.pdf", 2)]
    assert folders(index) == ["000002"]
    assert index.verify() == []


# Each child dies without clean-up at one of the steps of a commit: before a sync, with a file half written, and
# at every statement. A cache of one page makes SQLite write before it commits, so that a journal has to
# be rolled back. What was acknowledged is in a file of its own.
CRASHES = """
import json, os, sqlite3
from support.pages import add, embed, refs
from visret.index import PageIndex, arrays, writer

path, report = sys.argv[1:]
step = 0
os.fsync = lambda descriptor: None  # the power stays on

def child():
    passed = -1

    def pass_by(*_):
        nonlocal passed
        passed += 1
        if passed == step:
            os._exit(9)

    fsync, write = os.fsync, arrays._write

    def sync(descriptor):
        pass_by()
        fsync(descriptor)

    def half(path, parts):
        path.write_bytes(b"half")
        pass_by()
        path.unlink()
        return write(path, parts)

    index = PageIndex.open(path)
    with index.writing() as w:
        os.fsync, arrays._write = sync, half
        w._connection.execute("PRAGMA cache_size = 1")
        w._connection.set_trace_callback(pass_by)
        w.remove(list(index.snapshot.docs())[0])
        add(w, f"{step}.pdf", (1, 2))
        w.commit()
        with open(report, "a") as file:
            file.write(f"{step}.pdf\\n")
    os._exit(0)

def state():
    with PageIndex.open(path) as index:
        with index.writing():
            pass  # the next writer tidies up
        listed = {f"{s.number:06d}" for s in index.snapshot.segments}
        fitted = index.snapshot.fitted
        learned = fitted is not None and fitted.vectors > 0
        tidy = set(os.listdir(path + "/segments")) == listed and os.path.exists(path + "/fitted") == learned
        return refs(index), tidy, index.verify()

seen = []
while True:
    pid = os.fork()
    if not pid:
        child()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seen.append((step, code, os.path.exists(path + "/catalogue.sqlite-journal"), *state()))
    if code != 9:
        break
    step += 1
print(json.dumps(seen))
"""


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("learning", [False, True])
def test_a_crash_at_any_step_leaves_what_was_acknowledged(tmp_path, learning):
    """learning: the first commit with pages also publishes what it learned."""
    storage = Storage(codec="residual1", dim=4) if learning else FLOATS
    with PageIndex.create(tmp_path / "i", model=MODEL, storage=storage) as index, index.writing() as writer:
        add(writer, "first.pdf", () if learning else (1, 2))
    report = tmp_path / "acknowledged"
    report.touch()
    seen = json.loads(run(CRASHES, index.path, report))
    acknowledged = set(report.read_text().split())
    assert [code for _, code, *_ in seen] == [9] * (len(seen) - 1) + [0]
    assert len(seen) - len(acknowledged) > (40 if learning else 25), "so many steps come before the acknowledgement"
    assert f"{len(seen) - 1}.pdf" in acknowledged
    assert any(journal for _, _, journal, *_ in seen)
    there, published = "first.pdf", 0
    for step, _, _, pages, tidy, problems in seen:
        new, old = ([[doc, 1], [doc, 2]] for doc in (f"{step}.pdf", there))
        doc = f"{step}.pdf" if pages == new else there
        if f"{step}.pdf" in acknowledged or doc != there:  # published, whether or not that was heard of
            assert pages == new
            published += 1
        else:
            assert not published, "a later step is no earlier one"
            assert pages == ([] if learning and doc == "first.pdf" else old), "nothing of a commit that was not whole"
        assert tidy, f"step {step} left folders behind"
        assert problems == []
        there = doc


@pytest.mark.skipif(os.name == "nt", reason="substitutes what is there")
def test_the_lock_of_windows_is_one_byte_at_the_beginning(index, monkeypatch):
    calls = []

    def locking(descriptor, mode, count):
        calls.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))
        if len(calls) > 1:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with (index.path / layout.LOCK).open("a+b") as file:
        file.write(b"x")
        file.flush()
        with monkeypatch.context() as patch:
            patch.setattr(os, "name", "nt")
            assert writer_module._try_lock(file.fileno())
            assert not writer_module._try_lock(file.fileno())
    assert calls == [(0, 2, 1)] * 2


# ---- against a dict


class Files(RuleBasedStateMachine):
    """An index and a dict of what should be in it."""

    def __init__(self):
        super().__init__()
        self.index = PageIndex.create(self.folders(), model=MODEL, storage=FLOATS)
        self.pages: dict[tuple[str, int], int] = {}
        self.sizes: dict[str, int] = {}

    @rule(doc=st.sampled_from("abc"), pages=st.sets(st.integers(1, 4), max_size=3), n=st.integers(1, 3))
    def add(self, doc, pages, n):
        with self.index.writing() as writer:
            add(writer, doc, [embed(doc, page, n=n) for page in pages], size=n)
        self.forget(doc)
        self.pages |= dict.fromkeys([(doc, page) for page in pages], n)
        self.sizes[doc] = n

    @rule(docs=st.sets(st.sampled_from("abc"), min_size=1))
    def remove_all_or_nothing(self, docs):
        missing = docs - set(self.sizes)
        try:
            with self.index.writing() as writer:
                for doc in sorted(docs):
                    writer.remove(doc)
        except InvalidArgument:
            assert missing
        else:
            assert not missing
            for doc in docs:
                self.forget(doc)

    @rule(doc=st.sampled_from("abc"), name=st.sampled_from("abcd"))
    def rename(self, doc, name):
        if doc in self.sizes and name not in self.sizes:
            with self.index.writing() as writer:
                writer.update(self.index.snapshot.docs()[doc], doc=name)
            # The vectors follow from the first name.
            self.names[name] = self.names.get(doc, doc)
            self.pages = {(name if d == doc else d, page): n for (d, page), n in self.pages.items()}
            self.sizes[name] = self.sizes.pop(doc)

    @rule(doc=st.sampled_from("abc"))
    def fail(self, doc):
        with suppress(KeyboardInterrupt), self.index.writing() as writer:
            add(writer, doc, (1, 2))
            raise KeyboardInterrupt

    @rule()
    def reopen(self):
        path = self.index.path
        self.index.close()
        self.index = PageIndex.open(path)

    @invariant()
    def holds_exactly_this(self):
        assert refs(self.index) == sorted(self.pages)
        assert {document.doc: document.size for document in self.index.snapshot.documents()} == self.sizes
        for (doc, page), n in self.pages.items():
            expected = embed(self.names.get(doc, doc), page, n=n).vectors
            np.testing.assert_array_equal(self.index.embedding((doc, page)).vectors, expected)
        stats = self.index.stats()
        assert (stats.pages, stats.vectors) == (len(self.pages), sum(self.pages.values()))
        live = {f"{s.number:06d}" for s in self.index.snapshot.segments}
        assert set(folders(self.index)) == live

    def forget(self, doc):
        self.pages = {ref: n for ref, n in self.pages.items() if ref[0] != doc}
        self.sizes.pop(doc, None)
        self.names.pop(doc, None)

    def teardown(self):
        assert self.index.verify() == []
        self.index.close()


def test_an_index_is_a_dict_of_pages(tmp_path_factory):
    class Machine(Files):
        def __init__(self):
            self.names = {}
            self.folders = lambda: tmp_path_factory.mktemp("dict") / "i"
            super().__init__()

    run_state_machine_as_test(Machine, settings=settings(max_examples=12, stateful_step_count=10, deadline=None))


@pytest.mark.parametrize("when", ["committed", "pending", "replaced twice"])
def test_a_new_version_has_the_metadata_of_the_old_unless_it_is_given_other(index, when):
    with index.writing() as writer:
        add(writer, "a.pdf", metadata={"k": 1})
        if when == "committed":
            writer.commit()
        if when == "replaced twice":
            writer.update(writer.add("a.pdf"), metadata={"k": 1})
        add(writer, "a.pdf")
    assert index.snapshot.document("a.pdf").metadata == {"k": 1}
    with index.writing() as writer:
        add(writer, "a.pdf", metadata={})
    assert index.snapshot.document("a.pdf").metadata == {}


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_refused_in_words(index, monkeypatch, code):
    def no(_):
        raise OSError(code, "of flock")

    monkeypatch.setattr("visret.index.writer._try_lock", no)
    with pytest.raises(PageIndexError, match=r"cannot lock files .* keep the index on a local disk"), index.writing():
        pass
    with pytest.raises(PageIndexError, match="cannot lock files"):
        PageIndex.create(index.path.with_name("new"), model=MODEL)


@pytest.mark.skipif(os.name == "nt", reason="flock")
def test_a_lock_that_another_has_is_told_from_one_that_cannot_be(index, monkeypatch):
    import fcntl

    for code, expected in (
        (errno.EWOULDBLOCK, IndexLocked),
        (errno.EACCES, IndexLocked),
        (errno.ENOLCK, PageIndexError),
    ):
        monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(code, "x")))
        with pytest.raises(PageIndexError) as caught, index.writing():
            pass
        assert type(caught.value) is expected


@pytest.mark.parametrize("name", ["SQLITE_IOERR_LOCK", "SQLITE_IOERR_RDLOCK", "SQLITE_PROTOCOL"])
@pytest.mark.parametrize("guard", [catalogue.reading_errors, catalogue.writing_errors])
def test_sqlite_without_locks_is_refused_in_words(tmp_path, name, guard):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name
    with pytest.raises(PageIndexError, match="cannot lock files") as caught, guard(tmp_path):
        raise error
    assert type(caught.value) is PageIndexError, "an index is not damaged by it, and nobody may remove it for that"


def test_files_that_may_not_be_read_are_no_damage(index, monkeypatch):
    """What `repair` would drop."""
    with index.writing() as writer:
        add(writer, "a.pdf")
    monkeypatch.setattr(arrays, "sha256", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(PageIndexError, match="segment 1 cannot be read: Permission denied"):
        index.verify()


def test_an_index_that_cannot_be_reached_is_refused_in_words(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for path in ("file", "circle", "x" * 300, "a\0b", "file/inside"):
        for door in (PageIndex.open, lambda path: PageIndex.create(path, model=MODEL)):
            with pytest.raises(PageIndexError):
                door(tmp_path / path)
