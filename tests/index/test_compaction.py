"""Segments written again: what stays, what goes, and when it happens by itself."""

import errno
import os
import shutil
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support.pages import DIM, PAGES, add, assert_same_page, create, embed, refs

from visret import codec
from visret.codec import CODECS
from visret.errors import InvalidArgument
from visret.index import PageIndex, compaction, layout, renditions
from visret.index.catalogue import SegmentRow
from visret.reduction import Storage


def stored(index):
    """Everything stored of every page."""
    snapshot = index.snapshot
    found = {}
    for ref in refs(index):
        number, row = snapshot.find(ref)
        page = snapshot.segment(number).packed(row)
        found[ref] = {name: (part.dtype.str, part.tobytes()) for name, part in page.items() if len(part)}
    return found


@pytest.mark.parametrize("name", CODECS)
def test_pages_stay_as_they_are(tmp_path, name):
    with create(tmp_path / "i", Storage(codec=name)) as index, index.writing() as writer:
        for at, page in enumerate(PAGES):
            if not at % 3:
                number = writer.add(f"{at}.pdf")
                writer.put(number, embed(f"{at}.pdf"))
            if not at:
                first = writer.add("a.pdf", metadata={"year": 2020})
            writer.put(first, page)
            writer.commit()
        for at in range(0, len(PAGES), 3):
            writer.remove(f"{at}.pdf")
        writer.commit()
        before, learned = stored(index), index.snapshot.fitted.codec
        assert index.stats().removed
        writer.compact()
        assert stored(index) == before
        assert len(index.snapshot.segments) == 1
        assert index.stats().removed == 0
    index = PageIndex.open(tmp_path / "i")
    assert index.verify() == []
    assert [folder.name for folder in (index.path / "segments").iterdir()] == [
        f"{index.snapshot.segments[0].number:06d}"
    ]
    for page in PAGES:
        assert_same_page(index.embedding(page.ref), page, codec.decode(codec.encode(page.vectors, learned), learned))
    again = index.snapshot.commits
    index.compact()
    assert index.snapshot.commits == again, "there is nothing left to do"


def test_readers_of_the_old_state_go_on(tmp_path):
    with create(tmp_path / "i") as index, index.writing() as writer:
        for page in (1, 2):
            add(writer, f"{page}.pdf", [embed(f"{page}.pdf", text="there")])
            writer.commit()
        with PageIndex.open(index.path) as other:
            writer.compact()
            assert not layout.segment_folder(index.path, 1).exists()
            assert other.embedding(("1.pdf", 1)).text == "there"
            assert other.refresh()
            assert other.embedding(("1.pdf", 1)).text == "there"


def test_many_small_commits_end_in_few_segments(tmp_path):
    with create(tmp_path / "i") as index, index.writing() as writer:
        for number in range(3 * layout.MERGED):
            add(writer, f"{number}.pdf")
            writer.commit()
            assert len(index.snapshot.segments) < layout.MERGED
        assert len(refs(index)) == 3 * layout.MERGED
        assert len(list((index.path / "segments").iterdir())) < 2 * layout.MERGED
    index = PageIndex.open(tmp_path / "i")
    for number in range(3 * layout.MERGED):
        np.testing.assert_array_equal(index.embedding((f"{number}.pdf", 1)).vectors, embed(f"{number}.pdf").vectors)
    assert index.verify() == []


