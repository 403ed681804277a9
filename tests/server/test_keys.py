"""Several keys with names, rights and filters: a bound key gets what its filter lets through, and learns nothing else.

Two indexes differ only in what belongs to others. With a key that is bound to tenant a, both give the same bytes to
every request, so no answer, header, picture or error can tell of the others.
"""

import io
import json
import random
import re
import shutil
from contextlib import ExitStack
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from support.sheets import write_pdf
from support.talker import talker

from visret import Page, Retriever, VisretError, cli
from visret.server import app, keys, llm
from visret.server.guard import Rules
from visret.server.keys import Key, hashed, tolerant
from visret.types import Word

FULL = "the-key-that-opens-everything"
NAMES = {
    "a": Key("a", hashed("key-of-tenant-a-0"), ("read", "write"), {"tenant": "a"}),
    "a-reads": Key("a-reads", hashed("key-of-a-that-reads"), ("read",), {"tenant": "a"}),
    "b": Key("b", hashed("key-of-tenant-b-0"), ("read", "write"), {"tenant": "b"}),
    "late": Key("late", hashed("key-of-later-years"), ("read",), {"year": {">=": 2020}, "not": {"tenant": "b"}}),
    "reads": Key("reads", hashed("key-that-only-reads"), ("read",)),
}
SECRETS = {
    "a": "key-of-tenant-a-0",
    "a-reads": "key-of-a-that-reads",
    "b": "key-of-tenant-b-0",
    "late": "key-of-later-years",
    "reads": "key-that-only-reads",
    "full": FULL,
}
WORD = (0.1, 0.1, 0.5, 0.2)


def bearer(name):
    return {"Authorization": f"Bearer {SECRETS[name]}"}


def pages_of(doc, *colours, words=("paper",), metadata=None):
    placed = [(word, (0.1, 0.1 + 0.1 * row, 0.5, 0.15 + 0.1 * row)) for row, word in enumerate(words)]
    return [
        Page.from_image(Image.new("RGB", (32, 48), colour), doc=doc, page=number, words=placed, metadata=metadata or {})
        for number, colour in enumerate(colours, 1)
    ]


def headed(doc, heading):
    """A page with a heading, the names of its colours, which may become a question that is suggested."""
    lines = [heading, *["notes about the weather"] * 4]
    stripes = Image.new("RGB", (48, 48))
    for number, colour in enumerate(heading.lower().split()):
        stripes.paste(colour, (16 * number, 0, 16 * number + 16, 48))
    placed = [
        Word(word, (0.2 * column, 0.1 * row, 0.2 * column + 0.15, 0.1 * row + (0.02 if row else 0.07)), (), row)
        for row, line in enumerate(lines)
        for column, word in enumerate(line.split())
    ]
    return Page.from_image(stripes, doc=doc, words=placed)


def make(folder, model, *, others):
    """An index of tenant a; others: and of tenant b, whose everything is called canary and coloured magenta."""
    with Retriever.create(folder / "i.visret", model=model) as made:
        papers = folder.parent / "papers"  # the same files, with the same times
        if not papers.exists():
            for name in ("one.pdf", "sub/two.pdf"):
                write_pdf(papers / name, "red", "blue", "yellow")
            (papers / "bad-a.pdf").write_bytes(b"%PDF-1.7 nothing")
        shutil.copytree(papers, folder / "papers")
        if others:
            write_pdf(folder / "others" / "canary-file.pdf", "magenta", "red")
            (folder / "others" / "canary-bad.pdf").write_bytes(b"%PDF-1.7 nothing")
            made.add(
                folder / "others",
                metadata={"tenant": "b", "canary_key": "canary", "shared_key": "x", "year": 2024},
                ocr="never",
            )
        made.add(folder / "papers", metadata={"tenant": "a", "year": 2024}, ocr="never")
        made.add_pages(pages_of("old", "cyan", "red"), metadata={"tenant": "a", "year": 1999}, ocr="never")
        made.add_pages([headed("heading", "Yellow orange purple")], metadata={"tenant": "a"}, ocr="never")
        if others:
            made.add_pages(
                pages_of("canary-pages", "magenta", "magenta", words=["canary", "paper"]),
                metadata={"tenant": "b"},
                ocr="never",
            )
            made.add_pages(pages_of("canary-free", "magenta", words=["canary"]), ocr="never")
            heading = headed("canary-heading", "Magenta white green")
            made.add_pages([heading], metadata={"tenant": "b", "canary_key": "canary"}, ocr="never")
    return folder / "i.visret"


