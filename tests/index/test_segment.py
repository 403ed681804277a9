import hashlib
import json
import re
import sqlite3
import struct
from dataclasses import replace

import numpy as np
import pytest
from support.pages import DIM, MODEL, PAGES, add, assert_same_page, embed

from visret import codec
from visret.codec import CODECS, Codec
from visret.errors import IndexFormatError, ShapeError
from visret.index import PageIndex, fields, layout
from visret.reduction import Storage, summarise, summary_size
from visret.types import Grid, PageRef

NAN = np.nan


@pytest.mark.parametrize("order", [PAGES, PAGES[::-1], PAGES[:2], PAGES[2:3], PAGES[3:4], PAGES[4:5]])
@pytest.mark.parametrize("name", CODECS)
def test_a_page_comes_back_as_it_was(tmp_path, name, order):
    with PageIndex.create(tmp_path / "i", model=MODEL, storage=Storage(codec=name)) as index, index.writing() as writer:
        add(writer, "a.pdf", order)
    with PageIndex.open(tmp_path / "i") as index:
        fitted = index.snapshot.fitted.codec
        for page in order:
            assert_same_page(index.embedding(page.ref), page, codec.decode(codec.encode(page.vectors, fitted), fitted))
        assert index.verify() == []


def test_the_files_are_what_the_format_says(tmp_path):
    with PageIndex.create(tmp_path / "i", model=MODEL) as index, index.writing() as writer:
        add(writer, "a.pdf", PAGES[:2])
        writer.commit()
        add(writer, "b.pdf", [embed("b.pdf", where=np.ones((4, 4), np.float32), text="t")])
    folder = tmp_path / "i" / "segments" / "000001"
    assert {file.stem for file in folder.iterdir()} == {
        *("vectors", "scales", "offsets", "summaries", "summary_scales", "summary_offsets"),
        *("means", "mean_scales", "mean_offsets"),
        *("kinds", "grids", "text", "text_offsets", "line_edges", "line_edge_offsets"),
        *("lengths", "terms", "term_offsets", "posting_offsets", "gaps", "counts"),
    }
    arrays = {file.stem: np.load(file, allow_pickle=False) for file in folder.iterdir()}
    int8 = Codec("int8", DIM)
    rows = codec.encode(np.concatenate([page.vectors for page in PAGES[:2]]), int8)
    np.testing.assert_array_equal(arrays["vectors"], rows.codes)
    np.testing.assert_array_equal(arrays["scales"], rows.scales)
    summaries = [summarise(p.vectors, summary_size(len(p.vectors))) for p in PAGES[:2]]
    rows = codec.encode(np.concatenate(summaries), int8)
    np.testing.assert_array_equal(arrays["summaries"], rows.codes)
    np.testing.assert_array_equal(arrays["summary_scales"], rows.scales)
    assert arrays["summary_offsets"].tolist() == [0, len(summaries[0]), len(rows.codes)]
    assert arrays["offsets"].tolist() == [0, 6, 13]
    assert arrays["grids"].tolist() == [[2, 3], [2, 3]]
    assert arrays["text"].tobytes() == b"grid only"
    assert arrays["text_offsets"].tolist() == [0, 9, 9]
    assert arrays["lengths"].tolist() == [2, 0]
    assert arrays["terms"].tobytes() == b"gridonly"
    assert arrays["term_offsets"].tolist() == [0, 4, 8]
    assert arrays["posting_offsets"].tolist() == [0, 1, 2]
    assert (arrays["gaps"].tolist(), arrays["counts"].tolist()) == ([1, 1], [1, 1])
    second = {file.stem: np.load(file) for file in (tmp_path / "i" / "segments" / "000002").iterdir()}
    for name, array in (arrays | second).items():
        if name in fields.SHAPES:
            assert (array.dtype, array.shape[1:]) == fields.SHAPES[name]


def test_every_file_is_described():
    for name in fields.FILES:
        assert re.search(rf"^    {name} ", layout.__doc__, re.MULTILINE), name


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (embed(n=3, where=Grid(2, 2)), "3 vectors for 2 x 2 cells"),
        (embed(n=2, where=Grid(1, 2, np.array([[0, 2]], np.int32))), "cells name vectors outside 0..1"),
        (embed(n=2, where=Grid(1, 2, np.array([[-2, 0]], np.int32))), "cells name vectors outside"),
        (embed(text="two words", word_boxes=np.ones((3, 4), np.float32)), r"word_boxes must be \(2, 4\), got \(3, 4\)"),
    ],
)
def test_a_page_that_contradicts_itself_is_refused(index, page, message):
    with index.writing() as writer, pytest.raises(ShapeError, match=rf"a.pdf, page 1: {message}"):
        writer.put(writer.add("a.pdf"), page)
    assert len(index.snapshot) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused_with_their_page(index, bad):
    page = embed(page=3)
    page.vectors[2, 1] = bad
    with index.writing() as writer, pytest.raises(ShapeError, match=r"a\.pdf, page 3: vector 2 is not finite"):
        writer.put(writer.add("a.pdf"), page)


def test_text_that_is_no_unicode_keeps_its_words(index):
    boxes = np.ones((2, 4), np.float32)
    with index.writing() as writer:
        add(writer, "a.pdf", [embed(text="half\ud800 word", word_boxes=boxes)])
    assert index.embedding(("a.pdf", 1)).text == "half? word"


