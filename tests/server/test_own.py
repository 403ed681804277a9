"""Visitors' own collections: what somebody uploads is theirs alone, is kept for a while, and costs others nothing."""

import gzip
import re
import tempfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.sheets import write_pdf

from visret.server import app, own
from visret.server.guard import Rules

RED = {"question": "red", "k": 3}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server without an index; its visitors' folders lie in `tmp_path`."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    built = app.build(None, Rules(rate=0), model="toy", most_pages=3, lab=False)
    with TestClient(built, base_url="http://localhost"):  # for its lifespan
        yield built


@pytest.fixture
def visitor(server):
    """visitor(): a browser with cookies of its own."""
    return lambda: TestClient(server, base_url="http://localhost")


def pdf(tmp_path, *colours, name="a.pdf"):
    return ("files", (name, write_pdf(tmp_path / "made.pdf", *colours).read_bytes()))


def test_uploads_are_searched_by_their_visitor_alone(visitor, tmp_path):
    mine, other = visitor(), visitor()
    assert mine.get("/mine/state").json() == {"documents": 0, "pages": 0, "reading": None, "forgotten_in": None}
    assert mine.post("/mine/search", json=RED).status_code == 404
    answer = mine.post("/mine/documents", files=[pdf(tmp_path, "red", "blue")])
    assert [one["change"] for one in answer.json()["files"]] == ["added"]
    assert re.search(r"HttpOnly; SameSite=Strict", answer.headers["set-cookie"])
    assert [hit["page"] for hit in mine.post("/mine/search", json=RED).json()["hits"]] == [1, 2]
    assert mine.get("/mine/page/a.pdf/1.png").headers["content-type"] == "image/png"
    assert mine.get("/mine/text/a.pdf/1.json").json()["pages"] == [1, 2]
    assert mine.get("/mine/document/a.pdf").content.startswith(b"%PDF")
    state = mine.get("/mine/state").json()
    assert (state["documents"], state["pages"], state["reading"]) == (1, 2, None)
    assert own.HOURS * 3600 - 60 < state["forgotten_in"] <= own.HOURS * 3600
    for path in ("/mine/page/a.pdf/1.png", "/mine/documents", "/mine/document/a.pdf"):
        assert other.get(path).status_code == 404
    forged = visitor()
    forged.cookies.set(own.COOKIE, mine.cookies[own.COOKIE][:-1])
    assert forged.get("/mine/documents").status_code == 404
    back = visitor()  # a reload has the cookie
    back.cookies.set(own.COOKIE, mine.cookies[own.COOKIE])
    assert back.get("/mine/documents").json()["total"] == 1


def test_a_broken_file_costs_nothing(visitor, tmp_path):
    mine = visitor()
    broken = ("files", ("no.pdf", b"no"))
    files = mine.post("/mine/documents", files=[pdf(tmp_path, "red"), broken]).json()["files"]
    assert [(one["file"], one["change"]) for one in files] == [("a.pdf", "added"), ("no.pdf", "failed")]
    answer = mine.post("/mine/documents", files=[broken])
    assert answer.status_code == 422
    assert answer.json()["files"][0]["reason"]
    assert [one["doc"] for one in mine.get("/mine/documents").json()["documents"]] == ["a.pdf"]


def test_a_collection_does_not_grow_for_ever(visitor, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "MAX_LARGE_FILES", 1)
    mine = visitor()
    assert mine.post("/mine/documents", files=[pdf(tmp_path, "red", "blue", "cyan")]).status_code == 200
    answer = mine.post("/mine/documents", files=[pdf(tmp_path, "yellow", name="b.pdf")])
    assert (answer.status_code, "delete files first" in answer.json()["detail"]) == (413, True)
    assert mine.delete("/mine/documents/a.pdf").status_code == 204
    assert mine.post("/mine/documents", files=[pdf(tmp_path, "yellow", name="b.pdf")]).status_code == 200


def test_what_is_deleted_or_not_used_is_gone_from_the_disk(visitor, tmp_path, monkeypatch):
    def folders():
        return list((tmp_path / "temporary").glob("visret-own-*"))

    mine, other, third = visitor(), visitor(), visitor()
    for one in (mine, other):
        one.post("/mine/documents", files=[pdf(tmp_path, "red")])
    assert len(folders()) == 2
    assert mine.delete("/mine/").status_code == 204
    assert mine.get("/mine/state").json()["documents"] == 0
    assert len(folders()) == 1
    monkeypatch.setattr(own, "MAX_COLLECTIONS", 1)
    third.post("/mine/documents", files=[pdf(tmp_path, "red")])  # the one that was used the longest time ago goes
    assert other.get("/mine/state").json()["documents"] == 0
    assert third.get("/mine/state").json()["documents"] == 1
    monkeypatch.setattr(own, "HOURS", 0)
    monkeypatch.setattr(own, "MAX_COLLECTIONS", 40)
    mine.post("/mine/documents", files=[pdf(tmp_path, "red")])
    assert third.get("/mine/state").json()["documents"] == 0
    assert len(folders()) == 1


def test_without_room_an_upload_is_refused(visitor, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "MAX_COLLECTIONS", 0)
    answer = visitor().post("/mine/documents", files=[pdf(tmp_path, "red")])
    assert (answer.status_code, "try again" in answer.json()["detail"]) == (503, True)


def test_nothing_of_uploads_outlives_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with TestClient(app.build(None, Rules(rate=0), model="toy", lab=False), base_url="http://localhost") as client:
        client.post("/mine/documents", files=[pdf(tmp_path, "red")])
        assert list(Path(tmp_path).glob("visret-own-*"))
    assert not list(Path(tmp_path).glob("visret-own-*"))


def test_the_page_says_what_can_be_searched(visitor):
    client = visitor()
    facts = client.get("/start").json()
    assert (facts["index"], facts["lab"]) == (None, False)
    assert facts["uploads"]["pages"] == 3
    assert ".pdf" in facts["uploads"]["endings"]
    page = client.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["content-encoding"] == "gzip"
    assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assert client.get("/static/none.js").status_code == 404
    assert client.get("/static/..%2Fpage.py").status_code == 404


def test_the_first_screen_is_small_and_asks_nobody_else():
    files = {path.name: path.read_text("utf8") for path in (Path(own.__file__).parent / "static").iterdir()}
    assert sum(len(gzip.compress(text.encode())) for text in files.values()) < 40_000  # a second, at 50 KB/s
    assert sum(len(text.encode()) for text in files.values()) < 120_000  # of all screens, as they are written
    addresses = {found for text in files.values() for found in re.findall(r"https?://[^\s\"'`)]+", text)}
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a format, which nobody fetches
    unsafe = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(")
    assert not any(unsafe.search(text) for text in files.values())
    assert not re.search(r"<script>|\son\w+=|style=", files["index.html"])