def serving(index, model=None):
    built = app.build(index, Rules(FULL, rate=0, keys=tuple(NAMES.values())), lab=False, llm=model)
    return TestClient(built, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture(scope="module", params=["toy", "none"])
def worlds(request, tmp_path_factory):
    """Clients of two indexes, with others and without, under paths of the same length; `heard` by their models."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        made = []
        for number in (1, 2):
            address, heard = stack.enter_context(talker(pieces=["Red [1]. ", "Blue [2][7]."]))
            index = make(folder / f"world-{number}", request.param, others=number == 1)
            made.append(stack.enter_context(serving(index, llm.named(address, "m", pictures=True))))
            made[-1].heard = heard
        yield made


# ---- requests of all kinds

HERE = ["one.pdf", "sub/two.pdf", "old", "heading", "bad-a.pdf"]
DOCS = [*HERE, "canary-file.pdf", "canary-bad.pdf", "canary-pages"]
DOCS += [
    "canary-free",
    "canary-heading",
    "none",
    "canary",
    "new.png",
    "é\n",
    f"{NAMES['a'].space}/new.png",
    f"{NAMES['b'].space}/new.png",
]
QUESTIONS = ["red", "blue", "paper", "canary", "red canary", "paper canary", "magenta", "orange purple", "", " "]
FILTERS = [
    None,
    {},
    {"tenant": "a"},
    {"tenant": "b"},
    {"tenant": ["a", "b"]},
    {"not": {"tenant": "a"}},
    {"or": [{"tenant": "b"}, {"year": 2024}]},
    {"canary_key": "canary"},
    {"canary_key": {"!=": "canary"}},
    {"unknown_key": 1},
    {"shared_key": "x"},
    {"not": {"canary_key": "canary"}},
    {"doc": "canary-pages"},
    {"doc": ["old", "canary-free"]},
    {"source": {">": ""}},
    {"page": {">=": 2}},
    {"year": {">": 2000}},
    {"tenant": {"~": 1}},
    {"and": 3},
]
WAYS = [None, None, "late", "maxsim", "bm25", "hybrid", "dense", "sparse", "cascade", "no-way"]


def multipart(rng):
    name = rng.choice(["new.png", "free.png", "one.txt"])
    metadata = rng.choice(["", "", '{"tenant": "a"}', '{"tenant": "b"}', '{"year": 2021}', "{"])
    if name.endswith("txt"):
        return [("files", (name, b"red paper"))], metadata
    picture = io.BytesIO()
    Image.new("RGB", (24, 24), rng.choice(["red", "blue"])).save(picture, "png")
    return [("files", (name, picture.getvalue()))], metadata


def tool(rng):
    name = rng.choice(["search_pages", "pages_like", "read_page", "no_tool"])
    arguments = {
        "search_pages": {"question": rng.choice(QUESTIONS), "where": rng.choice(FILTERS), "by": rng.choice(WAYS)},
        "pages_like": {"doc": rng.choice(HERE + DOCS), "page": rng.randint(1, 3)},
        "read_page": {"doc": rng.choice(HERE + DOCS), "page": rng.randint(0, 3)},
    }.get(name, {})
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def some_request(rng, *, writes):
    """A random request: method, path and arguments of httpx."""
    doc, page = quote(rng.choice(HERE[:4] if rng.random() < 0.5 else DOCS)), rng.choice([0, 1, 1, 1, 2, 2, 3, 4])
    search = {
        "question": rng.choice(QUESTIONS),
        "k": rng.randint(1, 5),
        "where": rng.choice(FILTERS),
        "by": rng.choice(WAYS),
        "offset": rng.choice([0, 0, 1, 5]),
        "group_by": rng.choice([None, "document"]),
        "neighbours": rng.choice([0, 0, 1, 2]),
        "exact": rng.random() < 0.2,
        "marks": rng.random() < 0.5,
    }
    like = {"k": rng.randint(1, 5), "where": rng.choice(FILTERS), "neighbours": rng.choice([0, 1])}
    like |= {"doc": rng.choice(HERE + DOCS), "page": page} if rng.random() < 0.9 else {"text": "red paper"}
    mcp = {"Accept": "application/json, text/event-stream"}
    own = {name: search[name] for name in ("question", "k", "by", "group_by", "marks")}
    answer = {name: search[name] for name in ("question", "k", "where", "by")}
    answer["in"] = rng.choice([None, "index", "mine"])
    plain = [
        ("POST", "/search", {"json": search}),
        ("POST", "/search", {"json": search}),
        ("POST", "/answer", {"json": answer}),
        ("POST", "/answer", {"json": answer}),
        ("POST", "/mine/search", {"json": own}),
        ("GET", f"/mine/page/{rng.choice(['new.png', 'free.png', doc])}/1.png?dpi=20", {}),
        ("GET", rng.choice(["/mine/state", "/mine/documents", "/mine/suggestions"]), {}),
        ("GET", f"/explanation/{doc}/{page}.json?q={quote(rng.choice(QUESTIONS))}{rng.choice(['', '&by=bm25'])}", {}),
        ("GET", "/suggestions", {}),
        ("GET", "/start", {}),
        ("GET", rng.choice(["/", "/static/page.js", "/static/none", "/docs"]), {}),
        ("POST", "/like", {"json": like}),
        ("GET", f"/documents?start={rng.randint(0, 3)}&count={rng.randint(1, 9)}", {}),
        ("GET", "/unread", {}),
        ("GET", "/health", {}),
        ("GET", f"/page/{doc}/{page}.png?dpi=20", {}),
        ("GET", f"/page/{doc}/{page}.png?dpi=300&box=0,0,.1,.1", {}),
        ("GET", f"/text/{doc}/{page}.json", {}),
        ("POST", "/passages", {"json": {name: search[name] for name in ("question", "k", "where", "by")}}),
        ("GET", f"/highlight/{doc}/{page}.png?dpi=20&q={quote(rng.choice(QUESTIONS))}", {}),
        ("GET", f"/document/{doc}", {}),
        ("HEAD", f"/document/{doc}", {}),
        ("POST", "/mcp", {"json": tool(rng), "headers": mcp}),
        (
            "GET",
            rng.choice(
                [
                    "/metrics",
                    "/lab/",
                    "/mine/none",
                    "/answer",
                    "/ready",
                    "/openapi.json",
                    f"/{doc}",
                ]
            ),
            {},
        ),
        (rng.choice(["PUT", "OPTIONS", "DELETE"]), rng.choice(["/search", "/health", f"/page/{doc}/1.png"]), {}),
    ]
    if writes and rng.random() < 0.1:
        files, metadata = multipart(rng)
        changes = rng.choice([{"year": 2022}, {"tenant": "b"}, {"tenant": None}, {"note": "x"}, {"shared_key": "x"}])
        return rng.choice(
            [
                ("POST", "/documents", {"files": files, "data": {"metadata": metadata}}),
                ("POST", "/mine/documents", {"files": files}),
                ("DELETE", rng.choice(["/mine/", "/mine/documents/new.png"]), {}),
                ("PATCH", f"/documents/{doc}", {"json": changes}),
                ("DELETE", f"/documents/{quote(rng.choice(DOCS[5:]))}", {}),
            ]
        )
    return rng.choice(plain)


def ask(client, name, request):
    method, path, more = request
    headers = {**bearer(name), **more.get("headers", {})}
    return client.request(method, path, **{**more, "headers": headers})


# How rare a word is in all pages is no secret, and the rest are times.
STATISTICS = {"score", "scores", "about", "relevance", "weak", "level", "seconds", "forgotten_in"}
EXACT = re.compile(r"/(like|documents|unread|health|page|text|highlight|document|start|static|docs)\b")


def without_statistics(value):
    if isinstance(value, dict):
        return {key: without_statistics(one) for key, one in value.items() if key not in STATISTICS}
    if isinstance(value, list):
        return [without_statistics(one) for one in value]
    if isinstance(value, str) and value.startswith("{"):  # JSON as text, as MCP has it
        try:
            return without_statistics(json.loads(value))
        except ValueError:
            return value
    return value


def told(answer, world, *, exactly):
    """All that an answer tells, but for where its files lie and when they came; unless exactly, without scores."""
    body = re.sub(rb"visret-own-\w{8}", b"own", answer.content.replace(f"world-{world}".encode(), b"world"))
    headers = dict(answer.headers)
    headers.pop("last-modified", None)
    headers["set-cookie"] = re.sub(r"visret_own=[\w-]{32};", "", headers.get("set-cookie", ""))
    if body and not exactly and headers.get("content-type") == "application/json":
        body = without_statistics(json.loads(body))
        del headers["content-length"]
    if headers.get("content-type", "").startswith("text/event-stream"):
        events = body.decode().split("\n\n")
        if not exactly:  # if all pages are weak, which depends on how rare words are, the model is not asked
            del events[1:]
        body = [without_statistics(event.partition("data: ")[2]) for event in events]
    return answer.status_code, headers, body


def withstands(worlds, count, seed, name, *, writes):
    rng = random.Random(seed)
    statuses = set()
    for _ in range(count):
        request = some_request(rng, writes=writes)
        first, second = (ask(client, name, request) for client in worlds)
        exactly = bool(EXACT.match(request[1])) and request[:2] != ("POST", "/documents")
        exactly = exactly or ("json" in request[2] and request[2]["json"].get("by") in ("late", "maxsim"))
        alike = told(first, 1, exactly=exactly) == told(second, 2, exactly=exactly)
        assert alike, (name, request, first.content[:999], second.content[:999])
        heard, beside = ([world.heard.pop()[2] for _ in world.heard[:]] for world in worlds)
        assert heard == beside or not (exactly or (heard and beside)), request  # what the language model is shown
        statuses.add(first.status_code)
        assert b"the server failed" not in first.content, request
        if "canary" not in json.dumps(request, default=str):
            assert b"canary" not in first.content + str(first.headers).encode(), request
            assert "canary" not in json.dumps(heard), request
        if first.headers.get("content-type") == "image/png" and first.content:
            with Image.open(io.BytesIO(first.content)) as picture:
                colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
            assert (255, 0, 255) not in colours, request
    return statuses


@pytest.mark.long
def test_a_bound_key_cannot_tell_whether_there_are_others(worlds):
    assert withstands(worlds, 150, 1, "a-reads", writes=True) >= {200, 400, 403, 404, 405}
    withstands(worlds, 30, 2, "late", writes=True)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))  # of 1,000, for each of two indexes
def test_bound_keys_withstand_ten_thousand_requests(worlds, seed):
    withstands(worlds, 700, seed, "a-reads", writes=True)
    withstands(worlds, 300, seed, "a", writes=True)


# ---- what a key is for


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """An index with both tenants."""
    return make(tmp_path_factory.mktemp("full") / "world-1", "none", others=True)


@pytest.fixture
def own(full, tmp_path):
    """A client of an index of its own."""
    with serving(shutil.copytree(full, tmp_path / "i.visret")) as client:
        yield client


def docs(client, name):
    return [one["doc"] for one in client.get("/documents", headers=bearer(name)).json()["documents"]]


def upload(client, name, *files, metadata=""):
    given = [("files", (file, content)) for file, content in files]
    return client.post("/documents", files=given, data={"metadata": metadata}, headers=bearer(name))


def test_each_key_gets_what_its_filter_lets_through(own):
    assert docs(own, "a") == docs(own, "a-reads") == ["bad-a.pdf", "one.pdf", "sub/two.pdf", "old", "heading"]
    assert docs(own, "b") == ["canary-bad.pdf", "canary-file.pdf", "canary-pages", "canary-heading"]
    assert docs(own, "late") == ["bad-a.pdf", "one.pdf", "sub/two.pdf"]
    every = [*docs(own, "b")[:2], *docs(own, "a"), "canary-pages", "canary-free", "canary-heading"]
    assert docs(own, "full") == docs(own, "reads") == every
    facts = own.get("/health", headers=bearer("a")).json()
    assert (facts["documents"], facts["pages"]) == (5, 3)  # pages without words cannot be found without a model
    for name, found in (("b", 200), ("a", 404), ("late", 404), ("full", 200)):
        assert own.get("/page/canary-pages/1.png", headers=bearer(name)).status_code == found
        assert own.get("/document/canary-file.pdf", headers=bearer(name)).status_code == found
    hits = own.post("/search", json={"question": "canary"}, headers=bearer("b")).json()["hits"]
    assert [hit["doc"] for hit in hits] == ["canary-pages"] * len(hits)
    assert hits
    assert own.post("/search", json={"question": "canary"}, headers=bearer("a")).json()["hits"] == []


def test_a_bound_key_has_only_the_routes_that_are_bound(own):
    for path in ("/metrics", "/lab", "/lab/", "/gradio_api/info", "/theme.css"):
        assert own.get(path, headers=bearer("a")).status_code == 404
    assert own.get("/metrics", headers=bearer("full")).status_code in (200, 501)
    assert own.get("/ready", headers=bearer("a")).json() == {"status": "ready"}


def test_the_page_tells_a_bound_key_of_its_own_pages_alone(own):
    assert b"<title>visret</title>" in own.get("/", headers=bearer("a")).content
    for name, documents, pages in (("a", 2, 3), ("b", 2, 3), ("full", 5, 7)):
        told = own.get("/start", headers=bearer(name)).json()["index"]
        assert (told["documents"], told["pages"]) == (documents, pages)  # only those with words
    for name, headings in (
        ("a", ["Yellow orange purple"]),
        ("b", ["Magenta white green"]),
        ("late", []),
        ("full", ["Yellow orange purple", "Magenta white green"]),
    ):
        made = own.get("/suggestions", headers=bearer(name)).json()["suggestions"]
        assert sorted(one["question"] for one in made) == sorted(headings)
    assert own.get("/text/old/1.json", headers=bearer("a")).json()["pages"] == [1, 2]
    for name, status in (("a", 404), ("b", 200)):
        assert own.get("/explanation/canary-pages/1.json?q=canary", headers=bearer(name)).status_code == status


def test_an_answer_for_a_bound_key_is_written_from_its_own_pages(full, tmp_path):
    with (
        talker(pieces=["It is paper [1][2][3]."]) as (address, heard),
        serving(shutil.copytree(full, tmp_path / "i.visret"), llm.named(address, "m")) as client,
    ):
        told = client.post("/answer", json={"question": "canary paper"}, headers=bearer("a")).text
        assert '"doc": "old"' in told
        assert '"number": 3, "start": 18, "end": 21, "statement": "It is paper.", "doc": null' in told
        assert "canary" not in told + str(heard).replace("Question: canary paper", "")
        told = client.post("/answer", json={"question": "canary paper"}, headers=bearer("b")).text
        assert '"doc": "canary-pages"' in told
        assert '"doc": "old"' not in told


def test_own_files_are_for_keys_that_may_write(own):
    def bring(name):
        files = [("files", ("own.txt", b"paper of nobody else"))]
        return own.post("/mine/documents", files=files, headers=bearer(name))

    for name, status in (("a", 200), ("a-reads", 403), ("reads", 403)):
        assert bool(own.get("/start", headers=bearer(name)).json()["uploads"]) == (status == 200)
        own.cookies.clear()
        assert bring(name).status_code == status
    assert bring("a").status_code == 200
    found = own.post("/mine/search", json={"question": "paper"}, headers=bearer("a")).json()["hits"]
    assert [hit["doc"] for hit in found] == ["own.txt"]
    assert "own.txt" not in docs(own, "a") + docs(own, "full")


def test_a_key_without_the_right_changes_nothing(own):
    for name in ("a-reads", "reads"):
        for answer in (
            upload(own, name, ("one.txt", b"red")),
            own.patch("/documents/old", json={"x": 1}, headers=bearer(name)),
            own.delete("/documents/old", headers=bearer(name)),
        ):
            assert (answer.status_code, answer.json()["detail"]) == (403, "this key may not change the index")


def test_what_a_bound_key_adds_is_bound(own):
    space_a, space_b = NAMES["a"].space, NAMES["b"].space
    assert upload(own, "a", ("report.txt", b"red paper of a")).json()["files"][0]["doc"] == f"{space_a}/report.txt"
    assert upload(own, "b", ("report.txt", b"blue paper of b"), metadata='{"year": 2}').status_code == 200
    # Another has a file of the same name.
    assert own.get(f"/document/{space_a}/report.txt", headers=bearer("a")).content == b"red paper of a"
    assert own.get(f"/document/{space_b}/report.txt", headers=bearer("a")).status_code == 404
    described = {one["doc"]: one for one in own.get("/documents", headers=bearer("full")).json()["documents"]}
    assert described[f"{space_a}/report.txt"]["metadata"] == {"tenant": "a"}
    assert described[f"{space_b}/report.txt"]["metadata"] == {"tenant": "b", "year": 2}
    refused = upload(own, "a", ("more.txt", b"red"), metadata='{"tenant": "b"}')
    assert (refused.status_code, "tenant = 'a'" in refused.json()["detail"]) == (400, True)
    again = upload(own, "a", ("report.txt", b"yellow paper of a")).json()
    assert (again["files"][0]["change"], again["files"][0]["doc"]) == ("replaced", f"{space_a}/report.txt")
    assert upload(own, "a", ("copy.txt", b"blue paper of b")).json()["files"][0]["change"] == "added"
    assert own.delete(f"/documents/{space_a}/report.txt", headers=bearer("b")).status_code == 404
    assert own.delete(f"/documents/{space_a}/report.txt", headers=bearer("a")).status_code == 204
    assert own.get(f"/document/{space_b}/report.txt", headers=bearer("b")).content == b"blue paper of b"


def test_what_binds_a_key_cannot_be_changed_with_it(own):
    for changes in ({"tenant": "b"}, {"tenant": None}, {"year": 2000, "tenant": "a"}):
        refused = own.patch("/documents/old", json=changes, headers=bearer("a"))
        assert (refused.status_code, "cannot change 'tenant'" in refused.json()["detail"]) == (400, True)
    assert own.patch("/documents/old", json={"year": 2000}, headers=bearer("a")).json()["metadata"]["year"] == 2000
    assert own.patch("/documents/canary-pages", json={"year": 2000}, headers=bearer("a")).status_code == 404


def test_a_document_that_was_given_to_others_is_not_replaced(own):
    space = NAMES["a"].space
    upload(own, "a", ("report.txt", b"red paper of a"))
    own.patch(f"/documents/{space}/report.txt", json={"tenant": "b"}, headers=bearer("full"))
    added = upload(own, "a", ("report.txt", b"yellow paper of a")).json()["files"][0]
    assert added["change"] == "added"
    assert own.get(f"/document/{space}/report.txt", headers=bearer("b")).content == b"red paper of a"
    assert own.get(f"/document/{added['doc']}", headers=bearer("a")).content == b"yellow paper of a"


def test_a_file_that_others_have_lost_is_not_found_again_by_its_content(tmp_path):
    """Otherwise the answer would tell that others have it, and they would lose their document."""
    with Retriever.create(tmp_path / "i.visret", model="none") as made:
        (tmp_path / "lost.txt").write_bytes(b"blue paper of b")
        made.add(tmp_path / "lost.txt", metadata={"tenant": "b"})
        (tmp_path / "lost.txt").unlink()
    with serving(tmp_path / "i.visret") as client:
        report = upload(client, "a", ("mine.txt", b"blue paper of b")).json()
        assert (report["added"], report["unchanged"], report["files"][0]["change"]) == (1, 0, "added")
        assert docs(client, "b") == ["lost.txt"]


def test_a_document_with_pages_of_others_belongs_to_nobody_bound(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="none") as made:
        mixed = [
            *pages_of("mixed", "red", metadata={"tenant": "a"}),
            *(page for page in pages_of("mixed", "red", "magenta", metadata={"tenant": "b"}) if page.ref.page == 2),
        ]
        made.add_pages(mixed, metadata={"tenant": "a"}, ocr="never")
    with serving(tmp_path / "i.visret") as client:
        assert docs(client, "a") == docs(client, "b") == []
        found = client.post("/search", json={"question": "paper", "neighbours": 2}, headers=bearer("a")).json()["hits"]
        assert [(hit["doc"], hit["page"]) for hit in found] == [("mixed", 1)]
        assert client.get("/text/mixed/1.json", headers=bearer("a")).json()["pages"] == [1]
        assert client.get("/start", headers=bearer("a")).json()["index"]["pages"] == 1
        assert client.get("/suggestions", headers=bearer("a")).json()["suggestions"] == []
        assert client.get("/page/mixed/1.png", headers=bearer("a")).status_code == 200
        assert client.get("/page/mixed/2.png", headers=bearer("a")).status_code == 404
        assert client.get("/page/mixed/2.png", headers=bearer("b")).status_code == 200
        for name in ("a", "b"):
            assert client.get("/document/mixed", headers=bearer(name)).status_code == 404
            assert client.delete("/documents/mixed", headers=bearer(name)).status_code == 404


def test_tools_of_language_models_are_bound_too(own):
    def call(name, **arguments):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        body["params"] = {"name": "search_pages", "arguments": arguments}
        headers = {**bearer(name), "Accept": "application/json, text/event-stream"}
        return json.loads(own.post("/mcp", json=body, headers=headers).json()["result"]["content"][0]["text"])

    assert {page["doc"] for page in call("b", question="canary paper")["pages"]} == {"canary-pages"}
    assert {page["doc"] for page in call("a", question="canary paper")["pages"]} == {"old"}
    assert len(call("full", question="canary paper")["pages"]) == 5


def test_a_browser_gets_a_cookie_of_its_own_key(own, tmp_path):
    answer = own.get("/documents?key=key-of-tenant-b-0", follow_redirects=False)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    own.cookies.clear()
    assert answer.status_code == 303
    assert "key-of-tenant" not in cookie
    listed = own.get("/documents", headers={"Cookie": cookie}).json()["documents"]
    assert [one["doc"] for one in listed] == docs(own, "b")
    with serving(tmp_path / "i.visret") as another:  # the hash in the operator's file makes no cookie
        assert another.get("/documents", headers={"Cookie": cookie}).status_code == 401


# ---- the file of keys


def written(folder, text, name="keys.toml"):
    (folder / name).write_text(text)
    return folder / name


def test_a_file_of_keys(tmp_path):
    digest = hashed("key-of-tenant-b-0")
    (a, b) = keys.read(
        written(
            tmp_path,
            f"""
            [[keys]]
            name = "a"
            key = "key-of-tenant-a-0"
            rights = ["read", "write"]
            where = {{tenant = "a"}}

            [[keys]]
            name = "b"
            sha256 = "{digest}"
            where = {{tenant = "b", day = {{">=" = 2020-01-31}}}}
            """,
        )
    )
    assert (a.name, a.may_write, a.equalities, a.sha256) == ("a", True, {"tenant": "a"}, hashed("key-of-tenant-a-0"))
    assert (b.name, b.may_write, b.equalities, b.sha256) == ("b", False, None, digest)
    assert (b.where["day"], len(b.space)) == ({">=": "2020-01-31"}, 12)
    text = json.dumps({"keys": [{"name": "c", "sha256": digest}]})
    (c,) = keys.read(written(tmp_path, text, "keys.json"))
    assert (c.where, c.rights) == (None, ("read",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keys = 3", r"has \[\[keys\]\] tables"),
        ("[[keys]\n", "cannot be read"),
        ("[[keys]]\nname='a'\nkey='short'", "at least 16"),
        ("[[keys]]\nname='a'\nsha256='ABC'", "64 hexadecimal digits"),
        ("[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nsha256='x'", "either the key or its sha256"),
        ("[[keys]]\nkey='key-of-tenant-a-0'", "give a name"),
        ("[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nwehre={}", "no setting is called 'wehre'"),
        ("[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nwhere=3", "where is a filter"),
        ("[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nwhere={}", "leave it out to bind nothing"),
        ("[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nwhere={page=1}", "filter of documents"),
        ("[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nwhere={year={'~'=1}}", "the operators are"),
        ("[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nrights=['write']", "the rights 'read'"),
        ("[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nrights=['read','admin']", "the rights 'read'"),
        (
            "[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\nrights=['read','write']\nwhere={year={'>'=1}}",
            "a key that may write has a filter such as",
        ),
        (
            "[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\n[[keys]]\nname='a'\nkey='key-of-tenant-b-0'",
            "two keys have the same name",
        ),
        (
            "[[keys]]\nname='a'\nkey='key-of-tenant-a-0'\n[[keys]]\nname='b'\nkey='key-of-tenant-a-0'",
            "two keys have the same key",
        ),
    ],
)
def test_a_file_that_cannot_be_kept_to_is_refused(tmp_path, text, said):
    with pytest.raises(VisretError, match=said):
        keys.read(written(tmp_path, text))


def test_the_command_takes_the_file(tmp_path, capsys):
    assert cli.main(["serve", str(tmp_path), "--keys", str(tmp_path / "none.toml")]) == 1
    assert "the keys cannot be read" in capsys.readouterr().err


def test_bound_keys_are_for_one_index_in_a_folder(full):
    for index, fuse in ((full, {"other": str(full)}), ("qdrant://localhost/pages", None)):
        with pytest.raises(VisretError, match="for one index in a folder"):
            app.build(index, Rules(keys=[NAMES["a"]]), ui=False, fuse=fuse)


def test_a_filter_without_unknown_keys_means_the_same():
    known = {"year"}
    assert tolerant({"year": 1, "other": 2}, known) == {"and": [{"year": 1}, {"or": []}]}
    assert tolerant({"other": {"!=": 2}}, known) == {"and": []}
    assert tolerant({"not": {"other": 2}}, known) == {"and": [{"not": {"and": [{"or": []}]}}]}
