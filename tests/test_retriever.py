"""The front door, on pages made in memory with `toy`: what is asked, is found, explained, filtered, removed."""

import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from visret import Page, PageRef, Retriever, candidates, load_encoder
from visret.codec import CODECS
from visret.errors import InvalidQuery, ModelMismatch, PageIndexError, VisretError
from visret.maxsim import reference

COLOURS = ["red", "green", "blue", "yellow"]


def patch(colour, *, size=(320, 512), cell=(0, 0), background="white"):
    """A page with one patch painted, in the cell (row, col) of 32 px cells."""
    image = Image.new("RGB", size, background)
    row, col = cell
    ImageDraw.Draw(image).rectangle([col * 32, row * 32, col * 32 + 31, row * 32 + 31], fill=colour)
    return image


@pytest.fixture
def colours(tmp_path):
    with Retriever.create(tmp_path / "colours.visret", model="toy") as retriever:
        pages = [Page.from_image(patch(c, cell=(i, i + 1)), doc=f"{c}.png", page=1) for i, c in enumerate(COLOURS)]
        report = retriever.add_pages(pages, metadata={"shelf": "a"})
        assert (report.documents, report.pages, report.failed, report.empty) == (4, 4, [], [])
        yield retriever


def test_the_page_with_the_colour_is_first(colours):
    for colour in COLOURS:
        hits = colours.search(colour, k=2)
        assert hits[0].ref == PageRef(f"{colour}.png", 1)
        assert [hit.rank for hit in hits] == [1, 2]
        assert hits[0].score > hits[1].score


def test_scores_are_the_definition_on_stored_vectors(colours):
    (query,) = colours.encoder.encode_queries(["blue"])
    for hit in colours.search("blue", k=10):
        stored = colours._index.embedding(hit.ref).vectors
        assert hit.score == pytest.approx(reference.page_scores(query.vectors, stored, np.array([0, len(stored)]))[0])
        assert colours.heatmap("blue", hit).score == pytest.approx(hit.score, abs=1e-5)


def test_the_highlight_lies_on_the_patch(colours):
    for i, colour in enumerate(COLOURS):
        hit = colours.search(colour, k=1)[0]
        best = colours.heatmap(colour, hit).boxes[0]
        x, y = (best.x0 + best.x1) / 2 * 320, (best.y0 + best.y1) / 2 * 512
        assert patch(colour, cell=(i, i + 1)).getpixel((int(x), int(y))) != (255, 255, 255)


def test_the_picture_comes_back_as_it_was(colours):
    page = colours.page(("red.png", 1))
    assert np.array_equal(np.asarray(page.image), np.asarray(patch("red", cell=(0, 1))))


def test_filters(colours, tmp_path):
    colours.add_pages([Page.from_image(patch("red"), doc="late.png", metadata={"year": 2024})], metadata={"shelf": "b"})
    assert [hit.doc for hit in colours.search("red", where={"shelf": "b"})] == ["late.png"]
    assert {hit.doc for hit in colours.search("red", where={"doc": ["red.png", "blue.png"]})} == {"red.png", "blue.png"}
    assert [hit.metadata for hit in colours.search("red", where={"year": 2024})] == [{"shelf": "b", "year": 2024}]
    assert colours.search("red", where={"shelf": "c"}) == []
    assert colours.search("red", where={"doc": []}) == []
    with pytest.raises(InvalidQuery, match="shelf"):
        colours.search("red", where={"shelv": "b"})


def test_among_ranks_only_the_callers_pages(colours):
    some = [PageRef("blue.png", 1), ("green.png", 1)]
    assert {hit.doc for hit in colours.search("red", among=some)} == {"blue.png", "green.png"}
    assert colours.search("red", among=[]) == []
    assert len(colours.search("red", among=colours.search("blue", k=3))) == 3
    with pytest.raises(InvalidQuery, match="nowhere"):
        colours.search("red", among=[("nowhere.png", 1)])


