"""Every step of a commit fails once, and the power goes before every step: python tests/soak/faults.py [--codec NAME]

A step is a write, fsync, mkdir, rename or deletion below the index's folder, or a statement of SQLite. After each
fault the index must open, `verify` must be clean, every page that was acknowledged must be there once with its vectors,
and the next run must finish the rest and leave nothing behind.

A power cut is played on a copy: what was written and never synced is empty, names never synced are as they were before
(or, the other way round, are there, their content zeros). SQLite's own files are taken as they stand: that its journal
survives a cut is SQLite's promise, given for the setting of `synchronous` that tests/index/test_page_index.py checks.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import hashlib
import io
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from unittest.mock import patch

import numpy as np

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from visret.choices import DENSE, KINDS, SPARSE  # noqa: E402
from visret.errors import PageIndexError  # noqa: E402
from visret.index import IndexModel, PageIndex, embedded, layout, renditions, versions  # noqa: E402
from visret.reduction import Storage  # noqa: E402
from visret.types import Grid, PageEmbedding, PageRef, SparseVector  # noqa: E402

State = dict[PageRef, bytes]  # the stored vectors of every page
Before = Callable[[str], None]  # called before each step, with what it is

DIM = 8
COMPACTED = {"int8": "residual1"}  # where a run ends with another codec


class Disk:
    """What a power cut would leave of a folder. It is told of every step that has succeeded."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.new_key = count().__next__
        self.keys: dict[int, int] = {}  # by inode; inodes are used again, keys are not
        self.data: dict[int, bytes] = {}  # durable content, by key
        self.names: dict[Path, dict[str, int | None]] = {}  # durable names of each folder: key, None for a folder
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            self.sync_folder(folder)
            for file in folder.iterdir():
                if file.is_file():
                    self.data[self.key(file)] = file.read_bytes()

    def key(self, file: Path) -> int:
        return self.keys.setdefault(file.stat().st_ino, self.new_key())

    def made(self, path: Path) -> None:
        if path.is_dir():
            self.names[path] = {}
        else:
            self.keys[path.stat().st_ino] = self.new_key()

    def sync_folder(self, folder: Path) -> None:
        self.names[folder] = {entry.name: None if entry.is_dir() else self.key(entry) for entry in folder.iterdir()}

    def synced(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}")
        if path.is_dir():
            self.sync_folder(path.readlink())
        else:
            self.data[self.key(path)] = path.read_bytes()

    def cut(self, *, lost: bool) -> dict[str, bytes | None]:
        """The tree after the power came back: path to content, None for a folder. lost: also names never synced."""
        tree: dict[str, bytes | None] = {}

        def walk(folder: Path, at: str) -> None:
            there = (
                {} if not folder.is_dir() else {p.name: None if p.is_dir() else self.key(p) for p in folder.iterdir()}
            )
            names = self.names.get(folder, {}) if lost else there
            for name in there:
                if name.startswith(layout.CATALOGUE):
                    content = (folder / name).read_bytes()
                    if name != layout.CATALOGUE or name in names:
                        tree[f"{at}{name}"] = content
            for name, key in names.items():
                if name.startswith(layout.CATALOGUE):
                    continue
                if key is None:
                    tree[f"{at}{name}"] = None
                    walk(folder / name, f"{at}{name}/")
                elif lost:
                    tree[f"{at}{name}"] = self.data.get(key, b"")
                else:
                    tree[f"{at}{name}"] = self.data.get(key, bytes((folder / name).stat().st_size))

        walk(self.root, "")
        return tree


