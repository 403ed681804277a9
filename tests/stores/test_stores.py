"""A store answers as the index does that it was written from, whatever engine holds it.

VISRET_TEST_QDRANT=qdrant://localhost:6333 runs them on a server, too, in collections that are deleted afterwards.
"""

import os
import pickle
import re
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pages import MODEL, add, embed
from support.stores import Noisy, assert_alike, export_stopped, filled, page
from support.word_model import WORDS

from visret import Page, Retriever, cli, stores
from visret.errors import IndexFormatError, InvalidArgument, MissingExtra, NoPicture, PageIndexError
from visret.index import PageIndex, terms
from visret.index.filters import Range
from visret.search.plans import Plan
from visret.stores import STORES, _export, _points, _scorers, lancedb, qdrant
from visret.stores._index import StoredIndex
from visret.types import PageRef

for package in ("qdrant_client", "qdrant_edge", "lancedb"):
    pytest.importorskip(package, reason="pip install 'visret[qdrant,lancedb]' for these tests")

SERVER = os.environ.get("VISRET_TEST_QDRANT")
QUESTIONS = ["red green", "blue", "black white pink grey brown", "grey grey red"]


NAMES = ["memory", "edge", "lancedb", *(["server"] if SERVER else [])]
FOLDERS = ["qdrant+edge", "lancedb"]  # schemes of stores in a folder


@contextmanager
def collection(name, folder):
    """An empty collection."""
    from qdrant_client import QdrantClient

    if name == "edge":
        made = qdrant.Edge(folder / "collection")
    elif name == "lancedb":
        made = lancedb.at(f"lancedb://{folder / 'collection'}")
    elif name == "server":
        made = qdrant.at(f"{SERVER.rstrip('/')}/visret-test-{uuid4().hex}")
    else:
        made = qdrant.Client(QdrantClient(":memory:"), "pages", "memory")
    yield made
    if name == "server" and made.exists():
        made._client.delete_collection(made._collection)
    made.close()


@pytest.fixture(params=NAMES)
def engine(request, tmp_path):
    with collection(request.param, tmp_path) as made:
        yield made


def opened(engine, **how):
    return Retriever(StoredIndex(engine), Noisy(), **how)


