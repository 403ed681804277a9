"""What verify finds, and what is left after repair."""

import random

import numpy as np
import pytest
from support.pages import MODEL, add, embed, refs

from visret.errors import IndexFormatError, PageIndexError
from visret.index import PageIndex, damage, layout, page_bytes, renditions
from visret.reduction import Storage
from visret.types import Grid


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two files and a document made in memory, in three segments; something was learned."""
    path = tmp_path_factory.mktemp("template") / "i"
    with (
        PageIndex.create(path, model=MODEL, storage=Storage(codec="residual2", dim=4)) as index,
        index.writing() as writer,
    ):
        add(writer, "a.pdf", (1, 2), source="/a.pdf", metadata={"year": 2020})
        writer.commit()
        add(writer, "b.pdf", (1,), source="/b.pdf")
        writer.commit()
        number = add(writer, "drawn")
        renditions.write(path, number, 1, b"picture" * 10)
    return path


def flip(file, at=-1):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def found(path):
    """Whether anything is found, at whatever stage."""
    try:
        return bool(damage.verify(path))
    except PageIndexError:
        return True


def test_a_flipped_byte_is_found_anywhere(path):
    assert damage.verify(path) == []
    rng = random.Random(0)
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != layout.LOCK]
    assert {file.parent.name for file in files} == {"i", "fitted", "000001", "000002", "000003"}
    for file in files:
        data = file.read_bytes()
        some = 60 if file.name in (layout.CATALOGUE, layout.SEAL) else 2
        for at in rng.sample(range(len(data)), min(len(data), some)):
            changed = bytearray(data)
            changed[at] ^= 1 << rng.randrange(8)
            file.write_bytes(changed)
            assert found(path), f"byte {at} of {file.name}"
        file.write_bytes(data)
    assert damage.verify(path) == []


def test_repair_drops_what_is_damaged_and_says_whose_it_was(path):
    flip(layout.segment_folder(path, 1) / "vectors.npy")
    flip(path / layout.RENDITIONS / "000003" / "1.webp")
    lost = damage.repair(path)
    assert lost == [
        "a.pdf: 2 pages dropped; bring its file in again",
        "drawn: the picture of page 1 was dropped; the page itself is still there",
    ]
    with PageIndex.open(path) as index:
        assert index.verify() == []
        assert refs(index) == [("b.pdf", 1), ("drawn", 1)]
        document = index.snapshot.document("a.pdf")
        assert (document.state, document.pages, document.metadata) == ("partial", (), {"year": 2020})
        assert not layout.segment_folder(path, 1).exists()
        assert renditions.read(path, 3, 1) is None
        with index.writing() as writer:
            writer.put(1, embed("a.pdf", 1))
        assert refs(index) == [("a.pdf", 1), ("b.pdf", 1), ("drawn", 1)]
    assert damage.repair(path) == []


@pytest.mark.parametrize("harm", ["flipped", "missing"])
def test_without_what_was_learned_no_page_is_left(path, harm):
    file = path / layout.FITTED / "centroids.npy"
    flip(file) if harm == "flipped" else file.unlink()
    lost = damage.repair(path)
    assert lost[-1] == "drawn: 1 page dropped; it was made in memory: add it again"
    with PageIndex.open(path) as index:
        assert (refs(index), index.verify(), index.snapshot.fitted) == ([], [], None)
        assert list(index.snapshot.docs()) == ["a.pdf", "b.pdf", "drawn"]
        with index.writing() as writer:
            writer.put(1, embed("a.pdf", 1))
        assert index.verify() == []


def test_a_damaged_catalogue_is_not_written_to(path):
    file = path / layout.CATALOGUE
    at = file.read_bytes().index(b"2020")
    flip(file, at + 3)
    with PageIndex.open(path) as index:
        assert index.snapshot.document("a.pdf").metadata == {"year": 2021}, "SQLite sees nothing wrong"
        assert index.verify() == ["catalogue.sqlite is damaged (its checksum differs)"]
        with pytest.raises(IndexFormatError, match="it can be read, but not written to"), index.writing():
            pass
        with pytest.raises(IndexFormatError, match="index the documents again in a new folder"):
            index.repair()


@pytest.mark.parametrize("harm", ["flipped", "missing"])
def test_a_damaged_seal_is_made_again(path, harm):
    file = path / layout.SEAL
    flip(file, 20) if harm == "flipped" else file.unlink()
    with PageIndex.open(path) as index:
        assert len(index.verify()) == 1
        assert index.repair() == []
        assert index.verify() == []
        assert len(refs(index)) == 4


def test_a_seal_that_a_crash_left_behind_is_no_damage(path):
    before = (path / layout.SEAL).read_bytes()
    with PageIndex.open(path) as index:
        with index.writing() as writer:
            add(writer, "c.pdf")
        (path / layout.SEAL).write_bytes(before)
        assert index.verify() == []
        with index.writing():
            pass
        assert (path / layout.SEAL).read_bytes() != before
        assert index.verify() == []


def test_damage_is_not_given_a_new_checksum(path):
    flip(layout.segment_folder(path, 1) / "vectors.npy")
    with PageIndex.open(path) as index, pytest.raises(IndexFormatError, match="drop it with visret verify --repair"):
        index.compact()
    assert damage.verify(path) == ["segment 1: vectors.npy is damaged (its checksum differs)"]


@pytest.mark.parametrize(
    "storage", [Storage(), Storage(codec="residual2", dim=4, pool=2), Storage(codec="float32", prune=0.5)]
)
@pytest.mark.parametrize("where", [Grid(20, 20), np.zeros((400, 4), np.float32)])
def test_an_estimate_is_near(tmp_path, storage, where):
    with PageIndex.create(tmp_path / "i", model=MODEL, storage=storage) as index:
        pages = [embed(page=page, n=400, where=where) for page in range(1, 40)]
        with index.writing() as writer:
            add(writer, "a.pdf", pages)
        folder = layout.segment_folder(index.path, 1)
        real = sum(file.stat().st_size for file in folder.iterdir()) / 39
        assert 0.8 * real < page_bytes(storage, pages[0]) < 1.25 * real
