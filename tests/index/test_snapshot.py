from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pages import MODEL, add, embed, refs

from visret.errors import InvalidArgument
from visret.index import PageIndex
from visret.index.filters import parse
from visret.types import PageRef


@pytest.fixture
def filed(index):
    """Three documents in two segments; the pages of c.pdf have metadata of their own."""
    with index.writing() as writer:
        add(writer, "a.pdf", (1, 2), source="/x/a.pdf", metadata={"year": 2020, "open": True, "tags": ["x", "y"]})
        writer.commit()
        add(writer, "b.pdf", (1, 2, 3), source="/x/b.pdf", metadata={"year": "2020", "note": None})
        pages = [embed("c.pdf", 1, metadata={"year": 1}), embed("c.pdf", 2, metadata={"tags": "y"}), embed("c.pdf", 9)]
        add(writer, "c.pdf", pages, metadata={"year": 2021, "open": 1})
    return index


def found(index, where=None, among=None):
    snapshot = index.snapshot
    chosen = snapshot.select(where, among)
    for rows in chosen.rows.values():
        assert rows.dtype == np.int64
        assert len(rows), "segments without any are not there"
        assert (np.diff(rows) > 0).all()
    return sorted(
        "{}{}".format(*snapshot.ref(n, row)).replace(".pdf", "") for n, rows in chosen.rows.items() for row in rows
    )


ALL = ["a1", "a2", "b1", "b2", "b3", "c1", "c2", "c9"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, ALL),
        ({}, ALL),
        ({"doc": "a.pdf"}, ["a1", "a2"]),
        ({"doc": ["a.pdf", "c.pdf"]}, ["a1", "a2", "c1", "c2", "c9"]),
        ({"doc": "missing.pdf"}, []),
        ({"doc": []}, []),
        ({"doc": 1}, []),
        ({"page": 2}, ["a2", "b2", "c2"]),
        ({"page": [3, 9.0]}, ["b3", "c9"]),
        ({"page": "2"}, []),
        ({"page": True}, []),
        ({"page": 10**30}, []),
        ({"page": None}, []),
        ({"source": "/x/b.pdf"}, ["b1", "b2", "b3"]),
        ({"source": None}, ["c1", "c2", "c9"]),
        ({"year": 2020}, ["a1", "a2"]),
        ({"year": 2020.0}, ["a1", "a2"]),
        ({"year": "2020"}, ["b1", "b2", "b3"]),
        ({"year": 2021}, ["c2", "c9"]),
        ({"year": 1}, ["c1"]),
        ({"year": True}, []),
        ({"year": [2020, "2020"]}, ["a1", "a2", "b1", "b2", "b3"]),
        ({"open": True}, ["a1", "a2"]),
        ({"open": 1}, ["c1", "c2", "c9"]),
        ({"open": None}, []),
        ({"note": None}, ["b1", "b2", "b3"]),
        ({"note": "None"}, []),
        ({"tags": "x"}, ["a1", "a2"]),
        ({"tags": ["y", "z"]}, ["a1", "a2", "c2"]),
        ({"year": 2020, "page": 2}, ["a2"]),
        ({"year": 2020, "doc": "b.pdf"}, []),
        ({"year": {">=": 2020, "<": 2021}}, ["a1", "a2"]),
        ({"year": {">": 1}}, ["a1", "a2", "c2", "c9"]),
        ({"year": {">": "1"}}, ["b1", "b2", "b3"]),
        ({"not": {"year": {">": 1}}}, ["b1", "b2", "b3", "c1"]),
        ({"page": {">": 1, "<=": 3}}, ["a2", "b2", "b3", "c2"]),
        ({"doc": {"!=": ["a.pdf", "b.pdf"]}}, ["c1", "c2", "c9"]),
        ({"tags": {"!=": "x"}}, ["b1", "b2", "b3", "c1", "c2", "c9"]),
        ({"tags": {"==": "y", "!=": "x"}}, ["c2"]),
        ({"or": [{"doc": "a.pdf"}, {"page": {">=": 9}}]}, ["a1", "a2", "c9"]),
        ({"and": [{"or": [{"page": 1}, {"page": 2}]}, {"not": {"open": 1}}], "doc": {"<": "b"}}, ["a1", "a2"]),
        ({"or": []}, []),
        ({"and": []}, ALL),
        ({"not": {}}, []),
    ],
)
def test_filters(filed, where, expected):
    assert found(filed, where) == expected


