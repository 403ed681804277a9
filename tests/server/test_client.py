"""The same code on an index and on a server of it: `visret.Client` has the calls, hits and errors of a Retriever."""

import asyncio
import inspect
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import pytest
import uvicorn
from PIL import ImageChops
from support.listening import listening
from support.manual import write_manual
from support.sheets import write_pdf
from support.talker import talker
from support.waiting import until

import visret
from visret import AsyncClient, Client, Retriever
from visret.errors import (
    DocumentError,
    IndexLocked,
    InvalidArgument,
    LanguageModelError,
    MissingExtra,
    NoPicture,
    VisretError,
)
from visret.index.writer import writer_lock
from visret.server import app, client, llm
from visret.server.guard import Rules

httpx = pytest.importorskip("httpx", reason="needs httpx: pip install 'visret[client]'")
KEY = "sixteen-letters-and-more"


@contextmanager
def serving(index, *, llm=None, **rules):
    listener = app.listen("127.0.0.1", 0)
    server = uvicorn.Server(app.configuration(app.build(index, Rules(KEY, **{"rate": 0, **rules}), ui=False, llm=llm)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.weights
def test_a_written_answer_has_its_pages_and_the_places_it_cites(tmp_path):
    write_manual(tmp_path / "bees.pdf")
    with Retriever.create(tmp_path / "i.visret") as made:
        made.add(tmp_path / "bees.pdf")
    question = "how much honey does a colony need to live until spring"
    with (
        talker(pieces=["Twenty kilograms ", "[1], not more [9]."]) as (model, asked),
        serving(tmp_path / "i.visret", llm=llm.named(model, "bee-7b")) as address,
    ):
        with Client(address, key=KEY) as there:
            answer = there.answer(question, 2, where={"doc": "bees.pdf"})
            assert (answer.text, answer.model, answer.warnings) == ("Twenty kilograms [1], not more [9].", "bee-7b", ())
            assert answer.pages[0] == ("bees.pdf", 1)
            assert len(answer.pages) == 2
            first, unknown = answer.citations
            assert (first.number, first.page, answer.text[first.start : first.end]) == (1, ("bees.pdf", 1), "[1]")
            assert "twenty kilograms of honey" in first.passage
            ((x0, y0, x1, y1),) = first.boxes
            assert 0 < x0 < x1 < 1
            assert 0 < y0 < y1 < 1
            assert (unknown.number, unknown.page, unknown.passage, unknown.boxes) == (9, None, None, ())
            assert there.answer("the stock market crash of 1929").text == ""

        async def further():
            async with AsyncClient(address, key=KEY) as there:
                return await there.answer("and in a long one?", turns=[(question, answer.text)])

        assert asyncio.run(further()).pages[0] == ("bees.pdf", 1)
        assert asked[-1][2]["messages"][2] == {"role": "assistant", "content": "Twenty kilograms, not more."}


@pytest.mark.weights
def test_an_answer_that_cannot_be_written_is_an_error(tmp_path):
    write_manual(tmp_path / "bees.pdf")
    with Retriever.create(tmp_path / "i.visret") as made:
        made.add(tmp_path / "bees.pdf")
    gone = llm.named("http://127.0.0.1:9", "m")
    for model, error, said in ((gone, LanguageModelError, "cannot be reached"), (None, InvalidArgument, "--llm URL")):
        with (
            serving(tmp_path / "i.visret", llm=model) as address,
            Client(address, key=KEY) as there,
            pytest.raises(error, match=said),
        ):
            there.answer("feeding the colony")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    write_pdf(folder / "papers" / "one.pdf", "red", "blue", "yellow")
    write_pdf(folder / "papers" / "sub" / "zwei é.pdf", "cyan", "red")
    (folder / "papers" / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    with Retriever.create(folder / "i.visret", model="toy") as made:
        made.add(folder / "papers", metadata={"year": 2024, "tags": ["a", "b"]})
        made.add_pages([visret.Page.from_text("nothing that toy reads", doc="plain")])
    return folder / "i.visret"


@pytest.fixture(scope="module")
def address(index):
    with serving(index) as address:
        yield address


@pytest.fixture(scope="module", params=["index", "server"])
def retriever(request, index, address):
    """A Retriever, and a Client in its place."""
    with Retriever.open(index) if request.param == "index" else Client(address, key=KEY) as opened:
        yield opened


@pytest.fixture(scope="module")
def here(index):
    with Retriever.open(index) as opened:
        yield opened


ASKED = [
    {},
    {"k": 2, "where": {"year": {">=": 2020}}},
    {"k": 2, "offset": 1, "exact": True},
    {"group_by": "document", "neighbours": 1},
    {"by": "maxsim", "weak": False},
]


# ---- the same code


@pytest.mark.parametrize("asked", ASKED)
def test_hits_are_the_same(retriever, here, asked):
    found = retriever.search("red blue", **asked)
    wanted = here.search("red blue", **asked)
    assert (list(found), tuple(found.warnings)) == (list(wanted), tuple(wanted.warnings))
    assert [hit.score for hit in found] == [hit.score for hit in wanted]
    assert [hit.metadata for hit in found] == [hit.metadata for hit in wanted]
    assert [hit.passage and hit.passage.score for hit in found] == [hit.passage and hit.passage.score for hit in wanted]
    assert found[0].link == wanted[0].link


def test_several_questions_are_answered_in_their_order(retriever, here):
    questions = ["red", "blue", "cyan", "yellow"] * 5
    assert list(map(list, retriever.search_many(questions, 2))) == list(map(list, here.search_many(questions, 2)))
    with pytest.raises(InvalidArgument):
        retriever.search_many("red")


def test_pages_like_another(retriever, here):
    hit = here.search("red")[0]
    for like in (hit, ("one.pdf", 1)):
        assert list(retriever.search_like(like, k=2)) == list(here.search_like(like, k=2))


def test_passages(retriever, here):
    found = retriever.passages("red", 3, where={"year": 2024}, of_page=2)
    assert list(found) == list(here.passages("red", 3, where={"year": 2024}, of_page=2))


def test_a_page_is_the_same_page(retriever, here):
    for ref in (("one.pdf", 2), ("sub/zwei é.pdf", 1)):
        page, wanted = retriever.page(ref), here.page(ref)
        assert (page.ref, page.size_pt, page.text, page.words or ()) == (ref, wanted.size_pt, wanted.text, wanted.words)
        assert ImageChops.difference(page.image, wanted.image).getbbox() is None
        assert retriever.picture(ref, dpi=50).size == here.picture(ref, dpi=50).size


def test_what_is_there(retriever, here):
    assert retriever.documents() == here.documents()
    assert retriever.unread_counts() == here.unread_counts() == (1, 1)
    assert retriever.info()["pages"] == here.info()["pages"]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda r: r.search(""), InvalidArgument, "question"),
        (lambda r: r.search("red", k=0), InvalidArgument, "k"),
        (lambda r: r.search("red", by="none"), InvalidArgument, "none"),
        (lambda r: r.search("red", where={"no": 1}), InvalidArgument, "no page has metadata 'no'"),
        (lambda r: r.search_like(("none", 1)), InvalidArgument, "no document 'none'"),
        (lambda r: r.page(("one.pdf", 9)), InvalidArgument, "no page 9 of one.pdf"),
        (lambda r: r.picture(("none.pdf", 1)), InvalidArgument, "no document 'none.pdf'"),
        (lambda r: r.remove("none.pdf"), InvalidArgument, "no document 'none.pdf'"),
        (lambda r: r.set_metadata("none.pdf", {"a": 1}), InvalidArgument, "no document 'none.pdf'"),
        (lambda r: r.set_metadata("one.pdf", {"doc": 1}), InvalidArgument, "doc"),
    ],
)
def test_errors_are_the_same(retriever, call, error, said):
    with pytest.raises(error, match=said):
        call(retriever)


