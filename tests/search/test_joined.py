"""Indexes of the same documents that are searched together: one ranking, as a plain loop makes it of both."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from support.judge import Judge
from support.sheets import write_pdf
from support.word_model import Words

from visret import Page, Retriever, cli, evaluate
from visret.errors import InvalidArgument
from visret.search import leading
from visret.search.plans import RANK_CONSTANT, Plan

COLOURS = ["red", "green", "blue", "black", "white"]
ORDER = [*(f"d{n:02}" for n in range(20)), "scan", "plain"]  # of documents; pages with equal scores are in it
BOX = (0.1, 0.1, 0.5, 0.2)
SCAN, PLAIN = "scan", "plain"  # a page that only pictures can find, and one that only words can


def page(doc, colour, words, **metadata):
    """A page of a colour, with words on it that need not say so."""
    image = Image.new("RGB", (60, 60), "lime" if colour == "green" else colour)
    return Page.from_image(image, doc=doc, words=[(word, BOX) for word in words.split()], metadata=metadata)


def pages():
    rng = np.random.default_rng(3)
    drawn = rng.integers(len(COLOURS), size=(20, 4)).tolist()
    made = [
        page(f"d{n:02}", COLOURS[one], " ".join(COLOURS[word] for word in words), number=n)
        for n, (one, *words) in enumerate(drawn)
    ]
    return [
        *made,
        page(SCAN, "red", "", number=100),
        Page.from_text("red red red", doc=PLAIN, metadata={"number": 101}),
    ]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The retrievers of words and of pictures, and the one that asks both."""
    folder = tmp_path_factory.mktemp("both")
    text = Retriever.create(folder / "text.visret", model=Words())
    pictures = Retriever.create(folder / "pictures.visret", model="toy")
    for one in (text, pictures):
        one.add_pages(pages(), ocr="never")
    with text.fused_with(pictures=pictures) as fused:
        yield text, pictures, fused


def scores(retriever, question, **how):
    return {hit.doc: hit.score for hit in retriever.search(question, k=99, explain=False, **how)}


def by_loop(found, weights, fusion):
    """The fused scores of all pages: each way made comparable, and the mean over those that have the page."""
    out = {}
    for doc in {doc for one in found.values() for doc in one}:
        total = weighed = 0.0
        for name, one in found.items():
            if doc not in one:
                continue
            if fusion == "rank":
                order = sorted(one, key=lambda doc: (-one[doc], ORDER.index(doc)))
                part = 1 / (RANK_CONSTANT + order.index(doc) + 1)
            else:
                low, high = min(one.values()), max(one.values())
                part = (one[doc] - low) / (high - low) if high > low else 1.0
            total, weighed = total + weights[name] * part, weighed + weights[name]
        out[doc] = total * sum(weights.values()) / weighed
    return out


