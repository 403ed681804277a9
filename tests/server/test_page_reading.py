"""What readers of pages ask the HTTP API: words and their places, where a page answers, parts of pictures."""

import io

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageChops
from support.manual import CHAPTERS, write_manual
from support.sheets import write_pdf

from visret import Page, Retriever
from visret.errors import ShapeError
from visret.retriever import pipeline_of
from visret.server import app
from visret.server.guard import Rules
from visret.server.suggestions import Suggestions

QUESTION = "how much honey does a colony need to live until spring"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    write_manual(folder / "bees.pdf")
    with Retriever.create(folder / "i.visret") as retriever:
        retriever.add(folder / "bees.pdf")
        retriever.add_pages([Page.from_text("The wind is strong today.\nHoney is sweet.", doc="notes")])
    return folder / "i.visret"


@pytest.fixture(scope="module")
def client(index):
    with TestClient(app.build(index, Rules(rate=0), ui=False), base_url="http://localhost") as made:
        yield made


def test_hits_say_what_is_printed_and_which_words_are_marked(client):
    hit, *_ = client.post("/search", json={"question": QUESTION, "k": 3, "marks": True}).json()["hits"]
    assert (hit["doc"], hit["page"], hit["label"]) == ("bees.pdf", 1, "i")
    text = hit["passage"]["text"]
    marked = {text[start:end] for start, end in hit["passage"]["marked"]}
    assert {"honey", "colony", "spring."} <= marked
    assert not marked & {"of", "to", "A"}
    third = client.post("/search", json={"question": "carry it by night", "k": 1, "marks": True}).json()["hits"][0]
    assert (third["page"], third["label"]) == (3, "1")
    bare = client.post("/search", json={"question": QUESTION, "k": 1}).json()["hits"][0]
    assert "label" not in bare  # nobody asked for it
    assert "marked" not in bare["passage"]


@pytest.mark.parametrize("by", [None, "bm25"])
def test_a_page_says_which_words_of_the_question_its_marks_answer(client, by):
    given = {"q": QUESTION, "by": by} if by else {"q": QUESTION}
    why = client.get("/explanation/bees.pdf/1.json", params=given).json()
    assert [word["text"] for word in why["words"] if word["tells"]] == ["honey", "colony", "need", "live", "spring"]
    text = client.get("/text/bees.pdf/1.json").json()
    printed = {}
    for mark in why["marks"]:
        for word in text["words"]:
            x, y = (word["box"][0] + word["box"][2]) / 2, (word["box"][1] + word["box"][3]) / 2
            if mark["x0"] <= x <= mark["x1"] and mark["y0"] <= y <= mark["y1"]:
                printed.setdefault(word["text"], set()).update(mark["words"])
    assert "honey" in printed["honey"]
    assert "colony" in printed["colony"]
    assert "spring" in printed["spring."]
    assert all(0 < mark["level"] <= 1 for mark in why["marks"])
    assert "twenty kilograms" in why["passages"][0]["text"]


def test_the_marks_are_those_of_the_picture(index):
    with Retriever.open(index) as retriever:
        why = retriever.heatmap(QUESTION, ("bees.pdf", 1))
        boxes, levels = why._telling_marks(range(len(why.tokens)))
        assert [(m.x0, m.y0, m.x1, m.y1) for m in why.marks] == [tuple(map(float, box)) for box in boxes]
        assert [m.level for m in why.marks] == pytest.approx(levels.tolist())
        plain = retriever.heatmap(QUESTION, ("notes", 1))
        assert plain.marks == []
        marked = [plain.passage.text[start:end] for start, end in plain.marked_in_passage]
        assert "Honey" in marked


