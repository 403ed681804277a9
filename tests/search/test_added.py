"""Searches by the vectors of added models: as a plain loop finds them, whatever is filtered, removed or lacking."""

import json

import numpy as np
import pytest
from support.words import DIM, Colours, Words

from visret import Page, Retriever, cli, embedders, evaluate
from visret.errors import InvalidArgument, ShapeError
from visret.index import PageIndex
from visret.ingest import added
from visret.search import scorers
from visret.search.plans import Plan

TEXTS = [" ".join(f"w{(row * 7 + n * n) % 40}" for n in range(3 + row % 9)) for row in range(30)]
NAME = "naver/splade-v3"  # of an entry, whose weights nobody loads here
QUESTIONS = ["w1 w4 w9", "w30", "w2 w2 w39 w16"]


def pages(rows=range(30)):
    return [Page.from_text(TEXTS[row], doc=f"{row}", metadata={"even": row % 2 == 0}) for row in rows]


def expected(kind, question, rows=range(30)):
    """The score of every page that is found, by a plain loop."""
    model = Words("sparse" if kind == "sparse" else "embed")
    (asked,) = model.embed_queries([question])
    out = {}
    for row in rows:
        (made,) = model.embed_pages([Page.from_text(TEXTS[row], doc="x")])
        if kind == "sparse":
            a, b = np.zeros(DIM), np.zeros(DIM)
            a[asked.ids], b[made.ids] = asked.weights, made.weights
            score = float(a @ b)
            if score:
                out[f"{row}"] = score
        else:
            out[f"{row}"] = float((made @ asked[0]).max())
    return out


def found(retriever, question, kind, k=99, **more):
    return {hit.doc: hit.score for hit in retriever.search(question, k=k, by=kind, **more)}


@pytest.fixture
def retriever(tmp_path):
    """30 pages in three segments, without a model of their own."""
    with Retriever.create(tmp_path / "i", model="none") as made:
        for start in range(0, 30, 10):
            made.add_pages(pages(range(start, start + 10)))
        yield made


@pytest.fixture(params=["dense", "sparse"])
def kind(request):
    return request.param


def words(kind, name="words"):
    return Words("sparse" if kind == "sparse" else "embed", name)


def assert_same(got, wanted, kind):
    # The rows of single vectors have 8 bits for each component, whose largest is 4 here.
    assert got == pytest.approx(wanted, abs=1e-5 if kind == "sparse" else 0.1)
    assert list(got.values()) == sorted(got.values(), reverse=True)


def test_scores_are_those_of_a_plain_loop(retriever, kind):
    filled = retriever.add_model(words(kind))
    assert (filled.model, filled.kind, filled.pages, filled.empty, filled.failed) == ("words", kind, 30, 0, [])
    for question in QUESTIONS:
        assert_same(found(retriever, question, kind), expected(kind, question), kind)


def test_a_filter_costs_no_page(retriever, kind):
    retriever.add_model(words(kind))
    for question in QUESTIONS:
        even = expected(kind, question, range(0, 30, 2))
        got = found(retriever, question, kind, where={"even": True})
        assert_same(got, even, kind)
        assert list(found(retriever, question, kind, k=3, where={"even": True})) == list(got)[:3]
        few = found(retriever, question, kind, among=["1", "2", "23"])
        assert_same(few, expected(kind, question, [1, 2, 23]), kind)


def test_removal_compaction_and_a_new_state_keep_scores(retriever, kind):
    retriever.add_model(words(kind))
    retriever.remove(["3", "4", "17"])
    left = [row for row in range(30) if row not in (3, 4, 17)]
    before = [found(retriever, question, kind) for question in QUESTIONS]
    for got, question in zip(before, QUESTIONS, strict=True):
        assert_same(got, expected(kind, question, left), kind)
    retriever.compact()
    assert [found(retriever, question, kind) for question in QUESTIONS] == before
    retriever.add_pages(pages([3]))
    for question in QUESTIONS:
        assert_same(found(retriever, question, kind), expected(kind, question, [*left, 3]), kind)
    assert retriever._index.verify() == []


def test_pages_that_come_later_are_done_in_the_same_call_or_named(retriever, kind, tmp_path, caplog):
    model = words(kind)
    retriever.add_model(model)
    retriever.add_pages([Page.from_text("w1 new", doc="new")])
    assert model.pages == 31
    assert "new" in found(retriever, "new", kind)
    with Retriever.open(tmp_path / "i") as other:  # which cannot load it
        other.add_pages([Page.from_text("w1 newer", doc="newer")])
        assert f"1 pages have no {kind} vectors of words yet" in caplog.text
        assert other.info()["lacks"][-1].startswith(
            f"1 pages have no {kind} vectors of words: visret add-model makes them"
        )
        assert other.info()["added_models"] == [f"{kind}: words, 31 of 32 pages"]
        other.add_model(words(kind))
        assert not any(kind in line for line in other.info()["lacks"])
        assert "newer" in found(other, "newer", kind)


