"""Postings: what is gathered is found again, term by term and page by page, and damage is told."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pages import FLOATS, MODEL, add, embed

from visret.errors import IndexFormatError, PageIndexError
from visret.index import PageIndex, fields, layout, postings, terms
from visret.index.postings import ARRAYS, Postings


def damaged(name, what):
    return IndexFormatError("i", f"{name}.npy is damaged: {what}")


def postings_of(texts):
    return Postings(postings.gathered([postings.pack_text(text) for text in texts]), damaged)


def counted(packed):
    names = packed["page_terms"].tobytes().decode().split("\n") if len(packed["page_counts"]) else []
    return dict(zip(names, packed["page_counts"].tolist(), strict=True))


TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "ab", "abc", "b", "é", "自然", "a.b"]), max_size=9).map(" ".join), max_size=9
)


@given(TEXTS.filter(len))
def test_terms_and_pages_come_back(texts):
    made = postings_of(texts)
    expected = [Counter(terms.of_page(text)) for text in texts]
    assert made.lengths.tolist() == [sum(page.values()) for page in expected]
    known = {term for page in expected for term in page}
    assert [made[at].decode() for at in range(len(made))] == sorted(known)
    for term in {*known, "zz", "", "aa"}:
        rows, counts = made.of_term(term)
        assert dict(zip(rows.tolist(), counts.tolist(), strict=True)) == {
            row: page[term] for row, page in enumerate(expected) if term in page
        }
    for prefix in ("a", "ab", "自", "z"):
        rows, counts = made.of_prefix(prefix)
        sums = [sum(count for term, count in page.items() if term.startswith(prefix)) for page in expected]
        assert dict(zip(rows.tolist(), counts.tolist(), strict=True)) == {row: n for row, n in enumerate(sums) if n}
    for row, page in enumerate(expected):
        assert counted(made.page(row)) == page
    again = postings.gathered([made.page(row) for row in range(len(texts))])
    first = postings.gathered([postings.pack_text(text) for text in texts])
    assert again.keys() == first.keys()
    assert all(np.array_equal(again[name], first[name]) for name in first)
    assert not list(made.problems())


@pytest.mark.parametrize(
    "held",
    [
        {0: 255, 1: 256, 2: 1000, 65_535: 1, 131_071: 511},
        {65_534: 510, 65_535: 255, 131_070: 1, 131_072: 300},
        {131_069: 255, 131_072: 256},
    ],
)
def test_any_gap_and_any_count(held):
    """Also those that do not fit into one entry."""
    pages = [postings.pack_text("")] * 131_073
    for row, count in held.items():
        pages[row] = postings.pack_text("x " * count)
    pages[9] = postings.pack_text("a")
    arrays = postings.gathered(pages)
    assert {name: array.dtype for name, array in arrays.items()} == {name: dtype for name, (dtype, _) in ARRAYS.items()}
    made = Postings(arrays, damaged)
    rows, counts = made.of_term("x")
    assert dict(zip(rows.tolist(), counts.tolist(), strict=True)) == held
    rows, counts = made.of_prefix("")
    assert dict(zip(rows.tolist(), counts.tolist(), strict=True)) == held | {9: 1}
    assert all(counted(made.page(row)) == {"x": count} for row, count in held.items())
    assert not list(made.problems())


@pytest.mark.parametrize("name", sorted(ARRAYS))
@pytest.mark.parametrize("change", ["more", "shorter", "backwards"])
def test_damage_is_told(name, change):
    arrays = postings.gathered([postings.pack_text(text) for text in ("a b", "b c c", "d")])
    array = arrays[name]
    if change == "more":
        arrays[name] = np.append(array[:-1], array[-1] + array.dtype.type(9))
    elif change == "shorter":
        arrays[name] = array[:-1]
    elif len({*array.tolist()}) > 1:
        arrays[name] = array[::-1]
    else:
        pytest.skip("all alike")
    if (name, change) == ("terms", "more"):
        pytest.skip("another word in order: only the checksum tells")
    with pytest.raises(IndexFormatError, match="is damaged"):
        raise next(iter([damaged("", problem) for problem in Postings(arrays, damaged).problems()]))


def test_pages_are_merged_and_removed_with_their_terms(tmp_path):
    with PageIndex.create(tmp_path / "i", model=MODEL, storage=FLOATS) as index:
        with index.writing() as writer:
            for number in range(3):
                add(writer, f"{number}.pdf", [embed(f"{number}.pdf", text=f"word w{number}")])
                writer.commit()
            writer.remove("1.pdf")
        index.compact()
        (segment,) = index.snapshot.segments
        assert [segment.postings[at] for at in range(len(segment.postings))] == [b"w0", b"w2", b"word"]
        assert segment.postings.of_term("w2").rows.tolist() == [1]
        assert index.verify() == []


@pytest.mark.parametrize("number", layout.READABLE)
def test_indexes_from_before_say_what_adds_them(made_by, number):
    with PageIndex.open(made_by(number)) as index:
        count = len(index.snapshot)
        assert index.stats().lacks[-1].startswith(f"{count} pages have no postings: visret compact makes them")
        with pytest.raises(PageIndexError, match="has no postings: visret compact makes them"):
            _ = index.snapshot.segments[0].postings
        index.compact()
        assert index.stats().lacks == []
        assert sum(len(segment.postings.lengths) for segment in index.snapshot.segments) == count
        assert index.verify() == []


def test_pages_without_words_have_the_field_too(tmp_path):
    with PageIndex.create(tmp_path / "i", model=MODEL, storage=FLOATS) as index:
        with index.writing() as writer:
            add(writer, "a.pdf", (1, 2))
        (segment,) = index.snapshot.segments
        assert fields.POSTINGS not in segment.lacks
        assert (len(segment.postings), segment.postings.lengths.tolist()) == (0, [0, 0])
        assert segment.postings.of_term("a").rows.tolist() == segment.postings.of_prefix("").rows.tolist() == []
        index.compact(codec="int8")
        assert index.verify() == []
