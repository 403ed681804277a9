"""The vectors of added models in an index: written, merged, compacted, removed, damaged, and interrupted."""

import json
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pages import FLOATS, MODEL, add, embed
from support.vectors import units

from visret.choices import DENSE, SPARSE
from visret.codec import Rows, decode
from visret.errors import IndexFormatError, InvalidArgument, PageIndexError, ShapeError
from visret.index import IndexModel, PageIndex, damage, embedded, layout
from visret.index.embedded import packed
from visret.types import PageRef, SparseVector

DIM = 12
DENSE_MODEL = IndexModel("single", "1", DIM, "text", {"kind": DENSE, "similarity": "cosine"})
SPARSE_MODEL = IndexModel("splade", "1", 50, "text", {"kind": SPARSE, "similarity": "dot"})
MODELS = {DENSE: DENSE_MODEL, SPARSE: SPARSE_MODEL}


def made_of(kind, ref):
    """What a model makes of a page: other vectors for each page, and for some nothing."""
    rng = np.random.default_rng([*ref.doc.encode(), ref.page])
    if ref.page == 3:
        return None
    if kind == DENSE:
        return units(rng, 1 + ref.page % 3, DIM)
    ids = np.sort(rng.choice(SPARSE_MODEL.dim, rng.integers(1, 20), replace=False))
    return SparseVector(ids.astype(np.uint32), rng.uniform(0.01, 3, len(ids)).astype(np.float32))


def fill(index, kind, *, most=99):
    """Let a model go over all segments that it has not been over, or over so many."""
    with index.writing() as writer:
        number = writer.add_model(MODELS[kind])
        snapshot = index.snapshot
        for segment in [one for one in snapshot.segments if number not in one.added][:most]:
            live = set(snapshot.rows(segment.number).tolist())
            pages = [
                made_of(kind, snapshot.ref(segment.number, row)) if row in live else None for row in range(len(segment))
            ]
            writer.embed(segment.number, number, [packed(MODELS[kind], page) for page in pages])
        writer.merge()
    return number


def everything(index, kind):
    """What is stored of every page that can be found."""
    snapshot = index.snapshot
    number, _ = snapshot.added_for(kind)
    return {
        snapshot.ref(at, row): {name: array.tolist() for name, array in made.page(row).items()}
        for at, made in snapshot.made_by(number).items()
        for row in snapshot.rows(at).tolist()
    }


def expected(kind, refs):
    return {
        ref: {name: array.tolist() for name, array in packed(MODELS[kind], made_of(kind, ref)).items()} for ref in refs
    }