def test_many_questions_are_each_question(colours):
    together = colours.search_many(COLOURS, k=3)
    assert together == [colours.search(colour, k=3) for colour in COLOURS]
    assert colours.search_many([]) == []


def test_remove_and_add_again(colours):
    colours.remove("red.png")
    assert "red.png" not in {hit.doc for hit in colours.search("red")}
    with pytest.raises(InvalidQuery, match=r"red\.png"):
        colours.remove(["blue.png", "red.png"])
    assert len(colours.search("blue")) == 3  # nothing was removed
    colours.add_pages([Page.from_image(patch("red"), doc="red.png")])
    assert colours.search("red")[0].doc == "red.png"


def test_adding_a_document_again_replaces_it(colours):
    pages = [Page.from_image(patch("blue"), doc="red.png"), Page.from_image(patch("red"), doc="red.png", page=2)]
    colours.add_pages(pages)
    assert colours.search("red", k=1)[0].ref == ("red.png", 2)
    assert len(colours.search("red", where={"doc": "red.png"})) == 2


def test_an_index_is_opened_by_others(colours, tmp_path):
    with Retriever.open(tmp_path / "colours.visret") as reader:
        assert reader.search("red")[0].doc == "red.png"
        colours.remove("red.png")
        assert reader.search("red")[0].doc == "red.png"  # one committed state, until it is refreshed
        assert reader.refresh()
        assert "red.png" not in {hit.doc for hit in reader.search("red")}
        assert not reader.refresh()


def test_several_threads_ask_while_one_adds(colours):
    wrong = []

    def ask():
        for _ in range(20):
            for colour in COLOURS:
                if colours.search(colour, k=1)[0].doc.split(".")[0] != colour:
                    wrong.append(colour)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(5):
        colours.add_pages([Page.from_image(patch("white"), doc=f"white{i}.png")])
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(colours.documents()) == 9


def test_bad_questions_are_refused(colours):
    for question in ("", "   ", "mauvish"):
        with pytest.raises(InvalidQuery):
            colours.search(question)
    for k in (0, 2.5, "3"):
        with pytest.raises(InvalidQuery, match="at least 1"):
            colours.search("red", k=k)
    for wrong in ("red", [None], [b"red"]):
        with pytest.raises(InvalidQuery, match="text"):
            colours.search_many(wrong)
    with pytest.raises(InvalidQuery, match="no page 2"):
        colours.heatmap("red", ("red.png", 2))


class Other:
    """An encoder that says something else of how it prepares pages."""

    def __init__(self, encoder, **preprocessing):
        self.spec = encoder.spec
        self.preprocessing = {**encoder.preprocessing, **preprocessing}


def test_an_index_belongs_to_its_model(colours, tmp_path):
    path = tmp_path / "colours.visret"
    toy = load_encoder("toy")
    assert Retriever.open(path, model=Other(toy)).encoder
    with pytest.raises(ModelMismatch, match="cells"):
        Retriever.open(path, model=Other(toy, cells=99)).encoder  # noqa: B018


def test_vectors_of_two_dtypes_never_meet(tmp_path, monkeypatch):
    """What "auto" is differs between machines; an index goes on as it was begun."""
    toy = load_encoder("toy")
    path = tmp_path / "i.visret"
    Retriever.create(path, model=Other(toy, dtype="bfloat16")).close()
    with pytest.raises(ModelMismatch, match=r"dtype = 'bfloat16', .* 'float32'; load it with dtype='bfloat16', or"):
        Retriever.open(path, model=Other(toy, dtype="float32")).encoder  # noqa: B018
    with monkeypatch.context() as patch:
        patch.setattr("visret.retriever.load_encoder", lambda name, *, dtype: Other(toy, dtype=dtype))
        assert Retriever.open(path).encoder.preprocessing["dtype"] == "bfloat16"


def test_create_leaves_what_is_there_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PageIndexError, match="not empty"):
        Retriever.create(tmp_path, model="toy")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(PageIndexError, match="visret index"):
        Retriever.open(tmp_path / "nothing")