@pytest.mark.parametrize("kind", ["index", "server"])
def test_documents_come_change_and_go(tmp_path, kind):
    write_pdf(tmp_path / "new" / "green.pdf", "green", "red")
    (tmp_path / "new" / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    Retriever.create(tmp_path / "i.visret", model="toy").close()
    with (
        serving(tmp_path / "i.visret") as address,
        Retriever.open(tmp_path / "i.visret") if kind == "index" else Client(address, key=KEY) as retriever,
    ):
        report = retriever.add([tmp_path / "new", tmp_path / "none.pdf"], metadata={"year": 1})
        assert (report.documents, report.added, report.pages) == (3, 1, 2)
        failed = {one.path: one.reason for one in report.failed}
        assert set(failed) == {str(tmp_path / "new" / "bad.pdf"), str(tmp_path / "none.pdf")}
        assert "damaged" in failed[str(tmp_path / "new" / "bad.pdf")]
        assert retriever.set_metadata("green.pdf", {"year": None, "b": [2]}) == {"b": [2]}
        assert [hit.doc for hit in retriever.search("green", 1)] == ["green.pdf"]
        with writer_lock(tmp_path / "i.visret"), pytest.raises(IndexLocked):
            retriever.remove("green.pdf")
        retriever.remove(["green.pdf"])
        assert "green.pdf" not in retriever.documents()


# ---- what only a client has


def test_the_calls_are_those_of_a_retriever():
    """Code that moves from one to the other passes the same arguments by the same names."""
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_") or name in ("text", "highlight", "answer"):
            continue
        theirs = inspect.signature(getattr(Retriever, name)).parameters
        for parameter in inspect.signature(method).parameters.values():
            assert parameter.name in theirs, (name, parameter)
            assert parameter.default == theirs[parameter.name].default, (name, parameter)
            assert parameter.kind == theirs[parameter.name].kind, (name, parameter)
        if hasattr(AsyncClient, name) and name != "close":
            assert inspect.signature(getattr(AsyncClient, name)) == inspect.signature(method), name


def test_a_picture_with_marks_and_a_text_without_a_file(address, here):
    with Client(address, key=KEY) as opened:
        marked = opened.highlight("red", ("one.pdf", 1))
        assert ImageChops.difference(marked, here.heatmap("red", ("one.pdf", 1)).image(dpi=100)).getbbox() is None
        assert opened.text(("one.pdf", 1)).image is None


def test_all_at_once(address, here):
    async def ask():
        async with AsyncClient(address, key=KEY) as opened:
            hits, many, names, page = await asyncio.gather(
                opened.search("red", 2),
                opened.search_many(["red", "blue"], 1),
                opened.documents(),
                opened.page(("one.pdf", 1)),
            )
            with pytest.raises(InvalidArgument, match="no page 9"):
                await opened.text(("one.pdf", 9))
            return hits, many, names, page

    hits, many, names, page = asyncio.run(ask())
    assert list(hits) == list(here.search("red", 2))
    assert [one[0] for one in many] == [here.search(question, 1)[0] for question in ("red", "blue")]
    assert names == here.documents()
    assert page.image.size == here.page(("one.pdf", 1)).image.size


def test_what_a_server_refuses_is_said(address, index):
    for key in (None, "another-key-of-20-letters"):
        with Client(address, key=key) as opened, pytest.raises(VisretError, match="key"):
            opened.search("red")
    with Client("http://127.0.0.1:9") as opened, pytest.raises(VisretError, match="is `visret serve` running"):
        opened.search("red")
    with pytest.raises(InvalidArgument, match="http://"):
        Client("localhost:7860")


def test_who_is_turned_away_comes_again(index, monkeypatch):
    slept = []
    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=slept.append))
    with (
        serving(index, rate=0.05) as address,  # less than one request at once
        Client(address, key=KEY) as opened,
        pytest.raises(VisretError, match="too many requests"),
    ):
        opened.search("red")
    assert len(slept) == client.TRIES - 1
    assert all(0 < seconds <= client.MAX_WAIT for seconds in slept)


