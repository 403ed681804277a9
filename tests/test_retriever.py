"""The front door, on pages made in memory with `toy`: what is asked, is found, explained, filtered, removed."""

import math
import shutil
import threading
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from PIL import Image, ImageDraw

from visret import Page, PageRef, Retriever, load_encoder
from visret.codec import CODECS
from visret.errors import InvalidArgument, ModelMismatch, PageIndexError, VisretError
from visret.maxsim import reference
from visret.search.late_interaction import LENGTH

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
        exact = reference.page_scores(query.vectors, stored, np.array([0, len(stored)]))[0]
        assert hit.scores == {"late": pytest.approx(exact)}
        assert hit.score == pytest.approx(exact - LENGTH * math.log(160))
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
    with pytest.raises(InvalidArgument, match="shelf"):
        colours.search("red", where={"shelv": "b"})


def test_among_ranks_only_the_callers_pages(colours):
    some = [PageRef("blue.png", 1), ("green.png", 1)]
    assert {hit.doc for hit in colours.search("red", among=some)} == {"blue.png", "green.png"}
    assert colours.search("red", among=[]) == []
    assert len(colours.search("red", among=colours.search("blue", k=3))) == 3
    with pytest.raises(InvalidArgument, match="nowhere"):
        colours.search("red", among=[("nowhere.png", 1)])


def test_many_questions_are_each_question(colours):
    together = colours.search_many(COLOURS, k=3)
    assert together == [colours.search(colour, k=3) for colour in COLOURS]
    assert colours.search_many([]) == []


def test_remove_and_add_again(colours):
    colours.remove("red.png")
    assert "red.png" not in {hit.doc for hit in colours.search("red")}
    with pytest.raises(InvalidArgument, match=r"red\.png"):
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
        with pytest.raises(InvalidArgument):
            colours.search(question)
    for k in (0, 2.5, "3"):
        with pytest.raises(InvalidArgument, match="at least 1"):
            colours.search("red", k=k)
    for wrong in ("red", [None], [b"red"]):
        with pytest.raises(InvalidArgument, match="text"):
            colours.search_many(wrong)
    with pytest.raises(InvalidArgument, match="no page 2"):
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
        with pytest.raises(InvalidArgument):
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
    for hit, alone in zip(stored.search("blue yellow"), stored.search("blue yellow", by="maxsim"), strict=True):
        vectors = stored._index.embedding(hit.ref).vectors
        expected = reference.page_scores(asked, vectors, np.array([0, len(vectors)]))[0]
        assert hit.scores["late"] == pytest.approx(expected, abs=1e-5)
        assert hit.score == pytest.approx(expected - 2 * LENGTH * math.log(160), abs=1e-5)  # before pruning and pooling
        assert (alone.ref, alone.score, alone.scores) == (hit.ref, hit.scores["late"], hit.scores)


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
    monkeypatch.setattr("visret.search.late_interaction.EXACT_UP_TO", 0)
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


def test_metadata_is_set_without_reading_again(colours):
    assert colours.set_metadata("red.png", {"year": np.int64(2024), "shelf": None}) == {"year": 2024}
    assert colours.set_metadata("red.png", {"day": date(2024, 5, 1), "gone": None}) == {
        "year": 2024,
        "day": "2024-05-01",
    }
    assert [hit.doc for hit in colours.search("blue", where={"day": {">=": date(2024, 1, 1)}})] == ["red.png"]
    assert colours.document("blue.png").metadata == {"shelf": "a"}
    before = colours._index.snapshot.commits
    assert colours.set_metadata("red.png", {}) == {"year": 2024, "day": "2024-05-01"}
    assert colours._index.snapshot.commits == before
    for changes in ({"doc": "x"}, {"x": b""}, {5: 1}, "text", None):
        with pytest.raises(InvalidArgument, match="metadata of"):
            colours.set_metadata("red.png", changes)
    with pytest.raises(InvalidArgument, match=r"no document 'redd.png' in this index; did you mean 'red.png'"):
        colours.set_metadata("redd.png", {"a": 1})


def test_others_who_have_the_index_open_see_new_metadata(colours):
    with Retriever.open(colours._index.path, model=colours.encoder) as other:
        assert len(other.search("red", where={"shelf": "a"})) == 4
        colours.set_metadata("red.png", {"shelf": "b"})
        assert other.refresh()
        assert [hit.doc for hit in other.search("red", where={"shelf": "b"})] == ["red.png"]


def test_pages_that_are_added_again_keep_the_metadata_of_their_document(colours):
    page = Page.from_image(patch("red"), doc="red.png")
    assert colours.add_pages([page]).updated == 0
    assert colours.document("red.png").metadata == {"shelf": "a"}
    assert colours.add_pages([page], metadata={}).updated == 1
    assert colours.document("red.png").metadata == {}