@contextmanager
def watched(root: Path, before: Before, disk: Disk | None = None) -> Iterator[None]:
    """Call `before` at each step below the folder; tell the disk of each that succeeded.

    At the end no connection may be left open: on Windows nothing that somebody has open can be replaced or deleted.
    """
    real_open, real_connect = io.open, sqlite3.connect
    connected: set[sqlite3.Connection] = set()

    def inside(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).is_relative_to(root)

    class File:
        def __init__(self, file: io.BufferedIOBase, name: str) -> None:
            self.file, self.name = file, name

        def write(self, data: bytes) -> int:
            before(f"write {self.name}")
            return self.file.write(data)

        def __enter__(self) -> File:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    def open_(path: object, mode: str = "r", *rest: object, **named: object) -> object:
        if not inside(path) or not set(mode) & set("wxa+"):
            return real_open(path, mode, *rest, **named)
        before(f"open {Path(path).name}")
        new = "a" not in mode or not Path(path).exists()
        file = real_open(path, mode, *rest, **named)
        if disk and new:
            disk.made(Path(path))
        return File(file, Path(path).name)

    def step(name: str, tell: Callable[..., None] = lambda *_: None) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*arguments: object, **named: object) -> object:
            if not (name == "fsync" or named.get("dir_fd") is not None or inside(arguments[0])):
                return real(*arguments, **named)
            before(f"{name} {Path(str(arguments[0])).name if name != 'fsync' else ''}")
            result = real(*arguments, **named)
            if disk:
                tell(*arguments)
            return result

        return call

    class Connection(sqlite3.Connection):
        def __init__(self, *arguments: object, **named: object) -> None:
            super().__init__(*arguments, **named)
            connected.add(self)

        def close(self) -> None:
            connected.discard(self)
            super().close()

        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            before(f"sql {statement[:40]}")
            return super().execute(statement, *values)

        def executemany(self, statement: str, *values: object) -> sqlite3.Cursor:
            before(f"sql {statement[:40]}")
            return super().executemany(statement, *values)

        def backup(self, target: sqlite3.Connection, **named: object) -> None:
            before("sql backup")
            super().backup(target, **named)

        def executescript(self, script: str) -> sqlite3.Cursor:
            before(f"sql {script[:40]}")
            return super().executescript(script)

    steps = {name: step(name) for name in ("rename", "replace", "unlink", "rmdir")}
    steps["mkdir"] = step("mkdir", lambda path, *_: disk.made(Path(path)))
    steps["fsync"] = step("fsync", lambda descriptor: disk.synced(descriptor))
    with (
        patch.multiple(os, **steps),
        patch.object(io, "open", open_),
        patch.object(builtins, "open", open_),
        patch.object(sqlite3, "connect", lambda *a, **n: real_connect(*a, **n, factory=Connection)),
    ):
        try:
            yield
        finally:
            assert not connected, "a connection to a catalogue was never closed"


# ---- what is done to the index