@contextmanager
def forgetful():
    """A server that closes each connection at its second request, as one that is started anew; and what it is asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked.append(self.command)
            self.rfile.read(int(self.headers["content-length"] or 0))
            if getattr(self, "answered", False):
                self.close_connection = True
                return
            self.answered = True
            self.send_response(200)
            self.send_header("content-length", "46")
            self.end_headers()
            self.wfile.write(b'{"hits": [], "warnings": [], "metadata": {  }}')

        def do_PATCH(self):
            self.do_POST()

        def log_message(self, *_):
            pass

    with listening(Handler) as at:
        yield f"http://127.0.0.1:{at}", asked


def test_a_question_is_asked_again_if_its_connection_breaks():
    async def ask(address):
        async with AsyncClient(address) as opened:
            return [await opened.search("red") for _ in range(3)]

    with forgetful() as (address, asked):
        with Client(address) as opened:
            assert [opened.search("red") for _ in range(3)] == [[]] * 3
        assert asked == ["POST"] * 5
        assert asyncio.run(ask(address)) == [[]] * 3


def test_a_change_is_not_made_again_if_its_connection_breaks():
    with forgetful() as (address, asked), Client(address) as opened:
        opened.set_metadata("a.pdf", {})
        with pytest.raises(VisretError, match="does not answer"):
            opened.set_metadata("a.pdf", {})
        assert asked == ["PATCH"] * 2


@pytest.mark.parametrize(
    ("status", "path", "error"),
    [
        (404, "/page/a/1.png", NoPicture),
        (404, "/text/a/1.json", InvalidArgument),
        (409, "/documents", IndexLocked),
        (410, "/page/a/1.png", DocumentError),
        (422, "/search", InvalidArgument),
        (500, "/search", VisretError),
        (501, "/search", MissingExtra),
    ],
)
def test_each_status_is_an_error_of_the_library(status, path, error):
    call = client._Call("GET", path, lambda answer: answer)
    with Client("http://localhost") as opened, pytest.raises(error) as raised:
        opened._check(httpx.Response(status, json={"detail": "so it is"}), call)
    assert type(raised.value) is error
    assert "so it is" in str(raised.value)
    with Client("http://localhost") as opened, pytest.raises(VisretError, match="is this the address of visret"):
        opened._check(httpx.Response(500, text="<html>"), call)


def test_without_the_package_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"visret\[client\]"):
        Client("http://localhost")