def exported(retriever, engine, **how):
    return _export.export(retriever._index, engine, **how)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An index that no test changes."""
    with filled(tmp_path_factory.mktemp("shared") / "index") as retriever:
        yield retriever


@pytest.fixture
def local(shared, tmp_path):
    """An index that a test may change."""
    shutil.copytree(shared._index.path, tmp_path / "index")
    with Retriever.open(tmp_path / "index", model=Noisy()) as retriever:
        yield retriever


@pytest.fixture(scope="module", params=NAMES)
def store(shared, request, tmp_path_factory):
    """A collection of the index that no test changes."""
    with collection(request.param, tmp_path_factory.mktemp("store")) as made:
        exported(shared, made)
        yield opened(made)


@pytest.mark.parametrize(
    "how",
    [
        {"codec": "int8"},
        {"codec": "float32"},
        {"codec": "binary"},
        {"codec": "residual2", "dim": 6},
        {"codec": "float16", "pool": 2},
    ],
    ids=str,
)
def test_hits_are_those_of_the_index(tmp_path, engine, how):
    with filled(tmp_path / "index", **how) as local:
        assert exported(local, engine).written == len(local._index.snapshot)
        store = opened(engine)
        for asked in ({}, {"by": "maxsim"}, {"where": {"year": {">=": 2019}, "not": {"tags": "odd"}}}):
            expected = local.search_many(QUESTIONS, exact=True, **asked)
            assert_alike(store.search_many(QUESTIONS, exact=True, **asked), expected)
            assert any(map(len, expected))
        assert store.storage == local.storage
        assert store.model == local.model


def test_every_way_of_asking_answers_alike(store, shared):
    for how in (
        {"k": 3, "offset": 2},
        {"k": 5, "group_by": "document"},
        {"k": 2, "neighbours": 1},
        {"k": 2, "neighbours": 1, "where": {"page": {"<": 3}}},
        {"weak": False},
        {"min_score": 0.5},
        {"explain": False},
        {"among": ["3.pdf", ("2.pdf", 1)]},
        {"among": shared.search("red", k=4), "where": {"tags": 2}},
    ):
        assert_alike(store.search_many(QUESTIONS, **how), shared.search_many(QUESTIONS, exact=True, **how))


@pytest.mark.parametrize("by", ["bm25", "hybrid", "cascade"])
def test_words_are_ranked_as_in_the_index(store, shared, by):
    for question in [*QUESTIONS, "red violet", '"red green"', "violet"]:
        if by != "bm25" and not set(question.split()) <= set(WORDS):
            continue
        expected, got = shared.search(question, k=30, by=by, exact=True), store.search(question, k=30, by=by)
        assert got.warnings == expected.warnings
        by_ref = {hit.ref: hit for hit in expected}
        assert {hit.ref for hit in got} == by_ref.keys()
        for hit in got:
            want = by_ref[hit.ref]
            assert hit.score == pytest.approx(want.score, abs=2e-5)
            assert hit.scores == pytest.approx(dict(want.scores), abs=2e-5)
            assert hit.relevance == pytest.approx(want.relevance, abs=2e-3)
            assert (hit.text, hit.weak, hit.passage) == (want.text, want.weak, want.passage)


@pytest.mark.parametrize("doc", ["2.pdf", "3.pdf"])
def test_explanations_are_those_of_the_index(store, shared, doc):
    hit = shared.search("red green", among=doc)[0]
    why, expected = store.heatmap("red green", hit), shared.heatmap("red green", hit)
    assert (why.boxes, why.spans, why.line, why.score) == (
        expected.boxes,
        expected.spans,
        expected.line,
        expected.score,
    )
    assert (why.best == expected.best).all()
    assert (why.embedding.vectors == expected.embedding.vectors).all()
    assert store.passages_of("red green", hit) == shared.passages_of("red green", hit)
    words = replace(hit, scores={"bm25": 1.0})
    why, expected = store.heatmap("red green", words), shared.heatmap("red green", words)
    assert why.values == pytest.approx(expected.values, abs=1e-5)
    assert [box.x0 for box in why.boxes] == [box.x0 for box in expected.boxes]
    for (one, why), (other, expected) in zip(
        *(next(iter(r.explained(["blue"], k=5, exact=True))) for r in (store, shared)), strict=True
    ):
        assert_alike([[one]], [[other]])
        assert why.boxes == expected.boxes


def test_what_is_there_can_be_listed_and_read(store, shared):
    assert store.documents() == sorted(shared.documents())
    assert store.document("5.pdf").pages == shared.document("5.pdf").pages
    assert store.document("5.pdf").metadata == shared.document("5.pdf").metadata
    page, error = store.read(("5.pdf", 1))
    assert (page.text, page.words, error) == (
        shared.read(("5.pdf", 1))[0].text,
        shared.read(("5.pdf", 1))[0].words,
        None,
    )
    facts, expected = store.info(), shared.info()
    for key in ("model", "codec", "pages", "documents", "vectors", "dim"):
        assert facts[key] == expected[key]
    assert [hit.ref for hit in store.search_like(("5.pdf", 1))] == [hit.ref for hit in shared.search_like(("5.pdf", 1))]
    with pytest.raises(NoPicture):
        store.picture(("5.pdf", 1))
    with pytest.raises(InvalidArgument, match=r"no page 9 of 5\.pdf"):
        store.heatmap("red", ("5.pdf", 9))
    with pytest.raises(InvalidArgument, match="no document"):
        store.document("none.pdf")


def test_pages_of_pictures_keep_their_grids(tmp_path, engine):
    index = PageIndex.create(tmp_path / "index", model=replace(MODEL, dim=8))
    with index.writing() as writer:
        add(writer, "a.pdf", (1, 2))
    _export.export(index, engine)
    pages = StoredIndex(engine).snapshot
    for ref in (("a.pdf", 1), ("a.pdf", 2)):
        got, expected = pages.embedding(ref), index.snapshot.embedding(ref)
        assert (got.where.rows, got.where.cols) == (expected.where.rows, expected.where.cols)
        assert (got.vectors == expected.vectors).all()


# ---- filters

VALUES = [True, False, None, 0, 1, 2, 2.0, 2.5, -1, 2020, 10**30, "1", "x", "", "a" * 300]
KEYS = ["k", "a.b", 'q"[0]', "doc", "page", "source"]
leaves = st.builds(
    lambda key, value: {key: value},
    st.sampled_from(KEYS),
    st.one_of(
        st.sampled_from(VALUES),
        st.lists(st.sampled_from(VALUES), max_size=3),
        st.builds(lambda v: {"!=": v}, st.sampled_from(VALUES)),
    ),
) | st.builds(
    lambda key, bounds: {key: bounds},
    st.sampled_from([*KEYS[:3], "page"]),
    st.dictionaries(st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from([0, 1, 2, 2.5, -1]), min_size=1),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda one: {"not": one}, inner),
        st.builds(lambda some: {"or": some}, st.lists(inner, max_size=3)),
        st.builds(lambda some: {"and": some}, st.lists(inner, max_size=3)),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module", params=[one for one in NAMES if one != "server"])
def filed(request, tmp_path_factory):
    """An index of a page for each value, and a collection of it."""
    folder = tmp_path_factory.mktemp("filed")
    index = PageIndex.create(folder / "index", model=MODEL)
    with index.writing() as writer:
        for number, value in enumerate(VALUES):
            pages = [embed(f"{number}.pdf", 1), embed(f"{number}.pdf", 2, metadata={"k": [value, "own"]})]
            metadata = {"k": value, "a.b": VALUES[number - 3], 'q"[0]': [VALUES[number - 1], {"deep": 1}]}
            add(writer, f"{number}.pdf", pages, metadata=metadata, source=f"/x/{number}.pdf" if number % 3 else None)
    with collection(request.param, folder) as made:
        _export.export(index, made)
        yield index.snapshot, StoredIndex(made).snapshot


@given(filters)
@settings(max_examples=40)
def test_filters_find_what_they_find_in_the_index(filed, where):
    local, pages = filed
    chosen = local.select(where)
    expected = {local.ref(number, int(row)) for number, rows in chosen.rows.items() for row in rows}
    found = pages.engine.scroll(["doc", "page"], pages.select(where).filter)
    assert {PageRef(one["doc"], one["page"]) for _, one in found} == expected


def test_filters_that_stores_do_not_have_are_refused(filed):
    pages = filed[1]
    with pytest.raises(InvalidArgument, match="numbers only"):
        pages.select({"k": {">": "a"}})
    with pytest.raises(InvalidArgument, match=r"2\*\*53"):
        pages.select({"k": {">": 10**17}})
    with pytest.raises(InvalidArgument, match="no page has metadata 'z'"):
        pages.select({"z": 1})


def test_a_part_of_a_filter_that_is_new_is_refused_in_words():
    with pytest.raises(InvalidArgument, match="a filter of str cannot be put to a store"):
        _points.condition("k")
    with pytest.raises(InvalidArgument, match="stores have no '~'"):
        _points.condition(Range("k", (("~", 1),)))


# ---- writing


def test_an_export_that_was_stopped_goes_on(local, engine, monkeypatch):
    monkeypatch.setattr(engine, "batch", 1)
    export_stopped(local._index, engine)
    seen = []
    done = exported(local, engine, progress=lambda *counts: seen.append(counts))
    pages = len(local._index.snapshot)
    assert (done.kept, done.written, done.deleted) == (6, pages - 6, 0)  # the seventh was waiting
    assert seen == [(n, pages) for n in range(1, pages + 1)]
    assert_alike([opened(engine).search("red")], [local.search("red", exact=True)])


def test_changes_of_the_index_are_taken_over(local, engine):
    exported(local, engine)
    pages = len(local._index.snapshot)
    assert exported(local, engine)[:3] == (0, pages, 0)
    local.set_metadata("2.pdf", {"shelf": 1999})
    gone = len(local.document("3.pdf").pages)
    local.remove("3.pdf")
    local.add_pages([page("new.pdf", 1, ["pink"])])
    changed = len(local.document("2.pdf").pages)
    store = opened(engine)
    store.search("red")
    assert exported(local, engine)[:3] == (changed + 1, pages - gone - changed, gone)
    store.refresh()
    for where in ({"shelf": 1999}, {"doc": ["3.pdf", "new.pdf"]}, None):
        assert_alike([store.search("pink red", where=where)], [local.search("pink red", where=where, exact=True)])
    assert "3.pdf" not in store.documents()


def test_words_are_written_again_when_other_terms_are_made_of_them(local, engine, monkeypatch):
    exported(local, engine)
    monkeypatch.setattr(terms, "VERSION", 2)
    with pytest.raises(IndexFormatError, match="has terms 1, and this visret reads 2; export again"):
        opened(engine)
    assert exported(local, engine).kept == 0
    assert_alike([opened(engine).search("red", by="bm25")], [local.search("red", by="bm25")])


def test_weights_of_words_are_written_again_when_pages_are_of_another_length(local, engine):
    exported(local, engine)
    local.add_pages([page("long.pdf", n, ["red"] * 90, plain=True) for n in range(1, 9)])
    kept = exported(local, engine).kept
    assert bool(kept) == engine.weighs_words  # or the weights are those that it was given
    got, expected = opened(engine).search("red", k=5, by="bm25"), local.search("red", k=5, by="bm25")
    assert [hit.score for hit in got] == pytest.approx([hit.score for hit in expected], abs=2e-5)


def test_indexes_can_share_a_collection(tmp_path, local, engine):
    exported(local, engine)
    with Retriever.create(tmp_path / "other", model=Noisy()) as other:
        other.add_pages([page("other.pdf", 1, ["red", "blue"])], metadata={"shelf": 3})
        assert exported(other, engine, keep=True)[:3] == (1, 0, 0)
    store = opened(engine)
    assert store.search("blue", where={"shelf": 3})[0].doc == "other.pdf"
    assert len(store._index.snapshot) == len(local._index.snapshot) + 1
    assert_alike([store.search("red", where={"not": {"shelf": 3}})], [local.search("red", exact=True)])


def test_pages_made_in_another_way_do_not_meet(tmp_path, local, engine):
    exported(local, engine)
    other = filled(tmp_path / "other", codec="float32", documents=2)
    with other, pytest.raises(PageIndexError, match="into another"):
        exported(other, engine)
    assert_alike([opened(engine).search("red")], [local.search("red", exact=True)])


def test_pages_with_more_vectors_than_a_point_are_found_exactly(local, engine, monkeypatch):
    monkeypatch.setattr(engine, "most_floats", 9 * 12)
    exported(local, engine)
    large = [len(vectors) for vectors in counted(engine)]
    assert max(large) == 12
    assert_alike(opened(engine).search_many(QUESTIONS), local.search_many(QUESTIONS, exact=True))
    where = {"year": {">": 2020}}
    assert_alike([opened(engine).search("red", where=where)], [local.search("red", where=where, exact=True)])
    monkeypatch.setattr(_points, "MAX_LARGE", 3)
    with pytest.raises(InvalidArgument, match="--pool"):
        exported(local, engine)


def counted(engine):
    """The vectors of all pages, as the engine has them."""
    ids = [one for one, _ in engine.scroll(["doc"], _points.is_page())]
    if isinstance(engine, lancedb.Table):
        return [row["tokens"] for row in engine._table.search().where("kind = 'page'").to_list()]
    if isinstance(engine, qdrant.Edge):
        return [one.vector["tokens"] for one in engine._open().retrieve(ids, False, ["tokens"])]
    found = engine._client.retrieve(engine._collection, list(map(str, ids)), with_vectors=["tokens"])
    return [one.vector["tokens"] for one in found]


def test_the_first_stage_finds_the_best_pages(tmp_path, engine, monkeypatch):
    with filled(tmp_path / "index", documents=40) as local:
        exported(local, engine)
        store = opened(engine)
        monkeypatch.setattr(_scorers, "EXACT_UP_TO", 0)
        asked = []
        query = engine.query
        monkeypatch.setattr(engine, "query", lambda *a, **k: asked.append(k.get("first", 0)) or query(*a, **k))
        assert_alike(
            store.search_many(QUESTIONS), local.search_many(QUESTIONS, exact=True)
        )  # it is of more than there are
        assert asked == [_scorers.LEAST_FIRST] * len(QUESTIONS)
        monkeypatch.setattr(_scorers, "FIRST", 4)
        monkeypatch.setattr(_scorers, "LEAST_FIRST", 20)
        found, expected = store.search_many(QUESTIONS, k=5), local.search_many(QUESTIONS, k=5, exact=True)
        scores = {hit.ref: hit.score for hit in local.search(QUESTIONS[0], k=999, exact=True)}
        for hit in found[0]:  # whatever it leaves out, scores are exact
            assert hit.score == pytest.approx(scores[hit.ref], abs=1e-5)
        both = sum(len({h.ref for h in f} & {h.ref for h in e}) for f, e in zip(found, expected, strict=True))
        assert both >= 0.6 * 5 * len(QUESTIONS)


# ---- what is refused


def test_a_store_is_only_searched(store):
    for write in (
        lambda: store.add_pages([page("x.pdf", 1, ["red"])]),
        lambda: store.remove("1.pdf"),
        lambda: store.set_metadata("1.pdf", {"a": 1}),
        lambda: store.compact(),
        lambda: store.reindex(codec="float32"),
        lambda: store.undo_reindex(),
    ):
        with pytest.raises(InvalidArgument, match="visret export"):
            write()


def test_ways_that_it_does_not_have_are_refused(store):
    with pytest.raises(InvalidArgument, match="ranked by 'late'"):
        store.search("red", by="dense")
    with pytest.raises(InvalidArgument, match="whole words"):
        store.search("re*", by="bm25")


def test_what_cannot_be_exported_is_refused(tmp_path, engine):
    with Retriever.create(tmp_path / "empty", model=Noisy()) as empty, pytest.raises(InvalidArgument, match="no pages"):
        exported(empty, engine)
    with Retriever.create(tmp_path / "none", model="none") as words:
        words.add_pages([Page.from_text("red", doc="a")])
        with pytest.raises(InvalidArgument, match="no vectors"):
            exported(words, engine)
    with pytest.raises(PageIndexError, match="visret export"):
        opened(engine)


@pytest.mark.parametrize(
    "url",
    [
        "qdrant://host",
        "qdrant:///pages",
        "qdrant://host/a/b",
        "qdrant+edge://pages",
        "lancedb://",
        "lancedb+s3:///",
        "lancedb:///pages?version=3",
        "redis://host/pages",
    ],
)
def test_addresses_that_name_no_store_are_refused(tmp_path, url):
    with pytest.raises(InvalidArgument):
        Retriever.open(url)
    with pytest.raises(InvalidArgument, match="visret export"):
        Retriever.create(url, model=Noisy())
    with Retriever.create(tmp_path / "index", model=Noisy()), pytest.raises(InvalidArgument):
        stores.export(tmp_path / "index", url)


@pytest.mark.parametrize("scheme", FOLDERS)
def test_a_folder_of_something_else_is_left_alone(tmp_path, local, scheme):
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "letter.txt").write_text("dear")
    url = f"{scheme}://{tmp_path / 'junk'}"
    with pytest.raises(PageIndexError, match="is not a folder of"):
        Retriever.open(url)
    with pytest.raises(PageIndexError, match="is not a folder of"):
        stores.export(local._index.path, url)
    assert [one.name for one in (tmp_path / "junk").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("scheme", FOLDERS)
def test_a_folder_that_is_not_there_is_not_made(tmp_path, scheme):
    with pytest.raises(PageIndexError, match="visret export"):
        Retriever.open(f"{scheme}://{tmp_path / 'none'}")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("scheme", STORES)
def test_packages_that_are_not_there_are_named(monkeypatch, scheme):
    for package in ("qdrant_client", "qdrant_edge", "lancedb"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"visret\[{STORES[scheme].extra}\]"):
        stores.opened(f"{scheme}://{'' if scheme == 'qdrant+edge' else 'host'}/pages")


@pytest.mark.parametrize("scheme", FOLDERS)
def test_a_server_searches_a_store_and_takes_no_files(tmp_path, local, scheme, monkeypatch):
    testclient = pytest.importorskip("fastapi.testclient")
    from visret.server import app
    from visret.server.guard import Rules

    monkeypatch.chdir(tmp_path)
    url = f"{scheme}://{tmp_path / 'made'}"
    stores.export(local._index.path, url)
    before = set(tmp_path.iterdir())
    with testclient.TestClient(app.build(url, Rules(rate=0), ui=False), base_url="http://localhost") as client:
        found = client.post("/search", json={"question": "red green", "k": 3, "by": "bm25"}).json()["hits"]
        assert [hit["doc"] for hit in found] == [hit.doc for hit in local.search("red green", k=3, by="bm25")]
        assert len(client.get("/documents").json()["documents"]) == len(local.documents())
        refused = client.post("/documents", files={"files": ("x.txt", b"red")})
        assert (refused.status_code, "only reads" in refused.text) == (403, True)
        assert client.delete("/documents/1.pdf").status_code == 403
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("scheme", FOLDERS)
def test_its_address_opens_it_again(tmp_path, local, scheme):
    url = f"{scheme}://{tmp_path / 'made'}"
    stores.export(local._index.path, url)
    with Retriever.open(url, model=Noisy()) as store:
        assert store.info()["path"] == url
        with pytest.raises(TypeError, match=re.escape(url)):
            pickle.dumps(store)


def test_the_page_about_stores_has_every_address():
    page = (Path(__file__).parents[2] / "docs" / "stores.md").read_text("utf8")
    assert [form for form in (f"| `{store.form}` |" for store in STORES.values()) if form not in page] == []
    assert [name for name in stores.FORMS if f"| {name.title()} " not in page] == []


def means(texts):
    """The single vectors of texts: the mean of a vector for each word."""
    words = [text.split() or ["nothing"] for text in texts]
    return np.stack([np.mean([vector_of(word) for word in some], axis=0) for some in words])


def vector_of(word):
    return np.random.default_rng(list(word.encode())).normal(size=8).astype(np.float32)


def test_single_vectors_of_an_added_model_rank_as_in_the_index(local, engine):
    local.add_model(means, name="means")
    assert exported(local, engine).left_out == ()
    store = opened(engine)
    store.add_model(means, name="means")
    assert store.info()["added_models"] == local.info()["added_models"]
    plan = Plan({"late": 0.5, "dense": 1}, fusion="mean", depth=7)
    for how in ({"by": "dense"}, {"by": "late+dense"}, {"by": plan}, {"by": "dense", "where": {"page": {"<": 3}}}):
        assert_alike(store.search_many(QUESTIONS, k=6, **how), local.search_many(QUESTIONS, k=6, exact=True, **how))
    assert exported(local, engine).written == 0
    with pytest.raises(InvalidArgument, match="only searched"):
        store.remove_model("means")


def test_a_collection_that_was_made_before_keeps_what_it_has(local, engine):
    exported(local, engine)
    local.add_model(means, name="means")
    assert exported(local, engine)._replace(kept=0) == _export.Exported(0, 0, 0, ("means",))
    with pytest.raises(InvalidArgument, match="not by 'dense'"):
        opened(engine).search("red", by="dense")


def test_pages_that_an_added_model_was_not_over_are_counted(local, engine):
    local.add_model(means, name="means")
    with Retriever.open(local._index.path, model=Noisy()) as other:  # which has no such function
        other.add_pages([page("late.pdf", 1, ["red", "red", "red"])], pictures=False)
    local.refresh()
    for written, lacking in ((len(local._index.snapshot), 1), (1, 0)):
        assert exported(local, engine).written == written
        store = opened(engine)
        store.add_model(means, name="means")
        (found,), (expected,) = (one.search_many(["red"], k=40, by="dense") for one in (store, local))
        assert found.warnings == expected.warnings
        assert [line.split(" of ")[0] for line in found.warnings] == ["1"] * lacking
        assert ("late.pdf" in {hit.doc for hit in found}) is not bool(lacking)
        local.add_model(means, name="means")  # goes over what is new


def test_collections_of_several_added_models_are_refused(local, engine):
    local.add_model(means, name="means")
    exported(local, engine)
    local.remove_model("means")
    with pytest.raises(PageIndexError, match="another model"):
        exported(local, engine)


@pytest.mark.parametrize("scheme", FOLDERS)
def test_the_command_exports_and_searches(tmp_path, local, capsys, scheme):
    url = f"{scheme}://{tmp_path / 'a folder'}"
    assert cli.main(["export", str(local._index.path), url]) == 0
    pages = len(local._index.snapshot)
    assert capsys.readouterr().out == f"{url}: {pages} pages written, 0 were there already, 0 deleted\n"
    assert cli.main(["export", str(local._index.path), url, "--json"]) == 0
    assert f'"kept": {pages}' in capsys.readouterr().out
    assert cli.main(["search", url, "red", "--by", "bm25", "-k", "1"]) == 0
    assert local.search("red", by="bm25")[0].doc in capsys.readouterr().out