@pytest.mark.parametrize("question", ["red", "green blue", "white black red"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_relative_scores_are_those_of_a_plain_loop(both, question, share):
    text, pictures, fused = both
    weights = {"late": share, "pictures": 1 - share}
    wanted = by_loop({"late": scores(text, question), "pictures": scores(pictures, question)}, weights, "relative")
    got = scores(fused, question, by=Plan(weights))
    assert got == pytest.approx(wanted, abs=1e-6)
    assert list(got.values()) == sorted(got.values(), reverse=True)
    if share == 0.5:
        assert scores(fused, question) == got


def test_ranks_are_fused_as_in_a_plain_loop(both):
    text, pictures, fused = both
    found = {"late": scores(text, "green blue"), "pictures": scores(pictures, "green blue")}
    wanted = by_loop(found, {"late": 0.3, "pictures": 0.7}, "rank")
    got = scores(fused, "green blue", by=Plan({"late": 0.3, "pictures": 0.7}, fusion="rank"))
    assert got == pytest.approx(wanted)
    assert list(got.values()) == sorted(got.values(), reverse=True)


def test_few_candidates_find_what_all_of_them_do(both):
    _, _, fused = both
    all_of_them = fused.search("red", k=5)
    few = fused.search("red", k=5, by=Plan({"late": 0.5, "pictures": 0.5}, depth=20))
    assert [hit.ref for hit in few] == [hit.ref for hit in all_of_them]


def test_a_page_of_one_index_is_found_by_it_and_says_so(both):
    _, _, fused = both
    hits = fused.search("red", k=99)
    found = {hit.doc: hit for hit in hits}
    assert set(found[SCAN].scores) == {"pictures"}
    assert set(found[PLAIN].scores) == {"late"}
    assert {SCAN, PLAIN} <= {hit.doc for hit in hits[:8]}
    assert all(set(hit.scores) == {"late", "pictures"} for hit in hits if hit.doc not in (SCAN, PLAIN))
    assert hits.warnings == (
        "1 of 22 pages are not in text.visret, and are ranked by the others alone",
        "1 of 22 pages are not in pictures, and are ranked by the others alone",
    )
    about = fused.heatmap("red", found[SCAN]).about
    assert about.endswith("They are those of the index pictures, the only one that has this page.")
    assert fused.search("red", by="late").warnings == ("1 of 22 pages are only in pictures, which is not searched",)


def test_scores_and_places_are_those_of_the_index_itself(both):
    text, pictures, fused = both
    alone = {hit.doc: hit for hit in text.search("red blue", k=99)}
    seen = {hit.doc: hit for hit in pictures.search("red blue", k=99)}
    for hit in fused.search("red blue", k=99):
        first = alone.get(hit.doc, seen.get(hit.doc))
        assert (hit.text, hit.passage) == (first.text, first.passage)
        assert hit.scores == {
            **({"late": alone[hit.doc].scores["late"]} if hit.doc in alone else {}),
            **({"pictures": seen[hit.doc].scores["late"]} if hit.doc in seen else {}),
        }
        if hit.doc in alone:
            assert (hit.weak, hit.relevance) == (first.weak, first.relevance)
    both_have = next(hit for hit in fused.search("red blue") if hit.doc in alone and hit.doc in seen)
    here, there = (fused.heatmap("red blue", both_have, index=index) for index in (None, "pictures"))
    np.testing.assert_array_equal(here.maps, text.heatmap("red blue", both_have.ref).maps)
    np.testing.assert_array_equal(there.maps, pictures.heatmap("red blue", both_have.ref).maps)
    assert "late" in here.about
    assert "pictures" in here.about
    assert fused.passages_of("red blue", both_have)[0] == both_have.passage
    assert fused.passages_of("red blue", both_have, index="pictures") == pictures.passages_of("red blue", both_have.ref)


def test_one_index_alone_ranks_as_it_does_by_itself(both):
    text, pictures, fused = both
    for by, alone in (("late", text), ("pictures", pictures)):
        assert scores(fused, "blue", by=by) == scores(alone, "blue")
    assert scores(fused, "blue", by="bm25") == scores(text, "blue", by="bm25")
    hit = fused.search("blue", k=1, by="pictures")[0]
    assert fused.heatmap("blue", hit).about.endswith("They are those of the index pictures.")
    why = next(fused.explained(["blue"], k=1, by="pictures"))[0][1]
    np.testing.assert_array_equal(why.maps, pictures.heatmap("blue", hit.ref).maps)


def test_words_can_be_fused_with_pictures(both):
    text, _, fused = both
    hits = fused.search("blue", k=99, by=Plan({"bm25": 0.5, "pictures": 0.5}))
    words = scores(text, "blue", by="bm25")
    assert {hit.doc: hit.scores["bm25"] for hit in hits if "bm25" in hit.scores} == pytest.approx(words)
    assert {SCAN} <= {hit.doc for hit in hits}


def test_filters_and_lists_of_pages_apply_in_both(both):
    _, _, fused = both
    where = {"number": {">=": 10}}
    every = list(fused.search("red", k=99))
    hits = fused.search("red", k=99, where=where)
    assert {hit.doc for hit in hits} == {hit.doc for hit in every if hit.metadata["number"] >= 10}
    assert len(hits) == 12
    for given in ({"not": where}, {"or": [{"doc": SCAN}, {"page": 2}]}, {"and": []}, {"or": []}, {"source": None}):
        passing = {hit.doc for hit in fused.search("red", k=99, where=given)}
        assert (
            len(passing) == {"not": 10, "or": 1 if given.get("or") else 0, "and": 22, "source": 22}[next(iter(given))]
        )
    assert {hit.doc for hit in fused.search("red", among=[SCAN, (PLAIN, 1), "d03"])} == {SCAN, PLAIN, "d03"}
    assert fused.search("red", where={"doc": "nothing"}) == []
    with pytest.raises(
        InvalidArgument, match="no page has metadata 'year'; filters can use: doc, page, source, number"
    ):
        fused.search("red", where={"year": 1})
    with pytest.raises(InvalidArgument, match="no document 'd0' in this index; did you mean"):
        fused.search("red", among="d0")
    with pytest.raises(InvalidArgument, match="no page 2 of scan in these indexes"):
        fused.search("red", among=[(SCAN, 2)])


def test_the_parts_of_a_ranking_are_those_of_the_whole(both):
    _, _, fused = both
    whole = [hit.ref for hit in fused.search("red green", k=22)]
    assert [hit.ref for hit in fused.search("red green", k=5, offset=7)] == whole[7:12]
    assert [hit.ref for hit in fused.search("red green", k=22, group_by="document")] == whole
    hits = fused.search("red green", k=22)
    assert [hit.ref for hit in fused.search("red green", k=22, weak=False)] == [hit.ref for hit in hits if not hit.weak]
    assert any(hit.weak for hit in hits)
    with pytest.raises(InvalidArgument, match="min_score needs a model"):
        fused.search("red green", k=22, min_score=0.1)
    told = fused.search("red green", k=22, min_score=0.1, by="late")
    assert all(hit.relevance >= 0.1 for hit in told)
    with pytest.raises(InvalidArgument, match=r"pages are ranked by 'pictures' or 'late' or .*, not by 'photos'"):
        fused.search("red", by="photos")


def test_a_page_is_known_by_its_content_whatever_its_name(tmp_path):
    """The same file under two names is one document; a file that has changed is another, and is left out."""
    write_pdf(tmp_path / "a" / "one.pdf", "red", "blue")
    write_pdf(tmp_path / "a" / "two.pdf", "green", "white")
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "one.pdf", tmp_path / "b" / "uno.pdf")
    write_pdf(tmp_path / "b" / "two.pdf", "black")  # another document of that name
    first = Retriever.create(tmp_path / "first.visret", model="toy")
    first.add(tmp_path / "a", metadata={"kept": True})
    second = Retriever.create(tmp_path / "second.visret", model="toy")
    second.add(tmp_path / "b", metadata={"here": 2})
    with first.fused_with(other=second) as fused:
        hits = fused.search("red", k=9)
        assert {(hit.doc, hit.page): set(hit.scores) for hit in hits} == {
            ("one.pdf", 1): {"late", "other"},
            ("one.pdf", 2): {"late", "other"},
            ("two.pdf", 1): {"late"},
            ("two.pdf", 2): {"late"},
            ("other/two.pdf", 1): {"other"},
        }
        assert (hits[0].doc, hits[0].page) == ("one.pdf", 1)
        assert hits[0].metadata == {"kept": True, "here": 2}
        assert fused.documents() == ["one.pdf", "two.pdf", "other/two.pdf"]
        assert fused.document("other/two.pdf").pages == (1,)
        assert [hit.doc for hit in fused.search("black", where={"here": 2, "not": {"kept": True}})] == ["other/two.pdf"]
        assert fused.picture(("other/two.pdf", 1)).getpixel((5, 5)) == (0, 0, 0)
        assert fused.original("other/two.pdf") == tmp_path / "b" / "two.pdf"
        assert fused.search_like(("one.pdf", 1), k=9)[0].doc == "two.pdf"
        assert fused.search_like(("other/two.pdf", 1), k=1)[0].ref == ("one.pdf", 2)
        facts = fused.info()
        assert (facts["documents"], facts["pages"], facts["fused_with"]["other"]["pages"]) == (3, 5, 3)
        for change in (
            lambda: fused.add(tmp_path / "a"),
            lambda: fused.remove("one.pdf"),
            fused.compact,
            lambda: fused.reindex(codec="int8"),
            fused.undo_reindex,
            lambda: fused.add_model("naver/splade-v3"),
            lambda: fused.remove_model("sparse"),
            lambda: fused.set_metadata("one.pdf", {"year": 1}),
        ):
            with pytest.raises(InvalidArgument, match="indexes that are searched together are only read"):
                change()


def test_a_changed_file_is_left_out_and_named(tmp_path):
    papers = tmp_path / "papers"
    write_pdf(papers / "one.pdf", "red")
    write_pdf(papers / "two.pdf", "blue")
    first = Retriever.create(tmp_path / "first.visret", model="toy")
    first.add(papers)
    write_pdf(papers / "two.pdf", "green", "green", "green")
    second = Retriever.create(tmp_path / "second.visret", model="toy")
    second.add(papers)
    with first.fused_with(other=second) as fused:
        hits = fused.search("green", k=9)
        assert {(hit.doc, hit.page): set(hit.scores) for hit in hits} == {
            ("one.pdf", 1): {"late", "other"},
            ("two.pdf", 1): {"late"},
        }
        assert (
            "two.pdf: other has another version of the file, which is left out; run visret index again for the index "
            "that is out of date"
        ) in hits.warnings
        with Retriever.open(tmp_path / "first.visret") as writer:
            writer.add(papers)
        assert fused.refresh()
        hits = fused.search("green", k=9)
        assert hits.warnings == ()
        assert [hit.doc for hit in hits] == ["two.pdf"] * 3 + ["one.pdf"]


def test_what_cannot_be_fused_is_refused(tmp_path):
    made = []
    for name in ("red", "blue"):
        one = Retriever.create(tmp_path / f"{name}.visret", model="toy")
        one.add_pages([page(name, name, "")])
        made.append(one)
    red, blue = made
    with pytest.raises(InvalidArgument, match=r"red\.visret has no document in common with red\.visret: make both"):
        red.fused_with(other=blue)
    with pytest.raises(InvalidArgument, match="fused_with takes other retrievers by names"):
        red.fused_with()
    with pytest.raises(InvalidArgument, match="'bm25' names something else in a search"):
        red.fused_with(bm25=blue)
    with pytest.raises(InvalidArgument, match="other: expected an open Retriever, got 'x'"):
        red.fused_with(other="x")
    with pytest.raises(InvalidArgument, match="this retriever searches one index, so there is no 'other'"):
        red.heatmap("red", ("red", 1), index="other")
    with Retriever.create(tmp_path / "again.visret", model="toy") as again:
        again.add_pages([page("red", "red", "")])
        fused = red.fused_with(again=again)
        with pytest.raises(InvalidArgument, match="is a store or fused already"):
            fused.fused_with(other=blue)
        with pytest.raises(InvalidArgument, match=r"'blue' is not searched here; it is in red\.visret, again"):
            fused.heatmap("red", ("red", 1), index="blue")
    blue.close()


def test_the_command_asks_both(tmp_path, capsys):
    papers = tmp_path / "papers"
    write_pdf(papers / "one.pdf", "red", "blue")
    for name in ("first", "second"):
        with Retriever.create(tmp_path / f"{name}.visret", model="toy") as made:
            made.add(papers)
    index, fuse = str(tmp_path / "first.visret"), ["--fuse", f"other={tmp_path / 'second.visret'}"]
    plan = json.dumps({"weights": {"late": 1, "other": 3}, "fusion": "rank"})
    assert cli.main(["search", index, "red", *fuse, "--by", plan, "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert hits[0]["score"] == pytest.approx(4 / (RANK_CONSTANT + 1))
    assert hits[0]["scores"].keys() == {"late", "other"}
    out = str(tmp_path / "map.png")
    named = ["--doc", "one.pdf", "--page", "1", "--out", out]
    assert cli.main(["heatmap", index, "red", *named, *fuse, "--of-index", "other"]) == 0
    assert capsys.readouterr().out.strip() == out
    for wrong, said in (
        (["--by", "photos"], "--by takes one of late, maxsim"),
        (["--by", '{"weights": 3}'], "a plan needs the names of scorers with their weights, got 3"),
        (["--by", '{"weight": {}}'], "whose keys are weights, fusion, candidates, depth"),
        (["--fuse", "second"], "--fuse takes a new name and a folder: pictures=pictures.visret, got 'second'"),
    ):
        assert cli.main(["search", index, "red", *fuse, *wrong]) == 2
        assert said in capsys.readouterr().err
    questions = tmp_path / "questions.csv"
    questions.write_text("question,doc,page\nred,one.pdf,1\nblue,one.pdf,2\n")
    assert cli.main(["evaluate", index, str(questions), *fuse, "--by", "late", "--by", plan, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["systems"]) == 2


def test_an_evaluation_measures_a_fused_retriever(both):
    _, _, fused = both
    (found,) = evaluate.system_of(fused).rank([evaluate.JudgedQuestion("1", "red", {})], 3)
    assert [one.doc for one in found] == [hit.doc for hit in fused.search("red", k=3)]


def test_a_reranker_and_neighbours_see_pages_of_both(both, tmp_path):
    _, _, fused = both
    table = {hit.doc: float(n) for n, hit in enumerate(fused.search("red", k=99))}
    judge = Judge(table)
    hits = fused.search("red", k=22, rerank=judge, depth=22)
    scored = [hit for hit in hits if "rerank" in hit.scores]
    assert [hit.score for hit in scored] == sorted((table[hit.doc] for hit in scored), reverse=True)
    assert SCAN not in {hit.doc for hit in scored}  # it has no words, and this reranker reads words
    assert any(f"{SCAN}, page 1 (it finds nothing to read)" in warning for warning in hits.warnings)
    assert fused.unread() == ([], [])  # what one index finds empty, the other has
    write_pdf(tmp_path / "papers" / "one.pdf", "red", "blue", "green")
    indexes = []
    for name in ("first", "second"):
        indexes.append(Retriever.create(tmp_path / f"{name}.visret", model="toy"))
        indexes[-1].add(tmp_path / "papers", metadata={"year": 1})
    with indexes[0].fused_with(other=indexes[1]) as pair:
        hits = pair.search("blue", k=1, neighbours=1, where={"year": 1})
        assert [(hit.page, hit.neighbour_of) for hit in hits] == [(2, None), (1, 1), (3, 1)]
        assert hits[1].metadata == {"year": 1}


def test_words_lead_where_the_model_of_words_knows_little(both, monkeypatch):
    text, _, fused = both
    monkeypatch.setattr(leading, "knows_little", lambda query: True)
    hits = fused.search("blue", k=99)
    weights = {**{name: weight / 2 for name, weight in leading.PLAN.weights.items()}, "pictures": 0.5}
    assert "words knows little of this question, so pages with its words come first" in hits.warnings
    assert {hit.doc: hit.score for hit in hits} == scores(fused, "blue", by=Plan(weights))
    first = text.search("blue", k=99)[0]
    assert next(hit for hit in hits if hit.doc == first.doc).text == first.text
    assert "the words of the question" in fused.heatmap("blue", first.ref).about


@pytest.mark.heavy
def test_the_server_asks_both(tmp_path):
    from fastapi.testclient import TestClient

    from visret.server import app
    from visret.server.guard import Rules

    write_pdf(tmp_path / "papers" / "one.pdf", "red", "blue")
    for name in ("first", "second"):
        with Retriever.create(tmp_path / f"{name}.visret", model="toy") as made:
            made.add(tmp_path / "papers")
    fuse = {"other": str(tmp_path / "second.visret")}
    built = app.build(tmp_path / "first.visret", Rules(rate=0), ui=False, fuse=fuse)
    with TestClient(built, base_url="http://localhost") as client:
        for by in (None, "other", {"weights": {"late": 1, "other": 2}, "fusion": "rank"}):
            answer = client.post("/search", json={"question": "red", "by": by})
            assert answer.status_code == 200, answer.text
            (first, _) = answer.json()["hits"]
            assert (first["page"], "other" in first["scores"]) == (1, True)
            assert first["about"]
        wrong = client.post("/search", json={"question": "red", "by": {"weights": {"photos": 1}}})
        assert (wrong.status_code, "not by 'photos'" in wrong.json()["detail"]) == (400, True)
        assert client.get("/highlight/one.pdf/1.png", params={"q": "red", "index": "other"}).status_code == 200
        assert client.get("/highlight/one.pdf/1.png", params={"q": "red", "index": "third"}).status_code == 400
        refused = client.delete("/documents/one.pdf")
        assert (refused.status_code, "are only read" in refused.json()["detail"]) == (400, True)
        sent = client.post("/documents", files={"files": ("new.txt", b"red")})
        assert (sent.status_code, "are only read" in sent.json()["detail"]) == (400, True)