REFS = [PageRef(f"{doc}.pdf", page) for doc in "abc" for page in range(1, 5)]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Three documents of four pages, each a segment of its own; no model was added."""
    path = tmp_path_factory.mktemp("embedded") / "i"
    with PageIndex.create(path, model=MODEL, storage=FLOATS) as index, index.writing() as writer:
        for doc in ("a.pdf", "b.pdf", "c.pdf"):
            add(writer, doc, [embed(doc, page, text=f"{doc} {page}") for page in range(1, 5)])
            writer.commit()
    return path


@pytest.mark.parametrize("kind", [DENSE, SPARSE])
def test_what_is_made_is_stored_and_survives_removal_and_compaction(path, kind):
    with PageIndex.open(path) as index:
        fill(index, kind)
        assert everything(index, kind) == expected(kind, REFS)
        with index.writing() as writer:
            writer.remove("b.pdf")
        left = expected(kind, [ref for ref in REFS if ref.doc != "b.pdf"])
        assert everything(index, kind) == left
        index.compact()
        assert len(index.snapshot.segments) == 1
        assert everything(index, kind) == left
        index.compact(codec="int8")
        assert everything(index, kind) == left
        assert index.verify() == []
    with PageIndex.open(path) as index:
        assert everything(index, kind) == left


def test_both_kinds_stand_beside_each_other(path):
    with PageIndex.open(path) as index:
        fill(index, SPARSE)
        fill(index, DENSE)
        index.compact()
        assert everything(index, SPARSE) == expected(SPARSE, REFS)
        assert everything(index, DENSE) == expected(DENSE, REFS)
        with index.writing() as writer:
            writer.remove_model(index.snapshot.added_for(SPARSE)[0])
        assert index.snapshot.added_for(SPARSE) is None
        assert everything(index, DENSE) == expected(DENSE, REFS)
        assert index.verify() == []
        assert not list(path.glob("segments/*/sparse*"))


def test_a_second_model_of_a_kind_is_refused_and_numbers_are_never_used_twice(path):
    with PageIndex.open(path) as index:
        number = fill(index, DENSE)
        other = IndexModel("other", "1", DIM, "text", {"kind": DENSE, "similarity": "cosine"})
        with index.writing() as writer:
            assert writer.add_model(DENSE_MODEL) == number
            with pytest.raises(InvalidArgument, match="the dense vectors here are those of single; remove that model"):
                writer.add_model(other)
            writer.remove_model(number)
            assert writer.add_model(other) > number


def test_segments_that_differ_meet_when_they_are_alike(path):
    with PageIndex.open(path) as index:
        number = fill(index, DENSE, most=1)
        assert index.snapshot.count_lacking(number) == 8
        (line,) = index.stats().lacks
        assert line.startswith(
            "8 pages have no dense vectors of single: visret add-model makes them from the stored text"
        )
        index.compact()
        assert [len(segment) for segment in index.snapshot.segments] == [4, 8]
        fill(index, DENSE)
        assert index.stats().lacks == []
        index.compact()
        assert [len(segment) for segment in index.snapshot.segments] == [12]
        assert everything(index, DENSE) == expected(DENSE, REFS)


def test_small_segments_are_merged_with_their_vectors(tmp_path):
    with PageIndex.create(tmp_path / "i", model=MODEL, storage=FLOATS) as index:
        refs = []
        for n in range(layout.MERGED):
            with index.writing() as writer:
                add(writer, f"{n}.pdf", [embed(f"{n}.pdf")])
            refs.append(PageRef(f"{n}.pdf", 1))
            fill(index, SPARSE)
        assert len(index.snapshot.segments) == 1
        assert everything(index, SPARSE) == expected(SPARSE, refs)


def test_an_open_snapshot_keeps_what_it_had(path):
    with PageIndex.open(path) as index:
        fill(index, DENSE)
        before, number = index.snapshot, index.snapshot.added_for(DENSE)[0]
        with index.writing() as writer:
            writer.remove_model(number)
        for at, made in before.made_by(number).items():
            assert [len(made.page(row)["codes"]) for row in before.rows(at).tolist()] == [2, 3, 0, 2]


@pytest.mark.parametrize("step", ["add", "_publish"])
def test_a_failure_leaves_the_index_as_it_was(path, step, monkeypatch):
    from visret.index import arrays
    from visret.index.writer import Writer

    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    with PageIndex.open(path) as index:
        with monkeypatch.context() as patch:
            if step == "add":
                patch.setattr(arrays, "_write", fails)
                wrong = pytest.raises(PageIndexError, match="disk is full")
            else:
                publish = Writer._publish
                patch.setattr(
                    Writer,
                    step,
                    lambda self, s, operations, *rest: (
                        fails() if not s and "checksums" in str(operations) else publish(self, s, operations, *rest)
                    ),
                )
                wrong = pytest.raises(OSError, match="No space")
            with wrong:
                fill(index, DENSE)
        assert index.snapshot.count_lacking(index.snapshot.added_for(DENSE)[0]) == 12
        assert index.verify() == []
        fill(index, DENSE)
        assert everything(index, DENSE) == expected(DENSE, REFS)


def test_what_a_crash_left_is_removed_by_the_next_writer(path):
    with PageIndex.open(path) as index:
        number = fill(index, DENSE, most=1)
    stray = [path / "segments" / "000002" / f"dense_{number}.npy", layout.unfinished_file(path, number, 77)]
    for file in stray:
        file.write_bytes(b"half")
    with PageIndex.open(path) as index:
        fill(index, DENSE)
        assert everything(index, DENSE) == expected(DENSE, REFS)
        assert index.verify() == []
    assert not stray[1].exists()


@pytest.mark.parametrize("kind", [DENSE, SPARSE])
def test_damage_costs_these_vectors_only(path, kind):
    with PageIndex.open(path) as index:
        number = fill(index, kind)
    file = path / "segments" / "000002" / f"{kind}_{number}{'_rows' * (kind == SPARSE)}.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert any(file.name in problem for problem in damage.verify(path))
    (lost,) = damage.repair(path)
    assert lost == f"segment 2: the vectors of {MODELS[kind].name} were dropped; visret add-model makes them again"
    with PageIndex.open(path) as index:
        assert index.verify() == []
        assert len(index.snapshot) == 12
        assert index.snapshot.count_lacking(number) == 4
        fill(index, kind)
        assert everything(index, kind) == expected(kind, REFS)


def test_postings_that_name_pages_which_are_not_there_are_damage(path):
    with PageIndex.open(path) as index:
        number = fill(index, SPARSE)
        file = path / "segments" / "000001" / f"sparse_{number}_rows.npy"
    rows = np.load(file)
    rows[:] = 999
    np.save(file, rows)
    asked = SparseVector(np.arange(50, dtype=np.uint32), np.ones(50, np.float32))
    with PageIndex.open(path) as index:
        made = index.snapshot.made_by(number)[1]
        with pytest.raises(IndexFormatError, match="pages that are not there"):
            made.scores(asked)


def test_a_new_index_takes_added_models_along_and_going_back_has_its_own(path):
    with PageIndex.open(path) as index:
        fill(index, DENSE)
        storage = index.storage
        other = IndexModel("toy", "revision 2", MODEL.dim, "image", {})
        with index.reindexing(other, storage) as (_, writer):
            for number in index.snapshot.docs().values():
                doc = index.snapshot.document(number).doc
                writer.put(number, embed(doc, 1))
                writer.finish(number)
        number, model = index.snapshot.added_for(DENSE)
        assert model == DENSE_MODEL
        assert index.snapshot.count_lacking(number) == 3
        fill(index, DENSE)
        assert everything(index, DENSE) == expected(DENSE, [ref for ref in REFS if ref.page == 1])
        index.go_back()
        assert everything(index, DENSE) == expected(DENSE, REFS)
        assert index.verify() == []


def test_a_catalogue_with_another_kind_is_refused(path):
    with PageIndex.open(path) as index:
        fill(index, DENSE)
    with closing(sqlite3.connect(path / layout.CATALOGUE)) as connection, connection:
        connection.execute("UPDATE models SET preprocessing = ? WHERE number > 1", (json.dumps({"kind": "colour"}),))
    with pytest.raises(IndexFormatError, match="makes 'colour'"):
        PageIndex.open(path)


@pytest.mark.parametrize(
    ("kind", "made", "message"),
    [
        (DENSE, np.ones((1, 3), np.float32), r"expected rows \(n, 12\) of a page, got \(1, 3\)"),
        (DENSE, np.full((1, DIM), np.nan, np.float32), "finite"),
        (SPARSE, ([3, 2], [1.0, 1.0]), "must rise"),
        (SPARSE, ([3, 50], [1.0, 1.0]), "from 0 to 49"),
        (SPARSE, ([3], [np.inf]), "not finite"),
        (SPARSE, ([3.5], [1.0]), "expected ids and weights"),
    ],
)
def test_what_cannot_be_stored_is_refused(kind, made, message):
    with pytest.raises(ShapeError, match=message):
        packed(MODELS[kind], made)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 49), st.floats(0.125, 8, width=32), max_size=9), min_size=1, max_size=9))
def test_postings_give_back_every_page_and_every_dot_product(tmp_path_factory, pages):
    vectors = [
        SparseVector(np.array(sorted(p), np.uint32), np.array([p[i] for i in sorted(p)], np.float32)) for p in pages
    ]
    arrays = embedded.gathered(SPARSE_MODEL, 2, [packed(SPARSE_MODEL, one) for one in vectors])
    folder = tmp_path_factory.mktemp("postings") / "000001"
    from visret.index.arrays import Arrays, write

    sums = write(folder, {name: [array] for name, array in arrays.items()})
    made = embedded.opened(Arrays(folder, folder, "segment 1", embedded.names(sums), sums), 2, SPARSE_MODEL, len(pages))
    question = {i: float(i % 7) for i in range(0, 50, 3)}
    asked = SparseVector(np.array(list(question), np.uint32), np.array(list(question.values()), np.float32))
    for row, page in enumerate(pages):
        assert made.page(row)["ids"].tolist() == sorted(page)
        assert made.scores(asked)[row] == pytest.approx(sum(question.get(i, 0) * w for i, w in page.items()))
    assert list(made.problems()) == []
    shutil.rmtree(folder)


def test_single_vectors_are_stored_as_near_as_eight_bits_are():
    rows = units(np.random.default_rng(0), 5, DIM)
    page = packed(DENSE_MODEL, rows)
    got = decode(Rows(page["codes"], page["scales"]), embedded.Codec(embedded.CODEC, DIM))
    np.testing.assert_allclose(got, rows, atol=0.004)