def test_what_is_lacking_is_said_with_the_search(retriever, kind, tmp_path):
    retriever.add_model(words(kind))
    with Retriever.open(tmp_path / "i") as other:
        other.add_pages([Page.from_text("w1", doc="new")])
    retriever.refresh()
    hits = retriever.search("w1", by=kind)
    assert "new" not in [hit.doc for hit in hits]
    (warning,) = hits.warnings
    assert warning.startswith(f"1 of 31 pages have no {kind} vectors of words: visret add-model")
    assert retriever.search("w1", by="bm25").warnings == ()
    assert retriever.search("w1", by=Plan({"bm25": 1, kind: 1})).warnings == (warning,)


def test_pages_without_words_have_nothing_and_are_counted(retriever, kind, tmp_path):
    with Retriever.create(tmp_path / "pictures", model="toy") as made:
        from PIL import Image

        made.add_pages([Page.from_image(Image.new("RGB", (60, 60), name), doc=name) for name in ("red", "blue")])
        made.add_pages(
            [Page.from_image(Image.new("RGB", (60, 60), "green"), doc="green", words=[("red", (0, 0, 1, 1))])]
        )
        filled = made.add_model(words(kind))
        assert (filled.pages, filled.empty) == (1, 2)
        assert list(found(made, "red", kind)) == ["green"]
        assert made.info()["added_models"] == [f"{kind}: words, 1 of 3 pages"]
        (hit,) = made.search("red", by=kind)  # the index's own model explains what the added one found
        assert made.search("red", by=kind, explain=False)[0].score == hit.score


def test_an_interrupted_run_goes_on_where_it_stopped(retriever, kind, monkeypatch):
    monkeypatch.setattr(added, "PAGES", 4)
    model = words(kind)
    model.stop_at = 17
    with pytest.raises(KeyboardInterrupt):
        retriever.add_model(model)
    assert model.pages == 14  # ten pages of the first segment, four of the second
    assert retriever._index.verify() == []
    assert len(retriever.search("w1", by=kind).warnings) == 1
    again, told = words(kind), []
    assert retriever.add_model(again, progress=lambda *one: told.append(one)).pages == 20
    assert again.pages == 16
    assert told[-1] == (20, 20)
    assert not list(retriever._index.path.glob("unfinished*"))
    for question in QUESTIONS:
        assert_same(found(retriever, question, kind), expected(kind, question), kind)


def test_one_page_that_cannot_be_done_does_not_stop_the_others(retriever, kind):
    model = words(kind)
    made = model._made

    def spoilt(text, *, split):
        if split and text == TEXTS[5]:
            raise ShapeError("too hot")
        return made(text, split=split)

    model._made = spoilt
    filled = retriever.add_model(model)
    assert [(failure.path, failure.page, failure.reason) for failure in filled.failed] == [("5", 1, "too hot")]
    assert (filled.pages, filled.empty) == (29, 0)
    rows = [row for row in range(30) if row != 5]
    assert_same(found(retriever, QUESTIONS[0], kind), expected(kind, QUESTIONS[0], rows), kind)


def test_a_model_that_looks_at_pages_gets_their_pictures_and_names_those_it_cannot_have(tmp_path, papers):
    with Retriever.create(tmp_path / "i", model="toy") as made:
        made.add(papers)
        assert made.add_model(Colours()).pages == 3
        first = made.search("blue", k=3, by="dense", explain=False)
        assert (first[0].doc, first[0].page) == ("one.pdf", 2)
        made.remove_model("colours")
        (papers / "two.pdf").unlink()
        filled = made.add_model(Colours())
        assert (filled.pages, [(failure.path, failure.page) for failure in filled.failed]) == (2, [("two.pdf", 1)])
        assert "is no longer there" in filled.failed[0].reason
        assert {hit.doc for hit in made.search("red", k=3, by="dense", explain=False)} == {"one.pdf"}