def test_pages_a_model_cannot_read_are_empty_not_failed(tmp_path):
    with Retriever.create(tmp_path / "t.visret", model="toy") as retriever:
        report = retriever.add_pages([Page.from_text("red", doc="a.txt"), Page.from_image(patch("red"), doc="b.png")])
        assert [(page.path, page.page) for page in report.empty] == [("a.txt", 1)]
        assert report.failed == []
        assert [hit.doc for hit in retriever.search("red")] == ["b.png"]
        with pytest.raises(InvalidQuery):
            retriever.picture(("a.txt", 1))


def test_info_counts(colours):
    facts = colours.info()
    assert (facts["documents"], facts["pages"], facts["model"], facts["codec"]) == (4, 4, "toy", "int8")
    assert (facts["dim"], facts["stored_dim"], facts["pool"], facts["prune"], facts["fitted_to"]) == (4, 4, 1, 0.0, 0)
    assert facts["vectors"] == 4 * 16 * 10
    assert facts["bytes"] > 0


# ---- every way to store vectors

STORAGES = [
    *({"codec": codec} for codec in CODECS),
    *({"codec": codec, "dim": 48} for codec in CODECS),
    {"pool": 3},
    {"prune": 0.5},
    {"codec": "residual2", "dim": 48, "pool": 2, "prune": 0.3},
]


PAINT = {"green": "lime"}  # what toy calls green


class WideToy:
    """`toy` in 96 dimensions, turned at random: four dimensions are too few for a bit each."""

    def __init__(self):
        self.toy = load_encoder("toy")
        self.spec = replace(self.toy.spec, dim=96)
        self.preprocessing, self.can_read = self.toy.preprocessing, self.toy.can_read
        turned = np.linalg.qr(np.random.default_rng(1).standard_normal((96, 4)))[0]
        self.axes = np.ascontiguousarray(turned.T, np.float32)

    def encode_pages(self, pages):
        return [replace(page, vectors=page.vectors @ self.axes) for page in self.toy.encode_pages(pages)]

    def encode_queries(self, texts):
        return [replace(query, vectors=query.vectors @ self.axes) for query in self.toy.encode_queries(texts)]


@pytest.fixture(scope="module", params=STORAGES, ids=lambda storage: "-".join(map(str, storage.values())))
def made(request, tmp_path_factory):
    """The folder of an index of pages of grey patches and one painted cell each, and its model."""
    path, wide = tmp_path_factory.mktemp("made") / "s.visret", WideToy()
    greys = np.random.default_rng(0).integers(0, 256, (len(COLOURS), 16, 10), np.uint8)
    pages = []
    for i, colour in enumerate(COLOURS):
        image = Image.fromarray(greys[i]).resize((320, 512), Image.Resampling.NEAREST).convert("RGB")
        ImageDraw.Draw(image).rectangle(
            [(i + 1) * 32, i * 32, (i + 1) * 32 + 31, i * 32 + 31], fill=PAINT.get(colour, colour)
        )
        pages.append(Page.from_image(image, doc=f"{colour}.png"))
    with Retriever.create(path, model=wide, **request.param) as retriever:
        assert retriever.add_pages(pages).failed == []
    return path, wide


@pytest.fixture
def stored(made, tmp_path):
    """It, opened again; a copy, so that a test may write to it."""
    path, wide = made
    with Retriever.open(shutil.copytree(path, tmp_path / path.name), model=wide) as retriever:
        yield retriever


def test_a_painted_cell_is_found_where_it_was_whatever_is_stored(stored):
    for i, colour in enumerate(COLOURS):
        hit = stored.search(colour, k=4)[0]
        assert hit.doc == f"{colour}.png"
        why = stored.heatmap(colour, hit)
        assert why.score == pytest.approx(hit.score, abs=1e-5)
        place = np.unravel_index(why.by_place.argmax(), why.by_place.shape)
        assert place == (i, i + 1)
        assert np.unravel_index(np.nanargmax(why.maps[0]), why.maps[0].shape) == (i, i + 1)
        best = why.boxes[0]
        assert best.x0 <= (i + 1.5) / 10 <= best.x1
        assert best.y0 <= (i + 0.5) / 16 <= best.y1


