"""What is learned once: from how much, when it is published, what a crash leaves, and what damage is said."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pages import DIM, add, create, embed, refs

from visret import codec as codecs
from visret import reduction
from visret.codec import CODECS, Codec
from visret.errors import IndexFormatError, PageIndexError, ShapeError
from visret.index import PageIndex, arrays, fitted, layout, writer
from visret.index.fields import SUMMARIES
from visret.reduction import Storage

BOTH = Storage(codec="residual2", dim=4)
STORAGES = [Storage(codec=codec, dim=dim, pool=pool) for codec in CODECS for dim, pool in ((None, 1), (5, 2))]


@pytest.fixture
def index(tmp_path):
    with create(tmp_path / "i", BOTH) as made:
        yield made


@pytest.fixture
def path(index):
    """An index with a projection and centroids, to be damaged at will."""
    with index.writing() as writing:
        add(writing, "a.pdf", (1, 2, 3))
    index.close()
    return index.path


def expected(page, storage, learned):
    """A page as it should come back."""
    vectors = storage.reduce(page).vectors
    if learned.projection is not None:
        vectors = reduction.project(vectors, learned.projection)
    return codecs.decode(codecs.encode(vectors, learned.codec), learned.codec)


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_pages_come_back_as_what_was_learned_once_says(tmp_path, storage):
    with create(tmp_path / "i", storage) as index:
        with index.writing() as writing:
            add(writing, "a.pdf", [embed(page=page, n=9) for page in range(1, 6)])
        first = index.snapshot.fitted
        with index.writing() as writing:
            add(writing, "b.pdf", [embed("b.pdf", n=30)])
    with PageIndex.open(tmp_path / "i") as index:
        learned = index.snapshot.fitted
        for doc, page, n in (("a.pdf", 1, 9), ("a.pdf", 5, 9), ("b.pdf", 1, 30)):
            want = expected(embed(doc, page, n=n), storage, first)
            np.testing.assert_array_equal(index.embedding((doc, page)).vectors, want)
            assert want.shape == (-(-n // storage.pool), storage.dim or DIM)
        if storage.dim is not None or Codec(storage.codec, 1).needs_fit:
            assert learned.vectors == sum(-(-9 // storage.pool) for _ in range(5))
        else:
            assert not (index.path / layout.FITTED).exists()
        assert index.storage == storage
        assert index.verify() == []


@pytest.mark.parametrize("storage", [BOTH, Storage(), Storage(codec="float32", dim=3)], ids=str)
def test_summaries_stand_for_their_pages(tmp_path, storage):
    """Each page is about one axis; the vectors of its summary are too, in the space of what is stored."""
    axes = np.eye(DIM, dtype=np.float32)

    def about(axis, n):
        page = embed(page=axis + 1, n=n)
        vectors = page.vectors * 0.05 + axes[axis]
        return replace(page, vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    sizes = [3, 80, 2]
    with create(tmp_path / "i", storage) as index, index.writing() as writing:
        add(writing, "a.pdf", [about(axis, n) for axis, n in enumerate(sizes)])
    with PageIndex.open(tmp_path / "i") as index:
        (segment,) = index.snapshot.segments
        assert np.diff(segment.offsets_of(SUMMARIES))[[0, 2]].tolist() == [3, 2], "a small page is its own summary"
        assert np.diff(segment.offsets_of(SUMMARIES))[1] < 80 / 4
        summaries = codecs.decode(segment.stored(SUMMARIES), Codec("int8", storage.dim or DIM))
        likeness = summaries @ index.snapshot.fitted.project(axes[:3]).T
        page = np.repeat([0, 1, 2], np.diff(segment.offsets_of(SUMMARIES)))
        assert (likeness.argmax(axis=1) == page).all()
        assert likeness.max(axis=1).min() > 0.9


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6), commits=st.sets(st.integers(0, 5)))
def test_where_the_commits_fall_changes_the_sample_and_nothing_else(tmp_path_factory, sizes, commits):
    pages = [embed(page=number, n=n) for number, n in enumerate(sizes, 1)]
    with create(tmp_path_factory.mktemp("commits") / "i", BOTH) as index:
        with index.writing() as writing:
            number = writing.add("a.pdf")
            for at, page in enumerate(pages):
                writing.put(number, page)
                if at in commits:
                    writing.commit()
        learned = index.snapshot.fitted
        early = [n for at, n in enumerate(sizes) if at <= min(commits, default=99)]
        assert learned.vectors == sum(early)
        again = fitted.fit(BOTH, np.concatenate([page.vectors for page in pages[: len(early)]]))
        np.testing.assert_array_equal(learned.projection, again.projection)
        np.testing.assert_array_equal(learned.codec.centroids, again.codec.centroids)
        assert learned.codec.step == again.codec.step
        for page in pages:
            np.testing.assert_array_equal(index.embedding(page.ref).vectors, expected(page, BOTH, learned))


def test_a_writer_says_how_long_to_wait(index, monkeypatch):
    monkeypatch.setattr(writer, "SAMPLE", 10)
    with index.writing() as writing:
        number = writing.add("a.pdf")
        for page in (1, 2, 3):
            assert writing.awaits_more
            writing.put(number, embed(page=page))  # 4 vectors each
        assert not writing.awaits_more
        before = writing.pending_bytes
        monkeypatch.setattr(writer, "SAMPLE", 100)
        monkeypatch.setattr(writer, "SAMPLE_BYTES", before)
        assert not writing.awaits_more, "nor for more than fits into memory"
        monkeypatch.setattr(writer, "SAMPLE_BYTES", before + 1)
        assert writing.awaits_more
        writing.commit()
        writing.put(number, embed(page=4))
        assert not writing.awaits_more, "it learns once"
    with create(index.path.parent / "plain", Storage()) as plain, plain.writing() as writing:
        assert not writing.awaits_more


def test_a_small_sample_is_said(index, caplog):
    with index.writing() as writing:
        add(writing, "empty.pdf", (), state="empty")
        writing.commit()
        assert index.snapshot.fitted is None
        assert not (index.path / layout.FITTED).exists()
        add(writing, "a.pdf")
        assert not caplog.messages
    assert "fitted to 4 vectors only" in caplog.text
    assert index.snapshot.fitted.vectors == 4


def test_an_empty_index_is_open_to_readers_before_and_after(index):
    with PageIndex.open(index.path) as reader:
        assert reader.snapshot.fitted is None
        with index.writing() as writing:
            add(writing, "a.pdf")
        assert reader.snapshot.fitted is None
        assert reader.refresh()
        learned = reader.snapshot.fitted
        with index.writing() as writing:
            add(writing, "b.pdf")
        assert reader.refresh()
        assert reader.snapshot.fitted is learned, "read once"
        np.testing.assert_array_equal(learned.codec.centroids, index.snapshot.fitted.codec.centroids)


def test_what_was_learned_outlives_its_pages(path):
    before = {file.name: file.read_bytes() for file in (path / layout.FITTED).iterdir()}
    assert set(before) == {"projection.npy", "centroids.npy", "weights.npy"}
    with PageIndex.open(path) as index:
        with index.writing() as writing:
            writing.remove("a.pdf")
        with index.writing() as writing:
            add(writing, "b.pdf")
        assert refs(index) == [("b.pdf", 1)]
        assert index.verify() == []
    assert {file.name: file.read_bytes() for file in (path / layout.FITTED).iterdir()} == before


@pytest.mark.parametrize("step", range(20))
def test_a_full_disk_in_the_first_commit_leaves_nothing_half_learned(index, monkeypatch, step):
    """Three files and two folders are synced of what is learned, then thirteen files and two folders of the segment."""
    fsync, calls = os.fsync, iter(range(1000))

    def fail(descriptor):
        if next(calls) == step:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with index.writing() as writing:
        add(writing, "a.pdf", (1, 2))
        monkeypatch.setattr(arrays.os, "fsync", fail)
        with pytest.raises(PageIndexError, match="nothing of this commit was kept"):
            writing.commit()
        assert index.snapshot.fitted is None
        assert not (index.path / layout.FITTED).exists()
        add(writing, "b.pdf")
        assert writing.commit() == 3
        assert next(calls) == step + 1 + 20 + 1, "the last one is of the seal"
    assert refs(index) == [("a.pdf", 1), ("a.pdf", 2), ("b.pdf", 1)]
    assert index.snapshot.fitted.vectors == 8
    assert index.verify() == []


def test_a_page_that_nothing_can_be_learned_from_is_refused_when_put(index):
    with index.writing() as writing:
        number = writing.add("a.pdf")
        for bad, message in ((np.nan, "is not finite"), (0, "is zero"), (5, "must have length 1")):
            page = embed()
            page.vectors[2] = bad
            with pytest.raises(ShapeError, match=rf"a\.pdf, page 1: .*{message}"):
                writing.put(number, page)
        writing.put(number, embed())
    assert refs(index) == [("a.pdf", 1)]


def test_leftovers_of_a_crash_are_swept_and_never_read(index):
    folder = index.path / layout.FITTED
    folder.mkdir()
    (folder / "centroids.npy").write_bytes(b"half")
    with PageIndex.open(index.path) as reader:
        assert reader.snapshot.fitted is None
    with index.writing() as writing:
        assert not folder.exists()
        folder.mkdir()
        (folder / "weights.npy").write_bytes(b"half")
        add(writing, "a.pdf")
    assert index.verify() == []


# ---- damage


@pytest.mark.parametrize("name", ["projection", "centroids", "weights"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "garbage", "dtype", "shape", "empty"])
def test_damaged_files_are_refused_in_words(path, name, damage):
    file = path / layout.FITTED / f"{name}.npy"
    data, array = file.read_bytes(), np.load(file)
    if damage == "missing":
        file.unlink()
    elif damage == "shorter":
        file.write_bytes(data[:-1])
    elif damage == "garbage":
        file.write_bytes(b"junk")
    elif damage == "dtype":
        np.save(file, array.astype(">i2"))
    elif damage == "shape":
        np.save(file, array[None])
    else:
        np.save(file, array[:0])
    with pytest.raises(IndexFormatError, match=rf"fitted: ({name}\.npy|residual2)"):
        PageIndex.open(path)


def test_a_missing_folder_says_what_it_means(path):
    shutil.rmtree(path / layout.FITTED)
    with pytest.raises(IndexFormatError, match=r"fitted: .*npy is missing; without it .* index the documents again"):
        PageIndex.open(path)


def test_verify_finds_every_flipped_byte(path):
    with PageIndex.open(path) as index:
        for file in [*(path / layout.FITTED).iterdir(), *path.glob("segments/*/*")]:
            data = file.read_bytes()
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            assert any(f"{file.name} is damaged" in problem for problem in index.verify()), file.name
            file.write_bytes(data)
        assert index.verify() == []
        (path / layout.FITTED / "extra.npy").touch()
        assert index.verify() == ["fitted: extra.npy does not belong here"]


def test_centroids_that_are_not_there_are_refused(path):
    file = path / "segments" / "000001" / "centroids.npy"
    names = np.load(file)
    names[5] = len(np.load(path / layout.FITTED / "centroids.npy"))
    np.save(file, names)
    with PageIndex.open(path) as index:
        index.embedding(("a.pdf", 1))
        with pytest.raises(IndexFormatError, match=r"segment 1: centroids\.npy is damaged: page 1: .*centroids"):
            index.embedding(("a.pdf", 2))
        assert any("names centroids" in problem for problem in index.verify())


def change(path, **settings):
    with closing(sqlite3.connect(path / layout.CATALOGUE)) as connection, connection:
        for key, value in settings.items():
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))


def record(path):
    with closing(sqlite3.connect(path / layout.CATALOGUE)) as connection:
        return json.loads(connection.execute("SELECT value FROM settings WHERE key = 'fitted'").fetchone()[0])


@pytest.mark.parametrize(
    "lie",
    [
        {"step": None},
        {"step": "small"},
        {"step": -1},
        {"vectors": "many"},
        {"checksums": 7},
        {"checksums": []},
    ],
)
def test_settings_that_lie_are_refused(path, lie):
    change(path, fitted=json.dumps(record(path) | lie))
    with pytest.raises(IndexFormatError, match=str(path)):
        PageIndex.open(path)


def test_settings_that_forget_what_was_learned_are_refused(path):
    change(path, fitted="{}")
    with pytest.raises(IndexFormatError, match="segment 1"):
        PageIndex.open(path)


def test_an_index_of_an_earlier_version_says_what_to_do(path):
    change(path, codec="int8")
    with pytest.raises(IndexFormatError, match="as in an earlier visret; index the documents again in a new folder"):
        PageIndex.open(path)