def test_the_text_of_a_page_comes_with_its_places(client):
    page = client.get("/text/bees.pdf/2.json").json()
    assert page["text"].startswith("Feeding the colony\nMix two parts of sugar")
    assert page["text"].split() == [word["text"] for word in page["words"]]
    assert page["label"] == "ii"
    assert page["pages"] == list(range(1, len(CHAPTERS) + 1))
    first = page["words"][0]["box"]
    assert first[0] == pytest.approx(40 / 419.5, abs=0.01)  # A5 is 419.5 x 595.3 points
    assert first[3] == pytest.approx(1 - 540 / 595.3, abs=0.02)
    plain = client.get("/text/notes/1.json").json()
    assert (plain["size_pt"], plain["words"]) == (None, None)
    assert client.get("/text/bees.pdf/99.json").status_code == 404


def test_a_part_of_a_page_is_that_part_of_its_picture(client):
    def drawn(**given):
        answer = client.get("/page/bees.pdf/1.png", params=given)
        assert answer.status_code == 200, answer.text
        return Image.open(io.BytesIO(answer.content))

    whole = drawn(dpi=200)
    box = (0.05, 0.05, 0.95, 0.25)  # it cuts no letter, whose edge would be drawn anew
    width, height = whole.size
    part = whole.crop(tuple(round(edge * side) for edge, side in zip(box, (width, height) * 2, strict=True)))
    seen = drawn(dpi=200, box=",".join(map(str, box)))
    assert seen.size == part.size
    assert ImageChops.difference(seen, part).getbbox() is None
    fine = drawn(dpi=600, box=",".join(map(str, box)))
    assert fine.width == pytest.approx(3 * seen.width, abs=3)


@pytest.mark.parametrize("doc", ["file.png", "memory"])
def test_parts_of_pictures_and_of_pages_in_memory(tmp_path, doc):
    ramp = Image.linear_gradient("L").resize((200, 300)).convert("RGB")
    ramp.save(tmp_path / "file.png")
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        retriever.add(tmp_path / "file.png")
        retriever.add_pages([Page.from_image(ramp, doc="memory")])
        whole = retriever.picture((doc, 1))
        part = retriever.picture((doc, 1), box=(0.25, 0.5, 0.75, 0.6))
        width, height = whole.size
        cut = whole.crop((width // 4, height // 2, 3 * width // 4, round(0.6 * height)))
        assert part.size == cut.size
        assert ImageChops.difference(part, cut).getbbox() is None
        with pytest.raises(ShapeError):
            retriever.picture((doc, 1), box=(0, 0, 20, 30))  # pixels


@pytest.mark.parametrize(
    "given",
    [
        {"dpi": 300},  # of a whole page
        {"box": "0,0,0,1"},
        {"box": "0.5,0,0.2,1"},
        {"box": "0,0,1,2"},
        {"box": "0,.,1,1"},
    ],
)
def test_a_part_that_is_none_or_too_large_is_refused(client, given):
    assert client.get("/page/bees.pdf/1.png", params=given).status_code == 400


def test_a_box_is_four_numbers(client):
    assert client.get("/page/bees.pdf/1.png", params={"box": "nan,0,1,1"}).status_code == 422


def test_suggestions_find_the_page_whose_heading_they_are(client, index):
    made = client.get("/suggestions").json()["suggestions"]
    assert len(made) == 3
    for one in made:
        assert one["question"] == list(CHAPTERS)[one["page"] - 1]
        best = client.post("/search", json={"question": one["question"], "k": 1}).json()["hits"][0]
        assert (best["doc"], best["page"], best["weak"]) == (one["doc"], one["page"], False)


def test_suggestions_are_made_once_for_a_state_of_the_index(tmp_path, monkeypatch):
    write_manual(tmp_path / "bees.pdf")
    with Retriever.create(tmp_path / "i.visret") as retriever:
        suggestions = Suggestions(retriever, lambda: pipeline_of(retriever).snapshot)
        assert suggestions.made() == []
        retriever.add(tmp_path / "bees.pdf")
        made = suggestions.made()
        assert len(made) == 3
        asked = []
        monkeypatch.setattr(retriever, "search", lambda *given, **named: asked.append(given) or [])
        assert suggestions.made() is made
        assert asked == []


def test_colours_have_no_headings(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        retriever.add(write_pdf(tmp_path / "a.pdf", "red", "blue"))
        assert Suggestions(retriever, lambda: retriever).made() == []
