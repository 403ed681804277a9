"""What is LanceDB's own: its scores, the index of summaries, numbers as columns, tables that are not visret's."""

import numpy as np
import pytest
from support.stores import Noisy, assert_alike, export_stopped, filled

from visret import Retriever
from visret.errors import InvalidArgument, PageIndexError
from visret.stores import _engine, _export, _points, _scorers, lancedb
from visret.stores._index import StoredIndex

package = pytest.importorskip("lancedb", reason="pip install 'visret[lancedb]' for these tests")


@pytest.fixture
def table(tmp_path):
    return lancedb.at(f"lancedb://{tmp_path / 'table'}")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with filled(tmp_path_factory.mktemp("local") / "index", documents=20) as retriever:
        yield retriever


def opened(table):
    return Retriever(StoredIndex(table), Noisy())


def test_max_sim_is_the_number_of_vectors_less_the_distance(local, table, tmp_path):
    """Another client finds the same, with the words of docs/stores.md."""
    _export.export(local._index, table)
    query = local.encoder.encode_queries(["red green blue"])[0].vectors
    asked = np.concatenate([query, np.ones((len(query), 1), np.float32)], axis=1)
    pages = package.connect(tmp_path / "table").open_table("pages")
    found = pages.search(asked, vector_column_name="tokens", query_type="vector").distance_type("dot")
    rows = found.where("doc <> '3.pdf'").limit(5).to_list()
    hits = local.search("red green blue", k=5, exact=True, where={"not": {"doc": "3.pdf"}})
    assert [(row["doc"], row["page"]) for row in rows] == [hit.ref for hit in hits]
    assert [len(query) - row["_distance"] for row in rows] == pytest.approx([hit.score for hit in hits], abs=5e-3)


def test_the_index_of_summaries_finds_the_best_pages(local, table, monkeypatch):
    monkeypatch.setattr(lancedb, "MANY", 1)
    monkeypatch.setattr(_scorers, "EXACT_UP_TO", 0)
    monkeypatch.setattr(_scorers, "FIRST", 2)
    monkeypatch.setattr(_scorers, "LEAST_FIRST", 25)
    _export.export(local._index, table)
    asked = []
    for name in ("_look_up", "_scan"):
        ask = getattr(table, name)
        monkeypatch.setattr(table, name, lambda *a, name=name, ask=ask: asked.append(name) or ask(*a))
    store = opened(table)
    scores = {hit.ref: hit.score for hit in local.search("red green", k=999, exact=True)}
    found = store.search("red green", k=3)
    assert asked == ["_look_up", "_scan"]
    assert [hit.score for hit in found] == pytest.approx([scores[hit.ref] for hit in found], abs=1e-5)
    assert len({hit.ref for hit in found} & set(list(scores)[:3])) >= 2
    few = {"doc": ["1.pdf", "2.pdf"]}  # fewer pages than the first stage may find: it looks at all of them
    assert_alike([store.search("red", where=few)], [local.search("red", where=few, exact=True)])
    assert asked[2:] == ["_look_up", "_scan", "_scan"]


def test_several_numbers_under_a_key_are_columns(table, tmp_path, monkeypatch):
    with Retriever.create(tmp_path / "index", model=Noisy()) as local:
        local.add_pages([_page("a", [1, 9]), _page("b", [5]), _page("c", [])])
        _export.export(local._index, table)
        store = opened(table)
        for bounds in ({">": 2, "<": 8}, {">=": 9}, {"<": 2}, {">": 1, "<": 9}):
            for where in ({"size": bounds}, {"not": {"size": bounds}}):
                expected = [hit.doc for hit in local.search("red", where=where)]
                assert [hit.doc for hit in store.search("red", where=where)] == expected
        monkeypatch.setattr(lancedb, "MAX_NUMBERS", 3)
        local.add_pages([_page("d", [1, 2, 3, 4])])
        with pytest.raises(InvalidArgument, match=r"page 1 of d has 4 numbers under one key"):
            _export.export(local._index, table)


def _page(doc, sizes):
    from visret import Page

    return Page.from_text("red green", doc=doc, metadata={"size": sizes})


def test_words_wait_for_the_end_of_an_export(local, table, monkeypatch):
    monkeypatch.setattr(table, "batch", 1)
    export_stopped(local._index, table)
    assert len(opened(table).search("red")) == 6
    with pytest.raises(PageIndexError, match="run visret export again"):
        opened(table).search("red", by="bm25")
    _export.export(local._index, table)
    assert_alike([opened(table).search("red", by="bm25")], [local.search("red", by="bm25")])


def test_a_table_of_something_else_is_left_alone(local, table, tmp_path):
    package.connect(tmp_path / "table").create_table("pages", [{"id": "1", "kind": "mine"}])
    for ask in (lambda: _export.export(local._index, table), lambda: opened(table)):
        with pytest.raises(PageIndexError, match="that visret did not write"):
            ask()


def test_what_lancedb_says_is_told(local, table, tmp_path):
    _export.export(local._index, table)
    for file in (tmp_path / "table" / "pages.lance" / "data").iterdir():
        file.write_bytes(b"")
    with pytest.raises(PageIndexError, match="LanceDB cannot read or write it"):
        table.query(_engine.TOKENS, np.ones((1, 9), np.float32), 1, _points.is_page())