def test_among_is_only_these(filed):
    assert found(filed, among=[("a.pdf", 2), PageRef("c.pdf", 9), ("a.pdf", 2)]) == ["a2", "c9"]
    assert found(filed, {"doc": "a.pdf"}, [("a.pdf", 1), ("c.pdf", 9)]) == ["a1"]
    assert found(filed, among=[]) == [], "nothing chosen finds nothing"
    assert found(filed, among=iter([("b.pdf", 1)])) == ["b1"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"yaer": 2020}, "no page has metadata 'yaer'; filters can use: doc, page, source, note, open, tags, year"),
        ({"doc": "a.pdf", "Year": 1}, "'Year'"),
        ({"year": {"min": 1}}, "filter 'year': the operators are ==, !=, <, <=, >, >=, got {'min': 1}"),
        ({"year": {}}, "filter 'year': the operators are"),
        ({"year": {">": None}}, "filter 'year': > compares with a number or with text, got None"),
        ({"year": {">": True}}, "compares with a number or with text"),
        ({"or": {"year": 1}}, "filter 'or' takes a list of filters"),
        ({"not": [{"year": 1}]}, "a filter is an object"),
        ({"or": [{"doc": "a.pdf"}, {"yaer": 1}]}, "'yaer'"),
        ({"year": [[2020]]}, "filter 'year'"),
        (["a.pdf"], "a filter is an object"),
    ],
)
def test_filters_that_cannot_be_answered(filed, where, message):
    with pytest.raises(InvalidArgument, match=message):
        filed.snapshot.select(where)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        (("a.pdf", 7), "no page 7 of a.pdf in this index"),
        (("z.pdf", 1), "no document 'z.pdf' in this index"),
        (("a.pdf", 0), "no page 0"),
        (("a.pdf", -1), "no page -1"),
        (("a.pdf", (1 << 32) + 1), "no page 4294967297"),
        (("a.pdf", "1"), "no page 1"),
    ],
)
def test_unknown_pages(filed, ref, message):
    with pytest.raises(InvalidArgument, match=message):
        filed.snapshot.find(ref)
    with pytest.raises(InvalidArgument, match=message):
        filed.snapshot.select(among=[("b.pdf", 1), ref])


def test_a_key_stays_known_after_its_last_page(filed):
    with filed.writing() as writer:
        writer.remove("b.pdf")
    assert found(filed, {"note": None}) == []


def test_lookups_agree(filed):
    snapshot = filed.snapshot
    for ref in refs(filed):
        assert snapshot.ref(*snapshot.find(ref)) == ref
    place = snapshot.find(("c.pdf", 2))
    assert snapshot.metadata(*place) == {"year": 2021, "open": 1, "tags": "y"}
    assert snapshot.page_metadata(*place) == {"tags": "y"}
    assert snapshot.page_metadata(*snapshot.find(("c.pdf", 9))) == {}
    assert snapshot.size_pt(*place) == (600.0, 800.0)
    assert snapshot.docs() == {"a.pdf": 1, "b.pdf": 2, "c.pdf": 3}
    assert snapshot.sources() == {"/x/a.pdf": 1, "/x/b.pdf": 2}
    assert [document.doc for document in snapshot.documents()] == ["a.pdf", "b.pdf", "c.pdf"]
    assert snapshot.document("c.pdf") == snapshot.document(3)
    assert snapshot.document("c.pdf").pages == (1, 2, 9)
    with pytest.raises(InvalidArgument, match=r"'z\.pdf'"):
        snapshot.document("z.pdf")


def test_keys_are_of_documents_and_pages(filed):
    snapshot = filed.snapshot
    places = [snapshot.find(ref) for ref in refs(filed)][::-1]
    keys = snapshot.keys(np.array([segment for segment, _ in places]), np.array([row for _, row in places]))
    assert keys.dtype == np.int64
    assert keys.tolist() == [snapshot.docs()[doc] << 32 | page for doc, page in refs(filed)][::-1]
    assert [snapshot.locate(key) for key in keys.tolist()] == places
    assert len(snapshot.keys(np.empty(0, np.int64), np.empty(0, np.int64))) == 0
    for wrong in (0, 1 << 32 | 3, 9 << 32 | 1):
        with pytest.raises(KeyError):
            snapshot.locate(wrong)


def test_a_filter_that_is_nested_too_deeply_is_refused(filed):
    for depth in (150, 300, 450, 600, 5000):  # also one that is just not too deep for the tree
        where = {"page": 2}
        for _ in range(depth):
            where = {"not": where}
        try:
            assert found(filed, where) == ["a2", "b2", "c2"]
        except InvalidArgument as error:
            assert "nested too deeply" in str(error)  # noqa: PT017
            assert depth > 150
        else:
            assert depth < 5000