def page(doc: str, number: int) -> PageEmbedding:
    """A page whose content follows from its name."""
    rng = np.random.default_rng([*doc.encode(), number])
    vectors = rng.standard_normal((4, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return PageEmbedding(PageRef(doc, number), (60.0, 80.0), vectors, Grid(2, 2), f"text {number}", None, {"n": number})


def prepare(path: Path, storage: Storage, *, empty: bool) -> None:
    """The index before: two documents in two commits, or none."""
    model = IndexModel("toy", "1", DIM, "image", {})
    with PageIndex.create(path, model=model, storage=storage) as index, index.writing() as writer:
        for doc in () if empty else ("a.pdf", "z.pdf"):
            number = writer.add(doc, source=f"/{doc}")
            writer.put(number, page(doc, 1))
            writer.finish(number)
            writer.commit()


def work(path: Path, storage: Storage, acknowledged: Callable[[], None]) -> None:
    """A run: what is done already is left alone, so that the next run goes on."""
    if not (path / layout.CATALOGUE).exists():
        prepare(path, storage, empty=True)
    with PageIndex.open(path) as index, index.writing() as writer:
        docs = index.snapshot.docs()
        if "b.pdf" not in docs:
            if "a.pdf" in docs:
                writer.remove("a.pdf")
            number = writer.add("b.pdf", source="/b.pdf")
            writer.put(number, page("b.pdf", 1))
            writer.put(number, page("b.pdf", 2))
            writer.skip(number, 3, "cannot be read")
            writer.finish(number)
            writer.commit()
            acknowledged()
        if "drawn" not in docs:
            number = writer.add("drawn")
            writer.keep_pdf(number, b"converted")
            writer.put(number, page("drawn", 1))
            renditions.write(path, number, 1, b"picture")
            writer.finish(number)
            writer.commit()
            acknowledged()
        writer.compact(codec=COMPACTED.get(index.storage.codec))
        acknowledged()


def renew(path: Path, storage: Storage, acknowledged: Callable[[], None]) -> None:
    """A run: another model, then back again."""
    with PageIndex.open(path) as index:
        if all(folder.name == layout.NEXT for folder in versions.folders(path)):
            with index.reindexing(replace(index.model, identity="2"), storage) as (new, writer):
                for document in new.snapshot.documents():
                    if document.state == "partial":
                        embedding = page(document.doc, 1)
                        writer.put(document.number, replace(embedding, vectors=-embedding.vectors))
                        writer.finish(document.number)
                        writer.commit()
            acknowledged()
        if index.model.identity == "2":
            index.go_back()
            acknowledged()
        with index.writing():  # whoever writes next tidies up
            pass


def grow(path: Path, storage: Storage, acknowledged: Callable[[], None]) -> None:
    """A run: two models are added and go over each segment in turn; the first is removed, and the index compacted."""
    models = {kind: IndexModel(kind, "1", 9, "text", {"kind": kind, "similarity": "dot"}) for kind in KINDS}
    with PageIndex.open(path) as index, index.writing() as writer:
        there = [embedded.kind_of(model) for model in index.snapshot.added.values()]
        for kind in KINDS if SPARSE not in there or DENSE in there else (SPARSE,):
            number = writer.add_model(models[kind])
            if kind not in there:
                acknowledged()
            for at in [one.number for one in index.snapshot.segments if number not in one.added]:
                texts = [index.snapshot.segment(at).text(row) for row in range(len(index.snapshot.segment(at)))]
                writer.embed(at, number, [added_to(kind, models[kind], text) for text in texts])
                acknowledged()
        if (first := index.snapshot.added_for(DENSE)) is not None:
            writer.remove_model(first[0])
            acknowledged()
        writer.compact()
        acknowledged()


def added_to(kind: str, model: IndexModel, text: str) -> embedded.Packed:
    """What a model makes of a page, which follows from its text."""
    ids = np.arange(3, dtype=np.uint32) + len(text) % 5
    made = SparseVector(ids, ids.astype(np.float32) + 1) if kind == SPARSE else np.eye(9, dtype=np.float32)[ids]
    return embedded.packed(model, made)


def state(path: Path) -> State:
    """Every page with its stored vectors; a page that is there twice is an error, and so is any damage."""
    with PageIndex.open(path) as index:
        assert index.verify() == []
        snapshot = index.snapshot
        refs = [snapshot.ref(s.number, int(row)) for s in snapshot.segments for row in snapshot.rows(s.number)]
        assert len(refs) == len(set(refs)), f"doubled: {refs}"
        if "drawn" in snapshot.docs():
            number = snapshot.document("drawn").number
            assert renditions.read(path, number, 1) == b"picture"
            assert renditions.read(path, number, renditions.PDF) == b"converted"
        found: State = {ref: index.embedding(ref).vectors.tobytes() for ref in refs}
        for number, model in snapshot.added.items():
            found[PageRef(model.name, 1 << 20)] = b"added"
            for at, made in snapshot.made_by(number).items():
                for row in snapshot.rows(at).tolist():
                    ref = snapshot.ref(at, row)
                    page = b"".join(array.tobytes() for array in made.page(row).values())
                    found[PageRef(f"{model.name}, {ref.doc}", ref.page)] = page
        return found


def tidy(path: Path) -> None:
    """Nothing is there that the catalogue does not list."""
    with PageIndex.open(path) as index:
        listed = {segment.number for segment in index.snapshot.segments}
        listed |= {number for (number,) in versions.select(path, "SELECT number FROM segments")}
        assert {int(folder.name) for folder in (path / layout.SEGMENTS).iterdir()} == listed
        for segment in index.snapshot.segments:
            files = {file.name for file in layout.segment_folder(path, segment.number).iterdir()}
            assert files == segment.checksums.keys()
        numbers = {f"{number:06d}" for number in index.snapshot.docs().values()}
        assert {folder.name for folder in (path / layout.RENDITIONS).glob("*")} <= numbers
        learned = index.snapshot.fitted is not None and index.snapshot.fitted.vectors
        assert len(list(path.glob(f"{layout.FITTED}*"))) == bool(learned) * (1 + len(versions.folders(path)))
        beside = {folder.name for folder in versions.folders(path)}
    assert layout.NEXT not in beside
    known = {layout.CATALOGUE, layout.SEGMENTS, layout.RENDITIONS, layout.SEAL, layout.LOCK, *beside}
    there = {entry.name for entry in path.iterdir() if not entry.name.startswith(layout.FITTED)}
    assert there <= known, sorted(there)


Run = Callable[[Path, Storage, Callable[[], None]], None]


class Faults:
    """One run, disturbed at each of its steps."""

    def __init__(self, folder: Path, storage: Storage, start: str, run: Run = work) -> None:
        """start: "full", "empty", or "nothing": the run makes the index itself."""
        self.folder, self.storage, self.start, self.run = folder, storage, start, run
        self.template = folder / "template" / "i"
        self.template.mkdir(parents=True)
        if start != "nothing":
            prepare(self.template, storage, empty=start == "empty")
        # The states that are acknowledged one after the other, when nothing goes wrong.
        path = self.fresh()
        self.states = [] if start == "nothing" else [state(path)]
        with watched(path, lambda _: None):
            run(path, storage, lambda: self.states.append(state(path)))
        if start == "nothing":
            self.states.insert(0, {})
        tidy(path)

    def fresh(self) -> Path:
        path = self.folder / "i"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.template, path)
        return path

    def steps(self) -> list[str]:
        """What happens, in order."""
        seen: list[str] = []
        path = self.fresh()
        with watched(path, seen.append):
            self.run(path, self.storage, lambda: None)
        return seen

    def fail(self, at: int, number: int = errno.ENOSPC) -> None:
        """The at-th step fails; the same run again has to finish."""
        path, passed, done = self.fresh(), count(), []

        def before(what: str) -> None:
            if next(passed) == at:
                if what.startswith("sql"):
                    raise sqlite3.OperationalError("database or disk is full")
                raise OSError(number, os.strerror(number))

        try:
            with watched(path, before):
                self.run(path, self.storage, lambda: done.append(1))
        except PageIndexError:
            pass  # the only error that a run may end with
        self.check(path, len(done))

    def cut(self, every: int = 1) -> int:
        """The power goes before each step; how many different disks that leaves, of which every so many is tried."""
        path, done, seen = self.fresh(), [], {}
        disk = Disk(path)

        def before(what: str) -> None:
            for lost in (True, False):
                tree = disk.cut(lost=lost)
                key = hashlib.sha256(repr(sorted(tree.items())).encode()).hexdigest()
                seen.setdefault(key, (what, len(done), tree))

        with watched(path, before, disk):
            self.run(path, self.storage, lambda: done.append(1))
        before("the end")
        for what, acknowledged, tree in list(seen.values())[::every]:
            shutil.rmtree(path)
            path.mkdir()
            for name, content in sorted(tree.items()):
                if content is None:
                    (path / name).mkdir()
                else:
                    (path / name).write_bytes(content)
            try:
                self.check(path, acknowledged)
            except BaseException as error:
                error.add_note(f"after a power cut before: {what}")
                raise
        return len(seen)

    def check(self, path: Path, acknowledged: int) -> None:
        if (path / layout.CATALOGUE).exists():
            # A commit that went through and was not heard of counts as well.
            assert state(path) in self.states[acknowledged : acknowledged + 2]
        else:
            assert self.start == "nothing"
            assert not acknowledged
        self.run(path, self.storage, lambda: None)
        assert state(path) == self.states[-1]
        tidy(path)


def main() -> None:
    """All steps of all storages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", nargs="+", default=["float32", "int8", "residual2", "binary"])
    parser.add_argument(
        "--run", nargs="+", default=["full", "empty", "nothing", "reindex", "models"], help="what to begin with"
    )
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # every fault that does no harm is a warning
    for codec in arguments.codec:
        for chosen in arguments.run:
            start, run = {"reindex": ("full", renew), "models": ("full", grow)}.get(chosen, (chosen, work))
            with tempfile.TemporaryDirectory() as folder:
                faults = Faults(Path(folder), Storage(codec=codec), start, run)
                steps = faults.steps()
                for at, what in enumerate(steps):
                    for number in (errno.ENOSPC, errno.EIO):
                        try:
                            faults.fail(at, number)
                        except BaseException as error:
                            error.add_note(f"after step {at} of {len(steps)} failed: {what}")
                            raise
                disks = faults.cut()
                kinds = Counter(what.split()[0] for what in steps)
                what = f"{codec:10} {run.__name__} {start:8}"
                print(f"{what} {len(steps)} steps failed {dict(kinds)}, {disks} disks after a power cut", flush=True)


if __name__ == "__main__":
    main()
