"""A real server, `visret serve` in a process of its own, and clients that mean well and that do not. With `toy`."""

import asyncio
import contextlib
import io
import json
import logging
import re
import signal
import socket
import struct
import sys
import threading
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from support.serving import BEARER, KEY, Server
from support.sheets import write_pdf

from visret import Page, Retriever, VisretError, cli
from visret.server import api, app, guard

SCRIPT = "<script>alert(1)</script>"
ODD = '"><img src=x onerror=alert(1)>.png'  # a name of a file


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a secret, papers, and an index of them."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "secret.txt").write_text("the secret")
    write_pdf(folder / "papers" / "sub" / "one.pdf", "red", "blue")
    write_pdf(folder / "papers" / "two.pdf", "yellow")
    Image.new("RGB", (64, 96), "cyan").save(folder / "papers" / ODD)
    with Retriever.create(folder / "i.visret", model="toy") as retriever:
        retriever.add(folder / "papers", metadata={"title": SCRIPT})
        retriever.add_pages([Page.from_image(Image.new("RGB", (64, 96), "magenta"), doc=SCRIPT)])
    return folder


@pytest.fixture(scope="module")
def server(place):
    """All of it, with a key."""
    (place / "key").write_text(KEY + "\n")
    limits = ["--upload-mb", "2", "--most-pages", "3", "--rate", "5000", "--name", "visret.example"]
    server = Server(place / "i.visret", "--api-key-file", place / "key", *limits)
    yield server
    assert server.process.poll() is None  # whatever was done to it
    with socket.create_connection(("127.0.0.1", server.port)) as kept:
        kept.sendall(f"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        assert kept.recv(4096).startswith(b"HTTP/1.1 200 ")
        status, said, _ = server.stop(signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert said == f"visret: http://127.0.0.1:{server.port}/\n"


# ---- what it is for


def test_an_answer_is_what_the_command_prints(server, place, capsys):
    asked = {"question": "blue", "k": 2, "where": {"doc": ["sub/one.pdf", "two.pdf"]}}
    assert (
        cli.main(["search", str(place / "i.visret"), "blue", "-k2", "--where", json.dumps(asked["where"]), "--json"])
        == 0
    )
    answer = server.ask("/search", "POST", asked)
    answered, printed = json.loads(answer.content), json.loads(capsys.readouterr().out)
    assert [answered[name] for name in ("query", "hits")] == [printed[name] for name in ("query", "hits")]
    hit = answered["hits"][0]
    assert (hit["doc"], hit["page"]) == ("sub/one.pdf", 2)
    assert hit["boxes"]


def test_pages_pictures_and_files_are_shown(server, place):
    for path in ("/page/sub/one.pdf/2.png", "/page/sub%2Fone.pdf/2.png?dpi=50", "/highlight/sub/one.pdf/2.png?q=blue"):
        answer = server.ask(path)
        assert answer.headers["content-type"] == "image/png"
        picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
        blue = max(picture.getcolors(1 << 20))[1]
        assert blue == pytest.approx((0, 0, 255), abs=4) or path.startswith("/highlight")
    assert picture.getextrema()[2][0] < 150  # it is marked, in amber ink
    file = server.ask("/document/sub/one.pdf")
    assert file.content == (place / "papers" / "sub" / "one.pdf").read_bytes()
    assert file.headers["content-type"] == "application/pdf"
    assert file.headers["content-disposition"].startswith("inline")
    assert server.ask("/document/sub/one.pdf", Range="bytes=0-3").content == b"%PDF"
    assert json.loads(server.ask("/health").content)["status"] == "ok"


def test_openapi_names_the_routes_and_nothing_comes_from_elsewhere(server):
    paths = json.loads(server.ask("/openapi.json").content)["paths"]
    assert {*paths} == {
        "/health",
        "/ready",
        "/metrics",
        "/passages",
        "/text/{doc}/{page}.json",
        "/retrieval",
        "/open-webui",
        "/search",
        "/like",
        "/documents",
        "/documents/{doc}",
        "/unread",
        "/page/{doc}/{page}.png",
        "/highlight/{doc}/{page}.png",
        "/document/{doc}",
        "/explanation/{doc}/{page}.json",
        "/suggestions",
    }
    page = server.ask("/").content.decode()
    assert re.findall(r"""<(?:script|link|img)[^>]*["'](?:https?:)?//[^>]*>""", page) == []


def test_files_come_and_go(server, tmp_path):
    green = write_pdf(tmp_path / "g.pdf", "green").read_bytes()
    report = json.loads(server.upload(("g.pdf", green), ("no.pdf", b"%PDF-no"), metadata='{"year": 2024}').content)
    assert (report["added"], report["pages"], len(report["failed"])) == (1, 1, 1)
    assert server.search("green", where={"year": 2024})["hits"][0]["doc"] == "g.pdf"
    listed = json.loads(server.ask("/documents").content)
    assert [one["doc"] for one in listed["documents"] if one["metadata"] == {"year": 2024}] == ["g.pdf"]
    assert server.ask("/documents/g.pdf", "DELETE").status == 204
    assert server.ask("/documents/g.pdf", "DELETE").status == 404
    assert server.ask("/document/g.pdf").status == 404


def test_a_running_server_sees_what_others_commit(server, place):
    write_pdf(place / "later.pdf", "green")
    with Retriever.open(place / "i.visret") as other:
        other.add(place / "later.pdf")
        assert server.search("green", k=1)["hits"][0]["doc"] == "later.pdf"
        assert server.ask("/page/later.pdf/1.png").status == 200
        other.remove("later.pdf")
    assert server.search("green", k=1)["hits"][0]["doc"] != "later.pdf"
    assert server.ask("/page/later.pdf/1.png").status == 404


def test_a_file_that_was_changed_is_not_shown(server, place):
    path = write_pdf(place / "changing.pdf", "green")
    with Retriever.open(place / "i.visret") as other:
        other.add(path)
        server.search("green")
        write_pdf(path, "red", "red")
        assert [
            server.ask(f"/{way}/changing.pdf{rest}").status for way, rest in (("page", "/1.png"), ("document", ""))
        ] == [
            410,
            410,
        ]
        other.remove("changing.pdf")


def test_five_tools_and_nothing_else_over_mcp(server):
    async def talk():
        address = f"http://127.0.0.1:{server.port}/mcp"
        async with (
            httpx2.AsyncClient(headers=BEARER) as http_client,
            Client(streamable_http_client(address, http_client=http_client)) as client,
        ):
            tools = (await client.list_tools()).tools
            found = await client.call_tool("search_pages", {"question": "blue", "k": 1})
            hit = found.structured_content["pages"][0]
            assert hit["passage"] is None  # a page that is blue all over
            assert hit["link"] == f"/document/{hit['doc']}#page={hit['page']}"
            asked = {"question": "blue", "k": 1, "offset": 1, "group_by": "document", "neighbours": 1}
            (second, *near) = (await client.call_tool("search_pages", asked)).structured_content["pages"]
            assert second["rank"] == 2
            assert second["doc"] != hit["doc"]
            assert all(page["neighbour_of"] == 2 for page in near)
            assert found.structured_content["warnings"] == []
            shown = await client.call_tool("read_page", {"doc": hit["doc"], "page": hit["page"]})
            wrong = [
                await client.call_tool(name, arguments)
                for name, arguments in (
                    ("search_pages", {"question": " "}),
                    ("search_pages", {"question": "red", "k": 10**9}),
                    ("search_pages", {"question": "red", "where": {"not": {"colour": 1}}}),
                    ("read_page", {"doc": "../secret.txt", "page": 1}),
                    ("pages_like", {"doc": "../secret.txt", "page": 1}),
                    ("read_page", {"doc": hit["doc"], "page": 10**30}),
                    ("search_pages", {"question": "red", "top_k": 1}),
                    ("read_page", {"doc": hit["doc"], "page": hit["page"], "dpi": 100}),
                )
            ]
            assert all(tool.input_schema["additionalProperties"] is False for tool in tools)
            return [tool.name for tool in tools], hit, shown, wrong

    names, hit, shown, wrong = asyncio.run(talk())
    assert sorted(names) == ["find_passages", "pages_like", "read_page", "search_pages", "show_place"]
    assert (hit["doc"], hit["page"]) == ("sub/one.pdf", 2)
    assert [part.type for part in shown.content] == ["text", "image"]
    assert all(result.is_error for result in wrong)
    assert not any("secret" in part.text.replace("../secret.txt", "") for result in wrong for part in result.content)


# ---- who may ask

ROUTES = [
    ("GET", "/"),
    ("GET", "/config"),
    ("GET", "/health"),
    ("GET", "/openapi.json"),
    ("POST", "/search"),
    ("GET", "/documents"),
    ("POST", "/documents"),
    ("DELETE", "/documents/two.pdf"),
    ("GET", "/document/two.pdf"),
    ("GET", "/page/two.pdf/1.png"),
    ("GET", "/highlight/two.pdf/1.png?q=red"),
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("GET", "/lab/gradio_api/info"),
    ("POST", "/lab/gradio_api/upload"),
    ("POST", "/lab/gradio_api/queue/join"),
    ("GET", "/lab/gradio_api/queue/data?session_hash=x"),
    ("GET", "/lab/gradio_api/heartbeat/x"),
    ("POST", "/lab/gradio_api/run/ask"),
    ("GET", "/lab/gradio_api/file=/etc/passwd"),
    ("GET", "/theme.css"),
    ("POST", "/login"),
    ("GET", "/nothing"),
    ("OPTIONS", "/search"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_is_served_without_the_key(server, method, path):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"{guard.COOKIE}={KEY}"}):
        answer = server.ask(path, method, headers=headers)
        if path == "/health" and "Authorization" not in headers:
            assert (answer.status, answer.content) == (200, b'{"status":"ok"}')
        else:
            assert answer.status == 401
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    assert server.ask(path, method, headers=upgrade).status == (200 if path == "/health" else 401)


def test_a_browser_logs_in_once(server):
    answer = server.ask("/?key=" + KEY, headers={})
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert server.ask("/", headers={"Cookie": cookie}).status == 200
    assert b"visret" in server.ask("/lab/config", headers={"Cookie": cookie}).content


def test_other_sites_and_other_names_are_refused(server):
    for path in ("/search", "/lab/gradio_api/queue/join", "/mcp", "/documents"):
        assert server.ask(path, "POST", {"question": "red"}, Origin="http://evil.example").status == 403
    raw = f"GET /documents HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    assert b" 421 " in server.raw((raw % "evil.example").encode())
    assert b" 200 " in server.raw((raw % "visret.example").encode())


# ---- what it does not do


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "%252e%252e%252fsecret.txt",
        "..%5csecret.txt",
        "....//secret.txt",
        "sub/../../secret.txt",
        "{place}/secret.txt",
        "//{place}/secret.txt",
        "%2f{place}/secret.txt",
        "file://{place}/secret.txt",
        "C:%5cWindows%5cwin.ini",
        "C:/Windows/win.ini",
        "two.pdf%00.txt",
        "two.pdf/../../../secret.txt",
        "catalogue.sqlite",
        "../i.visret/catalogue.sqlite",
        "",
        "~",
        "%ff%fe",
    ],
)
def test_no_path_leads_out(server, place, name):
    name = name.format(place=place)
    for path in (
        f"/document/{name}",
        f"/page/{name}/1.png",
        f"/highlight/{name}/1.png?q=red",
        f"/lab/gradio_api/file={name}",
        f"/lab/gradio_api/file/{name}",
        f"/static/{name}",
        f"/assets/{name}",
        f"/svelte/{name}",
        f"/{name}",
    ):
        answer = server.ask(path)
        assert answer.status in (400, 403, 404, 405) or (answer.status == 200 and path == "/"), (path, answer.status)
        assert b"the secret" not in answer.content
        assert b"SQLite" not in answer.content
    assert server.ask(f"/documents/{name}", "DELETE").status in (400, 404, 405)
    assert (place / "secret.txt").exists()