class Payload:
    """Unpickled, it would leave a file behind."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return self.mark.touch, ()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "i"
    with PageIndex.create(path, model=MODEL) as index, index.writing() as writer:
        add(writer, "a.pdf", [replace(PAGES[0], made=99), *PAGES[1:]])
    return path


@pytest.fixture
def folder(path):
    return path / "segments" / "000001"


def touch_all(path):
    """Open an index and read all of it."""
    with PageIndex.open(path) as index:
        assert not list(index.snapshot.segment(1).postings.problems())
        return [index.embedding(page.ref) for page in PAGES]


@pytest.mark.parametrize(
    "name", ["vectors", "scales", "offsets", "kinds", "grids", "cells", "text", "text_offsets", "gaps"]
)
def test_pickles_are_refused_and_never_loaded(tmp_path, path, folder, name):
    mark = tmp_path / "executed"
    count = len(np.load(folder / f"{name}.npy"))
    evil = np.array([Payload(mark)] * count, object)
    np.save(folder / f"{name}.npy", evil, allow_pickle=True)
    with pytest.raises(IndexFormatError, match=f"{name}.npy is damaged"):
        touch_all(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", sorted({*fields.FILES} - {"centroids"}))
@pytest.mark.parametrize("damage", ["missing", "shorter", "longer", "garbage", "other dtype", "other shape"])
def test_damaged_files_are_refused_in_words(path, folder, name, damage):
    file = folder / f"{name}.npy"
    data = file.read_bytes()
    array = np.load(file)
    if damage == "missing":
        file.unlink()
    elif damage == "shorter":
        file.write_bytes(data[:-1])
    elif damage == "longer":
        file.write_bytes(data + b"\0")
    elif damage == "garbage":
        file.write_bytes(b"\x93NUMPY\x01\x00\xff\xffjunk")
    elif damage == "other dtype":
        np.save(file, np.zeros(array.shape, ">i2"))
    else:
        np.save(file, array[None])
    with pytest.raises(IndexFormatError, match=rf"i: segment 1: {name}.npy is (damaged|missing)"):
        touch_all(path)


@pytest.mark.parametrize("name", ["vectors", "scales", "text"])
def test_a_header_that_is_none_of_ours_is_refused(path, folder, name):
    """Data that begin where no number may lie, and no rows at all."""
    array = np.load(folder / f"{name}.npy")
    header = f"{{'descr': {array.dtype.str!r}, 'fortran_order': False, 'shape': {array.shape}, }}".encode().ljust(112)
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + array.tobytes()
    (folder / f"{name}.npy").write_bytes(data)
    if array.itemsize > 1:
        with pytest.raises(IndexFormatError, match=f"{name}.npy is damaged: its header puts the data where"):
            touch_all(path)
    np.save(folder / f"{name}.npy", np.zeros((), array.dtype))
    with pytest.raises(IndexFormatError, match=f"{name}.npy is damaged: expected"):
        touch_all(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("offsets", lambda a: a[[0, 2, 1, *range(3, len(a))]]),
        ("offsets", lambda a: np.concatenate([a[:1] + 1, a[1:]])),
        ("offsets", lambda a: np.concatenate([a[:2], a[1:2], a[3:]])),
        ("offsets", lambda a: -a),
        ("text_offsets", lambda a: a[::-1].copy()),
        ("text_offsets", lambda a: a + 1),
        ("word_offsets", lambda a: a - 1),
        ("kinds", lambda a: a + 9),
        ("kinds", lambda a: a[::-1].copy()),
        ("grids", lambda a: a * 1000),
        ("grids", lambda a: a * 0 + (1 << 30)),
        ("grids", lambda a: -a),
        ("grids", lambda a: np.concatenate([a[:1] * 2, a[1:]])),
        ("summary_offsets", lambda a: a + 1),
        ("summary_offsets", lambda a: a[[0, 1, 1, *range(3, len(a))]]),
        ("rows", lambda a: a + 100),
        ("rows", lambda a: a - 5),
        ("row_offsets", lambda a: a[::-1].copy()),
        ("row_offsets", lambda a: np.concatenate([a[:-1], a[-1:] + 1])),
        ("cells", lambda a: a + 100),
        ("cells", lambda a: a - 5),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(path, folder, name, change):
    array = np.load(folder / f"{name}.npy")
    np.save(folder / f"{name}.npy", change(array).astype(array.dtype))
    with pytest.raises(IndexFormatError, match="segment 1"):
        touch_all(path)


def test_verify_finds_every_flipped_byte(tmp_path, path, folder):
    with PageIndex.open(path) as index:
        for file in sorted(folder.iterdir()):
            data = file.read_bytes()
            flipped = bytearray(data)
            flipped[-1] ^= 1
            file.write_bytes(flipped)
            assert any(f"{file.name} is damaged" in problem for problem in index.verify()), file.name
            file.write_bytes(data)
        assert index.verify() == []
        (folder / "extra.npy").touch()
        (folder / "text.npy").rename(tmp_path / "text.npy")
        problems = index.verify()
    assert "segment 1: extra.npy does not belong here" in problems
    assert "segment 1: text.npy is missing" in problems


def test_stored_checksums_are_of_the_files(path, folder):
    connection = sqlite3.connect(path / layout.CATALOGUE)
    ((checksums, size),) = connection.execute("SELECT checksums, bytes FROM segments")
    connection.close()
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert json.loads(checksums) == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert size == sum(map(len, files.values()))


def test_a_page_is_named_by_its_ref(index):
    with index.writing() as writer:
        add(writer, "a.pdf", PAGES)
    assert isinstance(index.embedding(("a.pdf", 3)).ref, PageRef)