def test_what_was_selected_says_by_what(filed):
    everything = filed.snapshot.select()
    assert (everything.is_all, everything.filter) == (True, None)
    assert filed.snapshot.select({}, None).is_all
    some = filed.snapshot.select({"page": 2})
    assert (some.is_all, some.filter) == (False, parse({"page": 2}, ()))
    among = filed.snapshot.select(among=refs(filed))
    assert (among.is_all, among.filter) == (False, None)


def test_what_a_reader_gets_cannot_change_the_snapshot(filed):
    place = filed.snapshot.find(("c.pdf", 2))
    filed.snapshot.metadata(*place)["year"] = 0
    filed.snapshot.page_metadata(*place)["tags"] = 0
    assert filed.snapshot.metadata(*place) == {"year": 2021, "open": 1, "tags": "y"}
    with pytest.raises(ValueError, match="read-only"):
        filed.snapshot.rows(1)[0] = 7


def test_rows_that_died_are_no_pages(filed):
    (segment,) = filed.snapshot.select({"doc": "b.pdf"}).rows
    with filed.writing() as writer:
        writer.remove("b.pdf")
    assert filed.snapshot.rows(segment).tolist() == [3, 4, 5]
    with pytest.raises(IndexError, match="row 0"):
        filed.snapshot.ref(segment, 0)


values = st.sampled_from([1, 0, True, False, None, "1", "", "a", 1.0, 1.5])
metadata = st.dictionaries(st.sampled_from("kl"), values | st.lists(values, max_size=2), max_size=2)
any_of = values | st.lists(values, max_size=3)
ranges = st.dictionaries(st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from([0, 1, 1.5, "", "1"]), max_size=2)
operators = st.dictionaries(st.sampled_from(["==", "!="]), any_of, max_size=2)
conditions = any_of | st.builds(lambda a, b: a | b, ranges, operators).filter(bool)
simple = st.dictionaries(st.sampled_from("kl"), conditions, max_size=2)
wheres = st.recursive(
    simple,
    lambda inner: (
        st.dictionaries(st.sampled_from(["and", "or"]), st.lists(inner, max_size=3), min_size=1)
        | inner.map(lambda one: {"not": one})
    ),
    max_leaves=4,
)


def naive(filed, where):
    """The definition: every page on its own."""
    pages = (
        ((doc, page), {**of_document, **of_page})
        for doc, (of_document, of_pages) in filed.items()
        for page, of_page in enumerate(of_pages, 1)
    )
    return [ref for ref, merged in pages if passes(merged, where)]


def passes(merged, where):
    for key, value in where.items():
        if key == "and":
            held = all(passes(merged, one) for one in value)
        elif key == "or":
            held = any(passes(merged, one) for one in value)
        elif key == "not":
            held = not passes(merged, value)
        else:
            items = listed(merged[key]) if key in merged else []
            bounds = value if isinstance(value, dict) else {"==": value}
            held = "==" not in bounds or any(equal(x, y) for x, y in product(items, listed(bounds["=="])))
            held &= "!=" not in bounds or not any(equal(x, y) for x, y in product(items, listed(bounds["!="])))
            sides = {name: bound for name, bound in bounds.items() if name not in ("==", "!=")}
            held &= not sides or any(all(beside(x, name, bound) for name, bound in sides.items()) for x in items)
        if not held:
            return False
    return True


def beside(x, name, bound):
    if kind(x) != kind(bound):
        return False
    return {"<": x < bound, "<=": x <= bound, ">": x > bound, ">=": x >= bound}[name]


def listed(value):
    return value if isinstance(value, list) else [value]


def kind(value):
    return "number" if type(value) in (int, float) else type(value)


def equal(x, y):
    return kind(x) == kind(y) and x == y


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(metadata, st.lists(metadata, min_size=1, max_size=3)), max_size=4), st.lists(wheres, max_size=8)
)
def test_filters_equal_the_definition(tmp_path_factory, documents, questions):
    filed = {f"{i}.pdf": document for i, document in enumerate(documents)}
    with PageIndex.create(tmp_path_factory.mktemp("filters") / "i", model=MODEL) as index:
        with index.writing() as writer:
            add(writer, "known", metadata={"k": "nothing else", "l": "nothing else"})
            for doc, (of_document, of_pages) in filed.items():
                pages = [embed(doc, page, metadata=of_page) for page, of_page in enumerate(of_pages, 1)]
                add(writer, doc, pages, metadata=of_document)
            writer.commit()
        for where in questions:
            snapshot = index.snapshot
            chosen = snapshot.select({"and": [where, {"doc": list(filed)}]})
            assert sorted(snapshot.ref(n, r) for n, rows in chosen.rows.items() for r in rows) == naive(filed, where)