def test_numbers_of_numpy_and_names_that_are_numbers(colours):
    colours.add_pages([Page.from_image(patch("red"), doc=5)], metadata={"year": np.int64(2024), "ok": np.True_})
    assert [hit.doc for hit in colours.search("red", k=np.int64(1), where={"year": np.float64(2024)})] == ["5"]
    assert colours.search("red", where={"doc": 5}) == colours.search("red", where={"doc": {np.int8(5), "x"}})
    assert [hit.doc for hit in colours.search("red", where={"ok": np.True_, "doc": {"!=": "x"}})] == ["5"]
    assert len(colours.search("red", where={"doc": {"!=": 5}})) == 4
    assert colours.heatmap("red", (5, np.int64(1))).embedding.ref == ("5", 1)
    assert colours.page((5, 1)).ref == ("5", 1)
    assert colours.document(5).doc == "5"
    colours.remove([np.int64(5)])
    assert "5" not in colours.documents()


@pytest.mark.parametrize(
    "values", [("a", "b"), {"a", "b"}, np.array(["a", "b"]), iter(["a", "b"]), ["a", np.str_("b")]]
)
def test_any_of_several_values(colours, values):
    assert len(colours.search("red", where={"shelf": values})) == 4


@pytest.mark.parametrize("k", [True, "3", 2.0, 0, -1, None])
def test_k_is_a_whole_number(colours, k):
    with pytest.raises(InvalidArgument, match="k must be a whole number"):
        colours.search("red", k=k)


def test_a_huge_k_and_a_generator_of_questions(colours):
    assert len(colours.search("red", k=10**30)) == 4
    assert [len(hits) for hits in colours.search_many(question for question in ("red", "blue"))] == [4, 4]
    for wrong in (5, None):
        with pytest.raises(InvalidArgument, match="a question as text"):
            colours.search_many(wrong)


def test_hits_are_keys_equal_by_value(colours):
    one, again = colours.search("red", k=1), colours.search("red", k=1)
    assert len({*one, *again}) == 1
    assert len({*colours.search("red"), colours.search("blue", k=1)[0]}) == 5
    assert {colours.document("red.png"): 1}[colours.document("red.png")] == 1


def test_among_are_names_pages_and_hits(colours):
    colours.add_pages([Page.from_image(patch("red"), doc="two", page=page) for page in (1, 2)])
    hit = colours.search("blue", k=1)[0]
    for among, expected in [
        ("two", {("two", 1), ("two", 2)}),
        (("two", 2), {("two", 2)}),
        (PageRef("two", 2), {("two", 2)}),
        (hit, {hit.ref}),
        (["two", hit, ("red.png", 1), ["two", np.int64(2)]], {("two", 1), ("two", 2), hit.ref, ("red.png", 1)}),
        (("red.png", "two"), {("two", 1), ("two", 2), ("red.png", 1)}),
        ([], set()),
    ]:
        assert {one.ref for one in colours.search("red", among=among)} == expected
    for wrong in ("twoo", [("two",)], [("two", 3)], [("two", "2")], 5.5, [None]):
        with pytest.raises(InvalidArgument):
            colours.search("red", among=wrong)


@pytest.mark.parametrize("sizes", [{"dim": np.int64(2)}, {"pool": np.int32(2)}, {"prune": np.float32(0.5)}])
def test_storage_takes_numbers_of_numpy(tmp_path, sizes):
    with Retriever.create(tmp_path / "i", model="toy", **sizes) as made:
        assert getattr(made.storage, *sizes) == next(iter(sizes.values()))


UNKNOWN = ("如何从U盘安装系统", "วิธีติดตั้งระบบ ?", "🙂", "\u200b")


@pytest.mark.heavy
def test_a_question_of_unknown_words_finds_nothing_but_weak_hits_and_says_so(tmp_path, caplog):
    """Every unknown piece is like every other: they would find each other, with the best of scores."""
    with Retriever.create(tmp_path / "i.visret", model="all-minilm-l6-v2") as words:
        words.add_pages(
            [
                Page.from_text("Its legend has the glyphs ☃ 💾 กข 龘.", doc="legend"),
                Page.from_text("Bearings.", doc="b"),
            ]
        )
        for question in UNKNOWN:
            hits = words.search(question)
            assert len(hits) == 2
            assert all(hit.weak for hit in hits), question
            (warning,) = hits.warnings
            assert warning.startswith("all-minilm-l6-v2 knows no word of this question")
            assert warning in caplog.messages
            ((explained, *_),) = [list(found) for found in words.explained([question])]
            assert explained[0] == hits[0]
            assert next(words.explained([question])).warnings == hits.warnings


@pytest.mark.heavy
def test_the_known_words_of_a_question_decide(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="all-minilm-l6-v2") as words:
        words.add_pages(
            [Page.from_text("The main bearing was inspected.", doc="a"), Page.from_text("☃ 💾 龘", doc="b")]
        )
        plain, mixed = words.search_many(["main bearing", "龘龘 main bearing 🙂"])
        assert plain.warnings == ()
        assert plain == mixed
        assert [(hit.doc, hit.weak) for hit in mixed] == [("a", False), ("b", True)]
        (warning,) = mixed.warnings
        assert "does not know '龘龘', '🙂' in this question" in warning
