"""The researcher's view, without a browser: its server is asked what a browser asks it. With `toy`."""

import html
import io
import json
import re
import secrets
from dataclasses import replace

import httpx
import numpy as np
import pytest
from PIL import Image
from support.judge import Judge
from support.sheets import write_pdf
from support.waiting import until

from visret import Hit, PageRef, Retriever
from visret.encoders import toy
from visret.explain.attribution import Span
from visret.search import rerank
from visret.search.rerank import Rerankers
from visret.server import app, ui
from visret.server.batches import Asked, Batches


@pytest.fixture(scope="module")
def url(serve):
    """A server without an index."""
    return serve() + "lab/"


@pytest.fixture
def page(url):
    """A tab of a visitor."""
    with Visitor(url) as visitor:
        yield visitor


@pytest.fixture
def index(papers, tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        retriever.add(papers)
    return tmp_path / "i.visret"


class Visitor:
    """One tab: sends the values of a function's inputs, and keeps what comes back, as the browser does."""

    def __init__(self, url):
        self.http = httpx.Client(base_url=f"{url}gradio_api/", timeout=30)
        self.session = secrets.token_hex(6)
        config = httpx.get(f"{url}config").json()
        self.parts = {part["id"]: {**part["props"], "type": part["type"]} for part in config["components"]}
        self.functions = {function["api_name"]: function for function in config["dependencies"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.http.stream("GET", f"heartbeat/{self.session}"):
            pass  # it breaks off where the tab is closed
        self.http.close()

    def part(self, kind, **named):
        return next(p for p in self.parts.values() if p["type"] == kind and named.items() <= p.items())

    def call(self, name, event=None):
        function = self.functions[name]
        data = [self.parts[part].get("value") for part in function["inputs"]]
        sent = {"fn_index": function["id"], "session_hash": self.session, "data": data, "event_data": event}
        self.http.post("queue/join", json=sent).raise_for_status()
        with self.http.stream("GET", "queue/data", params={"session_hash": self.session}) as stream:
            messages = (json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line)
            done = next(message for message in messages if message["msg"] == "process_completed")
        assert done["success"], done
        for part, value in zip(function["outputs"], done["output"]["data"], strict=True):
            update = isinstance(value, dict) and value.pop("__type__", None) == "update"
            self.parts[part].update(value if update else {"value": value})

    def bring(self, *paths):
        there = self.http.post("upload", files=[("files", (path.name, path.read_bytes())) for path in paths]).json()
        self.part("file")["value"] = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in there]
        self.call("bring")
        assert self.part("file")["value"] is None  # ready for more

    def open_folder(self, path):
        self.part("textbox", label="Or the folder of an index")["value"] = str(path)
        self.call("open_folder")

    def ask(self, question):
        self.part("textbox", label="Question")["value"] = question
        self.call("ask")

    def click(self, number):
        self.call("show", {"index": number, "value": None})

    @property
    def text(self):
        """All that is written, without its markup."""
        written = "\n".join(part.get("value") or "" for part in self.parts.values() if part["type"] == "markdown")
        return html.unescape(written.replace("**", "").replace("<br>", "\n"))

    @property
    def captions(self):
        """Of the results; None where they are hidden."""
        shown = self.part("row", elem_id="results")["visible"]
        return [hit["caption"].rpartition(" (")[0] for hit in self.part("gallery")["value"]] if shown else None

    def picture(self, value):
        answer = self.http.get(f"file={value['path']}").raise_for_status()
        return Image.open(io.BytesIO(answer.content)).convert("RGB")

    def colour(self, value):
        """The colour of most of a picture."""
        picture = self.picture(value)
        return max(picture.getcolors(picture.width * picture.height))[1]


def test_an_index_is_searched_and_its_pages_are_shown(serve, index):
    with Visitor(serve(index) + "lab/") as page:
        assert "3 pages of 2 documents can be searched." in page.text
        page.ask("blue")
        assert page.captions[0] == "one.pdf, p. 2"
        assert sorted(page.captions) == ["one.pdf, p. 1", "one.pdf, p. 2", "two.pdf, p. 1"]
        assert "one.pdf, page 2" in page.text  # the best page is shown at once
        pictures = {"one.pdf, p. 1": (255, 0, 0), "one.pdf, p. 2": (0, 0, 255), "two.pdf, p. 1": (255, 255, 0)}
        for number, (caption, hit) in enumerate(zip(page.captions, page.part("gallery")["value"], strict=True)):
            assert page.colour(hit["image"]) == pytest.approx(pictures[caption], abs=4)
            page.click(number)
            assert caption.replace("p.", "page") in page.text
            assert page.colour(page.part("image")["value"]) == pytest.approx(pictures[caption], abs=4)


def test_pages_are_ranked_in_the_way_that_is_chosen_and_warnings_are_shown(serve, index, monkeypatch):
    read = toy.ToyEncoder.encode_queries

    def warned(self, texts):
        return [replace(query, warnings=("it was dark",)) for query in read(self, texts)]

    monkeypatch.setattr(toy.ToyEncoder, "encode_queries", warned)
    with Visitor(serve(index) + "lab/") as page:
        page.ask("blue")
        assert "Best first; click one to see why. It was dark." in page.text
        usual = page.part("gallery")["value"][0]["caption"]
        page.part("dropdown", label="Ranked by")["value"] = "maxsim"
        page.ask("blue")
        assert page.part("gallery")["value"][0]["caption"] == "one.pdf, p. 2 (0.99)" != usual


def test_what_the_operator_offers_reads_pages_again(serve, index, monkeypatch):
    judge = Judge({"one.pdf": 0.3, "two.pdf": 0.8}, modality="image")
    monkeypatch.setattr(rerank, "load_reranker", lambda name: judge)
    with Visitor(serve(index) + "lab/") as page:
        assert page.part("dropdown", label="The first pages read again by")["visible"] is False
        page.part("dropdown", label="The first pages read again by")["value"] = "judge"
        with pytest.raises(AssertionError):
            page.ask("blue")  # it is none of the choices
    monkeypatch.setattr(app, "offered", lambda names: Rerankers({"judge": "judge"}))
    with Visitor(serve(index) + "lab/") as page:
        page.part("dropdown", label="The first pages read again by")["value"] = "judge"
        page.ask("blue")
        assert page.captions[0] == "two.pdf, p. 1"
        assert "score 0.80" in page.text


def test_a_part_of_the_ranking_is_shown(serve, index):
    with Visitor(serve(index) + "lab/") as page:
        page.ask("blue")
        whole = page.captions
        page.part("checkbox", label="Each document once")["value"] = True
        page.ask("blue")
        assert page.captions == ["one.pdf, p. 2", "two.pdf, p. 1"]
        page.part("checkbox", label="Each document once")["value"] = False
        page.part("number", label="Begin behind hit")["value"] = 1
        page.ask("blue")
        assert page.captions == whole[1:]
        page.part("slider", label="Pages before and after each")["value"] = 1
        page.part("number", label="Begin behind hit")["value"] = 0
        page.part("textbox", label="Metadata, as JSON")["value"] = '{"doc": "two.pdf"}'
        page.ask("blue")
        assert page.captions == ["two.pdf, p. 1"]
        page.call("go_on")
        assert page.part("number", label="Begin behind hit")["value"] == ui.RESULTS
        assert "No page is left" in page.text
        page.part("number", label="Begin behind hit")["value"] = 0
        page.part("slider", label="Least relevance (below .5 is weak)")["value"] = 0.5
        page.ask("blue")
        assert "min_score needs a model" in page.text


def test_pages_like_the_one_that_is_shown_are_found(page, index):
    page.open_folder(index)
    page.ask("blue")
    assert "one.pdf, page 2" in page.text
    page.call("like")
    assert sorted(page.captions) == ["one.pdf, p. 1", "two.pdf, p. 1"]
    with Retriever.open(index) as alone:
        best = alone.search_like(("one.pdf", 2))[0]
    assert f"{best.doc}, page {best.page}" in page.text
    assert "Pages like one.pdf, page 2; the most alike come first." in page.text
    assert page.part("column", elem_id="controls")["visible"] is False  # there is no token to switch off
    page.click(1)
    page.call("like")
    assert "one.pdf, p. 2" in page.captions
    page.ask("blue")
    assert page.part("column", elem_id="controls")["visible"] is True


def test_numbers_of_an_address_are_kept_in_their_bounds():
    given = (None, "", "3", "-1", "99", "nan", "inf", "x")
    assert [ui.number_in(text, 5) for text in given] == [0, 0, 3, 0, 5, 0, 0, 0]


def test_a_visitors_question_goes_the_way_of_all_others(serve, index, monkeypatch):
    """So that it is scanned together with those that come over HTTP and MCP."""
    asked = []
    ask = Batches.ask

    def note(self, question):
        asked.append(question)
        return ask(self, question)

    monkeypatch.setattr(Batches, "ask", note)
    with Visitor(serve(index) + "lab/") as page:
        page.ask("blue")
        assert page.captions[0] == "one.pdf, p. 2"
        assert asked == [Asked("blue", ui.RESULTS, boxes=False)]
        assert asked[0].kind == Asked("red", 5).kind
        page.part("textbox", label="Metadata, as JSON")["value"] = '{"page": 1}'
        page.ask("blue")
        assert sorted(page.captions) == ["one.pdf, p. 1", "two.pdf, p. 1"]
        page.ask("mauvish")
        assert "toy knows the colours" in page.text
        page.part("textbox", label="Metadata, as JSON")["value"] = json.dumps({"or": [{}] * 2000})
        page.ask("blue")
        assert "a filter has at most" in page.text
        assert len(asked) == 3


def test_what_is_clicked_is_marked_for_the_question_that_was_asked(page, tmp_path):
    image = Image.new("RGB", (320, 320), "white")
    image.paste("yellow", (64, 64, 128, 128))
    image.paste("cyan", (192, 192, 256, 256))
    image.save(tmp_path / "two.png")
    page.bring(tmp_path / "two.png")
    page.ask("cyan")
    page.part("textbox", label="Question")["value"] = "yellow"
    page.click(0)
    shown = np.asarray(page.picture(page.part("image")["value"]).resize((320, 320)))
    assert shown[64:128, 64:128, 1].min() > 240
    assert shown[192:256, 192:256, 1].min() < 220  # amber took green from it


def test_pages_indexed_meanwhile_are_found(page, index, papers):
    page.open_folder(index)
    with Retriever.open(index) as other:
        other.add(write_pdf(papers / "three.pdf", "cyan"))
    page.ask("cyan")
    assert page.captions[0] == "three.pdf, p. 1"


def test_uploads_are_one_visitors_and_go_with_the_visit(url, page, papers, tmp_path, temporary):
    before = {*temporary.glob("visret-*")}
    with Visitor(url) as mine:
        mine.bring(papers / "one.pdf")
        assert "2 pages of 1 document can be searched." in mine.text
        mine.bring(papers / "two.pdf", papers / "one.pdf")  # more of them, one for the second time
        assert "3 pages of 2 documents can be searched." in mine.text
        mine.bring(write_pdf(tmp_path / "elsewhere" / "one.pdf", "cyan"))
        mine.ask("cyan")
        assert mine.captions[0] == "one (2).pdf, p. 1"
        assert len(mine.captions) == 4
        page.ask("cyan")
        assert "nothing to search yet" in page.text
        (folder,) = {*temporary.glob("visret-*")} - before
        assert {path.name for path in folder.rglob("*.pdf")} == {"one.pdf", "two.pdf", "one (2).pdf"}
        assert not list((temporary / "gradio").rglob("*.pdf"))  # the server keeps no second copy
    until(lambda: not folder.exists())


def test_a_folder_is_opened_in_place_of_uploads(page, index, papers, temporary):
    before = {*temporary.glob("visret-*")}
    page.bring(papers / "two.pdf")
    page.ask("red")
    assert page.captions == ["two.pdf, p. 1"]
    page.open_folder(index)
    assert page.captions is None  # they would be shown from another index
    assert {*temporary.glob("visret-*")} <= before
    page.ask("red")
    assert page.captions[0] == "one.pdf, p. 1"


def test_others_may_not_open_the_folders_of_this_machine(serve, page):
    assert "open_folder" in page.functions
    with Visitor(serve(folders=False) + "lab/") as other:
        assert "bring" in other.functions
        assert "open_folder" not in other.functions


def test_what_is_wrong_is_said(page, papers, tmp_path):
    page.ask("red")
    assert "There is nothing to search yet" in page.text
    page.open_folder("")
    assert "Type the folder of an index" in page.text
    page.open_folder(tmp_path / "no_where")
    assert f"{tmp_path / 'no_where'}: does not exist" in page.text
    page.open_folder(papers)
    assert "not an index" in page.text
    (papers / "bad.pdf").write_bytes(b"%PDF-1.7 and nothing")
    (papers / "a.xyz").write_bytes(b"PK")
    (papers / "notes.txt").write_text("red")
    page.bring(papers / "bad.pdf", papers / "a.xyz", papers / "notes.txt", papers / "two.pdf")
    assert "1 page of 1 document can be searched." in page.text
    assert "Not read: bad.pdf: is a damaged" in page.text
    assert "Not read: a.xyz: files ending in '.xyz' are not read" in page.text
    assert "1 page cannot be found for lack of a picture: notes.txt" in page.text
    page.ask(" ")
    assert "Type a question first." in page.text
    page.ask("mauvish")
    assert "toy knows the colours" in page.text
    assert page.captions is None


def test_a_page_whose_file_was_changed_is_found_and_not_shown(page, index, papers):
    page.open_folder(index)
    write_pdf(papers / "two.pdf", "green")
    page.ask("yellow")
    assert page.captions[0] == "two.pdf, p. 1"
    assert page.colour(page.part("gallery")["value"][0]["image"]) == (255, 255, 255)
    assert "two.pdf: has changed since it was indexed" in page.text
    assert not page.part("image")["visible"]
    page.click(1)
    assert page.part("image")["visible"]


def test_nothing_is_fetched_from_elsewhere(url):
    start, style = httpx.get(url).text, httpx.get(f"{url}theme.css").text
    assert ".found" in start  # our own style is there
    assert httpx.get(f"{url}config").json()["stylesheets"] == []
    assert re.findall(r"""<(?:script|link|img)[^>]*["'](?:https?:)?//[^>]*>""", start) == []
    assert re.findall(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", start + style) == []


def test_of_many_files_that_are_not_read_some_are_named(tmp_path):
    for number in range(9):
        (tmp_path / f"bad{number}.pdf").write_bytes(b"%PDF-1.7 and nothing")
        (tmp_path / f"text{number}.txt").write_text("words")
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        retriever.add(tmp_path)
        said = html.unescape(ui.standing(ui.Session((retriever,)))).split("<br>")
    assert said[0] == "**0 pages** of 0 documents can be searched."
    assert [line.split(":")[1] for line in said[1:6]] == [f" bad{number}.pdf" for number in range(5)]
    assert said[6] == "Not read: 4 more"
    assert said[7].endswith("lack of a picture: text0.txt, text1.txt, text2.txt, text3.txt, text4.txt and 4 more")


def test_a_filter_is_documents_and_metadata(page, index):
    page.open_folder(index)
    page.part("dropdown", label="Documents")["value"] = ["two.pdf"]
    page.ask("red")
    assert page.captions == ["two.pdf, p. 1"]
    page.part("textbox", label="Metadata, as JSON")["value"] = '{"page": 2}'
    page.ask("red")
    assert "No page passes the filter." in page.text
    assert page.captions is None
    for wrong, said in (("{page}", "must be JSON"), ("[2]", "a JSON object"), ('{"yeer": 2}', "yeer")):
        page.part("textbox", label="Metadata, as JSON")["value"] = wrong
        page.ask("red")
        assert said in page.text


def test_uploads_are_read_again_by_another_model(page, papers):
    page.bring(papers / "one.pdf")
    page.part("dropdown", label="Models (two are shown side by side)")["value"] = []
    page.call("read_again")
    assert "Choose a model first" in page.text
    page.part("dropdown", label="Models (two are shown side by side)")["value"] = ["all-minilm-l6-v2"]
    page.call("read_again")
    assert "2 pages cannot be found for lack of text, as in scans: one.pdf" in page.text


@pytest.mark.parametrize(
    ("source", "at", "link"),
    [
        ("/a/b c#.pdf", "document/", " · [open the PDF](document/b%20c%23.pdf#page=3)"),
        ("/a/b.pdf", None, ""),
        ("/a/b.png", "document/", ""),
        (None, "document/", ""),
    ],
)
def test_a_page_is_linked_where_its_pdf_is_served(source, at, link):
    hit = Hit(PageRef((source or "x").rpartition("/")[2], 3), 1.0, 1, "", source)
    assert ui.link_to(hit, at) == link


def test_text_is_shown_as_it_is():
    text = "# *a* ![x](http://example.com/x.png) <b>_1_</b> $$x$$\nred"
    shown = ui.marked(text, [Span(2, 5, 0.5), Span(len(text) - 3, len(text), 0.5)])
    assert not set(re.sub(r"</?mark>|<br>|&#\d+;", "", shown)) & set("#*![](<>_$:/")
    assert re.findall(r"<mark>(.*?)</mark>", shown) == ["&#42;a&#42;", "red"]
    assert html.unescape(re.sub("</?mark>", "", shown).replace("<br>", "\n")) == text