def test_a_merge_that_fails_is_no_failure_of_the_commit(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with create(tmp_path / "i") as index:
        with index.writing() as writer:
            for number in range(layout.MERGED - 1):
                add(writer, f"{number}.pdf")
                writer.commit()
            add(writer, "next.pdf")
            monkeypatch.setattr(writer, "_rewrite", lambda *rest: fails(writer, *rest))
            fsync, rewrite = os.fsync, type(writer)._rewrite

            def fails(*arguments):
                monkeypatch.setattr(os, "fsync", fail)
                try:
                    rewrite(*arguments)
                finally:
                    monkeypatch.setattr(os, "fsync", fsync)

            assert writer.commit() == 1
            assert "the disk is full" in caplog.text
            assert "merged by a later run" in caplog.text
            assert len(index.snapshot.segments) == layout.MERGED
        with index.writing() as writer:
            add(writer, "last.pdf")
        assert len(index.snapshot.segments) == 1
        assert len(refs(index)) == layout.MERGED + 1
        assert index.verify() == []


def test_segments_of_a_size_are_merged():
    def rows(*sizes):
        return [SegmentRow(n, 1, 10, 10, 10, size, '{"lengths.npy": ""}') for n, size in enumerate(sizes, 1)]

    small, middle, large = 1 << 20, 10 << 20, 300 << 20
    assert compaction.due(rows(*[small] * 7, *[middle] * 7, *[large] * 20)) == []
    assert compaction.due(rows(small, *[middle] * 8, small)) == [*range(2, 10)]
    half_dead = [row._replace(live=1) for row in rows(*[middle] * 4)]
    assert len(compaction.due([*half_dead, *rows(*[small] * 4)])) == 8, "what is dead does not count"
    assert compaction.groups(rows(large, small, small, large), all_of_them=False) == [[2, 3]]
    assert compaction.groups(rows(large, small), all_of_them=True) == [[1], [2]]
    assert compaction.groups([rows(large)[0]._replace(live=9)], all_of_them=False) == [[1]]


CHANGES = [
    (Storage(), {"codec": "residual2"}),
    (Storage(), {"codec": "binary"}),
    (Storage(), {"dim": 4}),
    (Storage(codec="float32", dim=6), {"dim": 3, "codec": "residual1"}),
    (Storage(codec="float32", dim=6), {"codec": "int8"}),
    (Storage(codec="residual2", pool=2), {"codec": "residual1"}),
]


@pytest.mark.parametrize(("before", "change"), CHANGES, ids=str)
def test_another_codec_or_fewer_dimensions(tmp_path, before, change):
    """The pages are what their stored vectors become; places, texts and metadata stay, and later pages fit in."""
    with create(tmp_path / "i", before) as index, index.writing() as writer:
        add(writer, "a.pdf", [embed(page=page, n=20, text=f"{page}") for page in range(1, 20)], metadata={"k": 1})
        writer.commit()
        add(writer, "b.pdf", [embed("b.pdf", page, n=20) for page in range(1, 20)])
        writer.commit()
        old = {ref: index.embedding(ref) for ref in refs(index)}
        writer.compact(**change)
        add(writer, "c.pdf", [embed("c.pdf", n=20)])
    with PageIndex.open(tmp_path / "i") as index:
        learned = index.snapshot.fitted
        assert index.storage.codec == learned.codec.name == change.get("codec", before.codec)
        assert learned.codec.dim == (index.storage.dim or DIM)
        assert index.verify() == []
        assert refs(index) == sorted([*old, ("c.pdf", 1)])
        if learned.codec.needs_fit or "dim" in change:
            assert learned.vectors == sum(len(page.vectors) for page in old.values()), "from the whole collection"
        for ref, page in old.items():
            now = index.embedding(ref)
            assert (now.text, now.size_pt, now.metadata) == (page.text, page.size_pt, page.metadata)
            np.testing.assert_array_equal(now.vector_of_place(), page.vector_of_place())
            if before.dim is None or "dim" not in change:
                vectors = learned.project(page.vectors) if before.dim is None else page.vectors
                want = codec.decode(codec.encode(vectors, learned.codec), learned.codec)
                np.testing.assert_array_equal(now.vectors, want)
        assert index.snapshot.metadata(*index.snapshot.find(("a.pdf", 1))) == {"k": 1}
        assert len(list(index.path.glob("fitted*"))) == bool(learned.vectors)


@pytest.mark.parametrize(
    ("before", "change", "message"),
    [
        (Storage(codec="binary"), {"codec": "int8"}, "binary has lost what int8 would keep; for int8, index the doc"),
        (Storage(), {"codec": "float32"}, "int8 has lost what float32 would keep"),
        (Storage(), {"codec": "pickle"}, "codec must be one of float32"),
        (Storage(dim=4), {"dim": 5}, "vectors of 4 dimensions cannot be given 5"),
        (Storage(), {"dim": 0}, "cannot be given 0"),
    ],
)
def test_what_is_lost_does_not_come_back(tmp_path, before, change, message):
    with create(tmp_path / "i", before) as index:
        with index.writing() as writer:
            add(writer, "a.pdf", (1, 2, 3))
        commits = index.snapshot.commits
        with pytest.raises(InvalidArgument, match=message):
            index.compact(**change)
        assert (index.snapshot.commits, index.storage) == (commits, before)


@pytest.mark.parametrize("learned", [False, True])
def test_an_index_without_pages_changes_too(tmp_path, learned):
    with create(tmp_path / "i", Storage(codec="residual2", dim=4)) as index:
        if learned:
            with index.writing() as writer:
                add(writer, "a.pdf")
            with index.writing() as writer:
                writer.remove("a.pdf")
        index.compact(codec="residual1")
        assert (index.storage.codec, index.snapshot.fitted) == ("residual1", None)
        assert not list(index.path.glob("fitted*"))
        with index.writing() as writer:
            add(writer, "a.pdf")
        assert index.verify() == []


# ---- against a dict


class Machine(RuleBasedStateMachine):
    """An index and a dict: added to, updated, removed from, compacted, reopened, copied as a crash would leave it."""

    folders = None

    def __init__(self):
        super().__init__()
        self.index = create(type(self).folders() / "i")
        self.docs = {}
        self.crashes = 0

    docs = st.sampled_from("abcd")

    @rule(doc=docs, pages=st.sets(st.integers(1, 3), min_size=1), n=st.integers(1, 3))
    def add_or_update(self, doc, pages, n):
        with self.index.writing() as writer:
            add(writer, doc, [embed(doc, page, n=n, text=f"{n}") for page in pages], metadata={"n": n})
        self.docs[doc] = dict.fromkeys(pages, n)

    @rule(doc=docs, page=st.integers(1, 3))
    def draw(self, doc, page):
        """A page made in memory, with its picture."""
        with self.index.writing() as writer:
            number = add(writer, doc, [embed(doc, page, n=1, text="1")], metadata={"n": 1})
            renditions.write(self.index.path, number, page, b"picture")
        self.docs[doc] = {page: 1}

    @rule(doc=docs)
    def remove(self, doc):
        if doc in self.docs:
            with self.index.writing() as writer:
                writer.remove(doc)
            del self.docs[doc]

    @rule()
    def compact(self):
        self.index.compact()
        assert self.index.stats().removed == 0
        assert len(self.index.snapshot.segments) <= 1

    @rule()
    def reopen(self):
        self.index.close()
        self.index = PageIndex.open(self.index.path)

    @rule(doc=docs, step=st.integers(0, 15), compacting=st.booleans())
    def crash(self, doc, step, compacting):
        """The writer dies before the step-th sync: what is on disk then is a copy that goes on without it."""
        copy = type(self).folders() / "i"
        fsync, calls = os.fsync, iter(range(1000))

        def die(descriptor):
            if next(calls) == step:
                shutil.copytree(self.index.path, copy)
                raise KeyboardInterrupt
            fsync(descriptor)

        self.crashes += 1
        with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt), self.index.writing() as writer:
            patch.setattr(os, "fsync", die)
            if compacting:
                writer.compact()
            else:
                add(writer, doc, [embed(doc, 1, n=2, text="2")], metadata={"n": 2, "crash": self.crashes})
                writer.commit()
        if copy.exists():
            self.index.close()
            self.index = PageIndex.open(copy)
            assert self.index.verify() == []
        # Whether the commit went through is for the index to say; half of it would not be what the dict holds.
        if doc in self.index.snapshot.docs():
            if self.index.snapshot.document(doc).metadata.get("crash") == self.crashes:
                self.docs[doc] = {1: 2}
        else:
            assert copy.exists() or compacting

    @invariant()
    def holds_exactly_this(self):
        pages = {(doc, page): n for doc, of in self.docs.items() for page, n in of.items()}
        assert refs(self.index) == sorted(pages)
        for ref, n in pages.items():
            page = self.index.embedding(ref)
            np.testing.assert_array_equal(page.vectors, embed(*ref, n=n).vectors)
            assert page.text == f"{n}"
        for doc, of in self.docs.items():
            chosen = self.index.snapshot.select({"n": {">=": max(of.values())}, "doc": doc})
            assert sum(map(len, chosen.rows.values())) == len(of)
        assert set(self.index.snapshot.docs()) == set(self.docs)
        assert len(self.index.snapshot.segments) < layout.MERGED

    def teardown(self):
        assert self.index.verify() == []
        self.index.close()


def test_an_index_is_a_dict_whatever_happens(tmp_path_factory):
    Machine.folders = staticmethod(lambda: tmp_path_factory.mktemp("dict"))
    run_state_machine_as_test(Machine, settings=settings(max_examples=8, stateful_step_count=10, deadline=None))