def test_a_function_makes_single_vectors(retriever, tmp_path):
    model = Words()

    def embed(texts):
        return np.concatenate([model._made(text, split=False) for text in texts]).tolist()

    assert retriever.add_model(embed, name="api").pages == 30
    hits = retriever.search("w1 w4", by="dense")
    assert 0 < hits[0].score <= 1.01
    with Retriever.open(tmp_path / "i") as other:
        with pytest.raises(InvalidArgument, match="cannot load: give it again with add_model"):
            other.search("w1 w4", by="dense")
        assert other.add_model(embed, name="api").pages == 0
        assert other.search("w1 w4", by="dense") == hits
    with pytest.raises(ShapeError, match=r"must return \(2, 64\) numbers for 2 texts"):
        retriever._added[2][1]._made(lambda texts: [[1.0]], ["a", "b"])
    for wrong, message in (
        ({"name": None}, "give the model a name"),
        ({"name": "quality"}, "that visret loads itself"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            retriever.add_model(embed, **wrong)
    with pytest.raises(InvalidArgument, match="a name, a folder, a model of sentence-transformers or a function"):
        retriever.add_model(3, name="three")


def test_a_model_is_removed_and_another_may_come(retriever, kind):
    retriever.add_model(words(kind))
    with pytest.raises(InvalidArgument, match=f"the {kind} vectors here are those of words; remove that model first"):
        retriever.add_model(words(kind, "other"))
    with pytest.raises(InvalidArgument, match=r"no model 'late' was added to this index \(there: words\)"):
        retriever.remove_model("late")
    retriever.remove_model(kind)
    assert retriever.info()["added_models"] == []
    if kind == "sparse":
        with pytest.raises(InvalidArgument, match="this index has no sparse vectors; visret add-model INDEX MODEL"):
            retriever.search("w1", by="sparse")
    assert retriever.add_model(words(kind, "other")).pages == 30


def test_single_vectors_of_an_added_model_take_the_place_of_means(tmp_path):
    with Retriever.create(tmp_path / "i", model="toy") as made:
        from PIL import Image

        made.add_pages(
            [Page.from_image(Image.new("RGB", (60, 60), "red"), doc="red", words=[("red", (0, 0, 1, 1))] * 2)]
        )
        before = made.search("red", by="dense")
        made.add_model(Words())
        assert made.search("red", by="dense")[0].score != before[0].score
        made.remove_model("dense")
        assert made.search("red", by="dense") == before


def test_a_new_commit_takes_over_what_is_open(retriever):
    retriever.add_model(Words())
    opened = scorers.Scorers()
    first = opened.of(retriever._index.snapshot, "dense")
    retriever.add_pages([Page.from_text("w1", doc="new")])
    second = opened.of(retriever._index.snapshot, "dense")
    assert all(second._segments[number] is part for number, part in first._segments.items())
    assert len(second._segments) == len(first._segments) + 1


def test_added_models_are_kept_by_a_reindex(tmp_path):
    with Retriever.create(tmp_path / "i", model="none") as made:
        made.add_pages(pages())
        made.add_model(Words("sparse"))
        made.reindex(model="none")
        assert made.info()["added_models"] == ["sparse: words, 30 of 30 pages"]
        assert_same(found(made, QUESTIONS[0], "sparse"), expected("sparse", QUESTIONS[0]), "sparse")
        with PageIndex.open(tmp_path / "i") as index:
            assert index.verify() == []


def test_the_command_adds_and_removes_a_model(retriever, kind, tmp_path, monkeypatch, capsys):
    retriever.add_pages([Page.from_text("w7 w8", doc="last")])
    monkeypatch.setattr(embedders, "load_embedder", lambda model, **_: words(kind, getattr(model, "name", model)))
    index = str(tmp_path / "i")
    assert cli.main(["add-model", index, NAME]) == 0
    assert capsys.readouterr().out == f"31 pages by {NAME}: visret search --by {kind}\n"
    assert cli.main(["add-model", index, NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pages"] == 0
    assert cli.main(["search", index, "w7 w8", "--by", kind, "--json", "-k", "99"]) == 0
    found = {hit["doc"]: list(hit["scores"]) for hit in json.loads(capsys.readouterr().out)["hits"]}
    assert found["last"] == [kind]
    assert cli.main(["info", index]) == 0
    assert "added models" in (told := capsys.readouterr().out)
    assert f"{kind}: {NAME}, 31 of 31 pages" in told
    assert cli.main(["remove-model", index, NAME]) == 0
    assert cli.main(["remove-model", index, NAME]) == 2
    assert "was added to this index (there: none)" in capsys.readouterr().err


def test_a_plan_and_an_evaluation_know_both(retriever):
    retriever.add_model(Words("embed", "single"))
    retriever.add_model(Words("sparse", "sparse"))
    plan = Plan({"bm25": 0.5, "dense": 1, "sparse": 1}, depth=3)
    hits = retriever.search("w1 w4", k=5, by=plan)
    assert {"bm25", "dense", "sparse"} <= {name for hit in hits for name in hit.scores}
    systems = [evaluate.system_of(retriever, by=by) for by in ("dense", "sparse", plan)]
    asked = [evaluate.JudgedQuestion("1", "w1 w4", {})]
    for system in systems:
        ((first, *_),) = system.rank(asked, 3)
        assert first.doc == hits[0].doc