def test_gradio_hands_out_none_of_this_machines_files(server, place):
    for path in (
        place / "secret.txt",
        place / "key",
        place / "i.visret" / "catalogue.sqlite",
        "/etc/passwd",
        Path.cwd(),
    ):
        assert server.ask(f"/lab/gradio_api/file={quote(str(path))}").status in (403, 404)
    config = json.loads(server.ask("/lab/config").content)
    bring = next(one for one in config["dependencies"] if one["api_name"] == "bring")
    for path in (str(place / "secret.txt"), "http://192.0.2.1/x.pdf"):
        value = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        data = [value if part == bring["targets"][0][0] else None for part in bring["inputs"]]
        asked = {"fn_index": bring["id"], "session_hash": "hostile", "data": data}
        assert server.ask("/lab/gradio_api/queue/join", "POST", asked).status == 200
        stream = server.ask("/lab/gradio_api/queue/data?session_hash=hostile").content
        assert b'"success":false' in stream.replace(b" ", b"")
        assert b"the secret" not in stream
    assert not any(
        one["api_name"] == "open_folder" for one in config["dependencies"]
    )  # with a key, guests are expected


def png_of(width, height):
    """A picture that is small as a file and large in memory."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


def zip_bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(64 << 20))
    return out.getvalue()


def test_files_that_are_not_what_they_say_are_not_kept(server, place, tmp_path):
    before = server.search("red")["hits"]
    many = write_pdf(tmp_path / "many.pdf", "red", "red", "red", "red").read_bytes()
    fakes = {
        "empty.pdf": b"",
        "zip.pdf": zip_bomb(),
        "page.pdf": f"<html>{SCRIPT}</html>".encode(),
        "bomb.png": png_of(100_000, 100_000),
        "elf.png": b"\x7fELF" + bytes(100),
        "cut.pdf": many[: len(many) // 2][:40],
        "many.pdf": many,
    }
    answer = server.upload(*fakes.items())
    assert answer.status == 422
    failed = {Path(one["path"]).name: one["reason"] for one in json.loads(answer.content)["failed"]}
    assert {*failed} == {*fakes}
    assert all(failed.values())
    for name in ("a.exe", "a.html", "a", "..", "a.pdf/", "a.zip"):
        assert server.upload((name, b"%PDF-1.7")).status == 415, name
    red = Image.new("RGB", (64, 96), "red")
    red.save(out := io.BytesIO(), "png")
    assert server.upload(("../../../outside.pdf", out.getvalue())).status == 200  # a picture, and read as one
    assert server.ask("/documents/outside.pdf", "DELETE").status == 204
    assert not list(place.rglob("outside.pdf"))
    assert not list((place / "i.visret" / "uploads").iterdir())
    assert server.search("red")["hits"] == before


def test_what_is_too_large_is_refused_before_it_is_read(server):
    for path in ("/documents", "/lab/gradio_api/upload", "/search", "/mcp", "/lab/gradio_api/queue/join"):
        answer = server.raw(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: multipart/form-data; boundary=X\r\nContent-Length: 99999999999\r\n\r\n".encode()
        )
        assert b" 413 " in answer, path
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
            "Content-Type: multipart/form-data; boundary=X\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        start = b'--X\r\nContent-Disposition: form-data; name="files"; filename="a.pdf"\r\n\r\n'
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            answers = []
            reader = threading.Thread(target=lambda c=connection, a=answers: a.append(c.recv(4096)))
            reader.start()
            with contextlib.suppress(ConnectionError):  # it is told, and nobody listens any more
                connection.sendall(head.encode() + b"%x\r\n%s\r\n" % (len(start), start))
                for _ in range(48):
                    connection.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                    if answers:
                        break
            reader.join(60)
        assert b" 413 " in answers[0], path


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("{", 422),
        ("", 422),
        ("[" * 200_000, 400),
        ('{"question": "red"}x', 422),
        ("null", 422),
        ('"red"', 422),
        ('{"question": 1}', 422),
        ('{"question": "red", "k": 0}', 422),
        ('{"question": "red", "k": 1000000000}', 422),
        ('{"question": "red", "k": 1e400}', 422),
        ('{"question": "red", "k": NaN}', 422),
        ('{"question": "red", "where": []}', 422),
        ('{"question": "red", "where": {"colour": 1}}', 400),
        ('{"question": "red", "where": {"\\ud800": 1}}', 400),
        ('{"question": "red", "where": ' + '{"not": ' * 300 + "1" + "}" * 300 + "}", 400),
        ('{"question": "red", "where": {"or": [' + ",".join(['{"page": 1}'] * 2000) + "]}}", 400),
        ('{"question": "red", "other": 1}', 422),
        ('{"question": ""}', 400),
        ('{"question": "' + "red " * 5000 + '"}', 400),
        ('{"question": "\\ud800"}', 400),
        ('{"question": "\\u0000"}', 400),
        ("\xff\xfe", 422),
    ],
)
def test_questions_that_make_no_sense_are_refused_in_words(server, asked, status):
    answer = server.ask("/search", "POST", asked.encode("latin-1"), **{"Content-Type": "application/json"})
    assert answer.status == status, answer.content
    detail = json.loads(answer.content)["detail"]
    assert all({*one} == {"loc", "msg", "type"} for one in detail) if status == 422 else isinstance(detail, str)
    assert len(answer.content) < 2000  # what was sent is not sent back


def test_other_content_types_and_methods_are_refused(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert server.ask("/search", "POST", '{"question": "red"}', **{"Content-Type": kind}).status == 422
    assert server.ask("/documents", "POST", "x", **{"Content-Type": "multipart/form-data"}).status in (400, 422)
    assert server.ask("/documents", "POST", "x", **{"Content-Type": "multipart/form-data; boundary=X"}).status in (
        400,
        422,
    )
    assert server.ask("/search", "PUT").status == 405
    for dpi in ("0", "5000", "-1", "x", "1e9"):
        assert server.ask(f"/page/two.pdf/1.png?dpi={dpi}").status == 422
    for page in ("0", "2", "9" * 1000, "-1", "x"):
        assert server.ask(f"/page/two.pdf/{page}.png").status == 404


def test_scripts_come_back_as_data(server):
    answer = server.ask("/documents")
    listed = json.loads(answer.content)["documents"]
    assert answer.headers["content-type"] == "application/json"
    assert {SCRIPT, ODD} <= {one["doc"] for one in listed}
    assert listed[0]["metadata"] == {"title": SCRIPT}
    for path, kind in (
        ("/document/" + quote(ODD), "image/png"),
        ("/page/" + quote(SCRIPT) + "/1.png", "image/png"),
        ("/document/" + quote(SCRIPT), "application/json"),
        ("/page/" + quote(SCRIPT) + "/9.png", "application/json"),
        ("/search?" + quote(SCRIPT), "application/json"),
    ):
        answer = server.ask(path)
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script" not in answer.headers.get("content-disposition", "")
    sent = server.upload((SCRIPT + ".pdf", b"no"), metadata=json.dumps({"a": SCRIPT}))
    assert sent.headers["content-type"] == "application/json"


def test_what_is_no_http_is_refused(server):
    for data in (b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00" * 9, b"A" * 100_000):
        assert b" 400 " in server.raw(data)
    assert b" 400 " in server.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.raw(head + b"0\r\n\r\nGET").count(b"HTTP/1.1") == 1  # one request, whatever its lengths say


# ---- beginning and end


def test_answers_that_are_cut_short_at_the_end_are_no_failures():
    server = app.Server(app.configuration(None))

    def is_said(text):
        return server._is_said(logging.LogRecord("uvicorn.error", logging.ERROR, "", 1, text, (), None))

    assert is_said("ASGI callable returned without completing response.")
    server.should_exit = True
    assert not is_said("ASGI callable returned without completing response.")
    assert is_said("Exception in ASGI application")
    assert not is_said("Cancel 2 running task(s), timeout graceful shutdown exceeded")
    assert not is_said("Exception in ASGI application")


def test_a_program_alone_needs_no_page_and_may_not_ask_too_often(place):
    server = Server(place / "i.visret", "--no-ui", "--rate", "1", VISRET_API_KEY="")
    try:
        assert server.ask("/", headers={}).status == 404
        assert b" 421 " in server.raw(b"GET /documents HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        answers = [server.ask("/health", headers={}) for _ in range(guard.BURST_SECONDS + 20)]
        assert {answer.status for answer in answers} == {200, 429}
        assert all(int(answer.headers["retry-after"]) == 1 for answer in answers if answer.status == 429)
    finally:
        status, _, complaints = server.stop()
    assert status == 130
    assert complaints == "\nvisret: stopped\n"


def test_other_machines_are_not_let_in_by_mistake(place, capsys, monkeypatch):
    monkeypatch.delenv(app.KEY, raising=False)
    assert cli.main(["serve", str(place / "i.visret"), "--host", "0.0.0.0"]) == 1
    assert "set VISRET_API_KEY or give --api-key-file FILE or --keys FILE; --no-key lets" in capsys.readouterr().err
    assert cli.main(["serve", "--no-ui"]) == 2
    assert app.is_loopback("127.0.0.2")
    assert not app.is_loopback("visret.example")


def test_a_key_is_read_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(app.KEY, raising=False)
    assert app.read_key(None) is None
    monkeypatch.setenv(app.KEY, KEY)
    assert app.read_key(None) == KEY
    Path(tmp_path / "key").write_text("another-key-of-20-signs\n")
    assert app.read_key(tmp_path / "key") == "another-key-of-20-signs"
    for wrong in ("short", "", "a key with spaces in it", "ключ-из-многих-букв"):
        Path(tmp_path / "key").write_text(wrong, "utf8")
        with pytest.raises(VisretError, match="at least 16"):
            app.read_key(tmp_path / "key")
    with pytest.raises(VisretError, match="cannot be read"):
        app.read_key(tmp_path / "none")


def test_a_port_in_use_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(VisretError, match="choose another --port"):
        app.listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.long
@pytest.mark.weights
@pytest.mark.skipif(sys.platform != "linux", reason="what a process has loaded is read from /proc")
def test_torch_is_loaded_when_something_is_to_be_indexed(tmp_path):
    with Retriever.create(tmp_path / "i.visret") as made:
        made.add_pages([Page.from_text("the red circle", doc="a")])
    (tmp_path / "key").write_text(KEY)
    server = Server(tmp_path / "i.visret", "--api-key-file", tmp_path / "key")
    maps = Path(f"/proc/{server.process.pid}/maps")
    try:
        assert server.search("where is the circle")["hits"][0]["doc"] == "a"
        assert "libtorch" not in maps.read_text("utf8")
        assert server.upload(("more.txt", b"the blue square")).status == 200
        assert "libtorch" in maps.read_text("utf8")
    finally:
        server.process.kill()
        server.process.communicate()  # closes its pipes, too


def test_a_closed_library_leaves_no_thread_that_looks_as_if_it_wrote(place):
    async def recover_and_close():
        library = api.Library(Retriever.open(place / "i.visret"), most_pages=1)
        await library.recover()
        library.close()

    before = sys.getswitchinterval()
    sys.setswitchinterval(60)  # a thread that nobody waits for does not go on
    try:
        asyncio.run(recover_and_close())
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(api.WRITER)]
    finally:
        sys.setswitchinterval(before)