def test_scores_are_the_definition_whatever_is_stored(stored):
    (query,) = stored.encoder.encode_queries(["blue yellow"])
    asked = stored._index.snapshot.fitted.project(query.vectors)
    for hit in stored.search("blue yellow"):
        vectors = stored._index.embedding(hit.ref).vectors
        expected = reference.page_scores(asked, vectors, np.array([0, len(vectors)]))[0]
        assert hit.score == pytest.approx(expected, abs=1e-5)


def test_what_is_stored_is_as_small_as_asked(stored):
    facts, storage = stored.info(), stored.storage
    a_page = -(-(160 - int(160 * storage.prune)) // storage.pool)
    if storage.pool == 1:
        assert facts["vectors"] == len(COLOURS) * a_page
    assert 0 < facts["vectors"] <= len(COLOURS) * a_page
    assert (facts["codec"], facts["pool"], facts["prune"]) == (storage.codec, storage.pool, storage.prune)
    assert facts["stored_dim"] == (storage.dim or 96)
    learns = storage.dim or storage.codec.startswith("residual")
    assert facts["fitted_to"] == (facts["vectors"] if learns else 0)
    (segment,) = stored._index.snapshot.segments
    assert sum(array.nbytes for array in segment.rows if array is not None) == (
        facts["vectors"] * segment.codec.bytes_a_vector
    )


def test_pages_that_come_later_are_stored_the_same_way(stored):
    stored.add_pages([Page.from_image(patch("red", cell=(3, 4), background="grey"), doc="late.png")])
    assert {hit.doc for hit in stored.search("red", k=2)} == {"red.png", "late.png"}
    assert stored.heatmap("red", ("late.png", 1)).by_place.argmax() == 3 * 10 + 4
    assert stored.search("yellow", k=1)[0].doc == "yellow.png"
    assert stored._index.verify() == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codec": "zip"}, "codec must be one of float32, .*, got 'zip'"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"dim": 4}, "dim must be below the 4 of toy, got 4"),
        ({"pool": 0}, "pool must be at least 1"),
        ({"prune": 1.0}, "prune must be .* below 1"),
    ],
)
def test_storage_that_cannot_be_is_refused_in_words(tmp_path, wrong, message):
    with pytest.raises(VisretError, match=message):
        Retriever.create(tmp_path / "w.visret", model="toy", **wrong)
    assert not (tmp_path / "w.visret").exists()


def test_a_large_index_is_searched_through_its_summaries(colours, monkeypatch):
    exact = colours.search_many(["red", "blue"], k=3)
    assert colours.info()["scan"] == "every page"
    monkeypatch.setattr(candidates, "EXACT_UP_TO", 0)
    assert colours.info()["scan"] == "the summary of every page, then those pages that may be among the best"
    assert colours.search_many(["red", "blue"], k=3) == exact
    assert colours.search_many(["red", "blue"], k=3, exact=True) == exact
    among = colours.search("red", where={"doc": ["blue.png", "green.png"]})
    assert {hit.doc for hit in among} == {"blue.png", "green.png"}


@pytest.mark.heavy
def test_an_index_is_scanned_on_a_device(colours):
    with Retriever.open(colours.info()["path"], device="cpu") as there:
        assert [hit.ref for hit in there.search("red")] == [hit.ref for hit in colours.search("red")]
        assert there.search("red")[0].score == pytest.approx(colours.search("red")[0].score, abs=1e-6)
    with (
        Retriever.open(colours.info()["path"], device="nonsense") as there,
        pytest.raises(VisretError, match="nonsense"),
    ):
        there.search("red")
