"""The guard alone, before an application that says what reached it."""

import asyncio
import json

import pytest

from visret.server import guard
from visret.server.guard import LOOPBACK, Guard, Rules

KEY = "correct-horse-battery"


async def echo(scope, receive, send):
    """Answers with the method, the path and the length of the body; what goes wrong with the body is its own fault."""
    try:
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        said = f"{scope['method']} {scope['path']} {size}"
    except Exception:  # noqa: BLE001 - what applications do
        said = "broken"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": said.encode()})


class Answer:
    def __init__(self, messages):
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    @property
    def detail(self):
        return json.loads(self.body)["detail"]


def ask(
    guarded, path="/search", *, method="GET", query="", body=(b"",), host="localhost:7860", client="1.2.3.4", **more
):
    """Send a request; `more` are headers. A body's part None never comes."""
    headers = {"host": host, **{name.replace("_", "-"): value for name, value in more.items()}}
    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (client, 5),
    }
    parts = iter(body)
    sent = []

    async def receive():
        part = next(parts, b"")
        if part is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    async def send(message):
        sent.append(message)

    asyncio.run(guarded(scope, receive, send))
    return Answer(sent)


@pytest.fixture
def locked():
    return Guard(echo, Rules(KEY))


def test_the_key_opens_every_way_it_can_be_given(locked):
    assert ask(locked).status == 401
    assert ask(locked, authorization="Bearer wrong").status == 401
    assert ask(locked, authorization=f"Basic {KEY}").status == 401
    assert ask(locked, authorization="Bearer ünï").status == 401
    assert ask(locked, authorization=f"bearer {KEY}").body == b"GET /search 0"
    for given in (
        ask(locked, "/a b", query=f"q=red&key={KEY}"),
        ask(locked, "/a b", method="POST", query="q=red", body=[f"key={KEY}".encode()], content_type=guard.FORM),
    ):
        assert (given.status, given.headers["location"]) == (303, "/a%20b?q=red")
        cookie, *flags = given.headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Lax"} <= {*flags}
        assert KEY not in cookie
        assert ask(locked, cookie=f"a=b; {cookie}").status == 200
    assert ask(locked, cookie=f"{guard.COOKIE}={KEY}").status == 401
    assert ask(Guard(echo, Rules("another-key-of-16")), cookie=cookie).status == 401
    assert ask(locked, query="key=wrong").status == 401
    assert ask(locked, method="POST", query=f"key={KEY}").status == 401


def test_a_browser_is_asked_for_the_key_and_a_program_is_told(locked):
    page = ask(locked, accept="text/html,*/*")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b'type="password"' in page.body
    told = ask(locked, accept="*/*")
    assert told.headers["content-type"] == "application/json"
    assert "key" in told.detail


def test_the_way_on_never_leads_to_another_site(locked):
    for path in ("//evil.example", "/\\evil.example", "///evil.example/x"):
        place = ask(locked, path, query=f"key={KEY}").headers["location"]
        assert place.startswith("/evil.example")


def test_guessing_keys_is_slow(locked):
    statuses = [ask(locked, authorization="Bearer guess").status for _ in range(30)]
    assert statuses.count(401) < 20
    assert statuses[-1] == 429
    assert ask(locked, client="5.6.7.8").status == 401  # others are not held up


def test_too_many_requests_are_told_when_to_come_again(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(guard.time, "monotonic", lambda: clock[0])
    guarded = Guard(echo, Rules(rate=2))
    statuses = [ask(guarded).status for _ in range(31)]
    assert statuses == [200] * 30 + [429]
    refused = ask(guarded)
    assert refused.headers["retry-after"] == "1"
    assert ask(guarded, client="::1").status == 200
    clock[0] += 0.5
    assert [ask(guarded).status for _ in range(2)] == [200, 429]
    assert {ask(Guard(echo, Rules(rate=0))).status for _ in range(50)} == {200}


def test_addresses_are_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr(guard, "ADDRESSES", 3)
    guarded = Guard(echo, Rules())
    for number in range(9):
        ask(guarded, client=f"10.0.0.{number}")
    assert [*guarded._buckets] == ["10.0.0.6", "10.0.0.7", "10.0.0.8"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "localhost.evil.example", "", "a b", "[::2]"])
def test_a_name_that_is_not_its_own_is_refused(host):
    assert ask(Guard(echo, Rules(hosts=LOOPBACK)), host=host).status == 421


@pytest.mark.parametrize("host", ["LOCALHOST", "127.0.0.1:7860", "[::1]:7860"])
def test_its_own_names_are_known(host):
    assert ask(Guard(echo, Rules(hosts=LOOPBACK)), host=host).status == 200


def test_pages_of_other_sites_get_nothing():
    guarded = Guard(echo, Rules())
    for origin in ("http://evil.example", "null", "http://localhost:7861", "https://localhost:7860.evil.example"):
        assert ask(guarded, method="POST", origin=origin).status == 403
        assert ask(guarded, origin=origin).status == 403
    assert ask(guarded, method="POST", origin="http://localhost:7860").status == 200
    assert ask(guarded, sec_fetch_site="cross-site", sec_fetch_mode="no-cors").status == 403
    assert ask(guarded, sec_fetch_site="same-site", sec_fetch_mode="no-cors").status == 403
    assert ask(guarded, method="POST", sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 403
    assert ask(guarded, sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 200  # a link was followed
    assert ask(guarded, method="POST", sec_fetch_site="same-origin").status == 200


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/page/" + "9" * 5000 + ".png", "", 414),
        ("/highlight/a.pdf/1.png", "q=" + "a" * 20_000, 414),
        ("/document/a\0.pdf", "", 400),
        ("/lab/gradio_api/file=HTTP://example.com/a.png", "", 403),
        ("/lab/gradio_api/file/https://example.com/a.png", "", 403),
        ("/lab/gradio_api/proxy=https://example.com", "", 403),
        ("/lab/gradio_api/file=/tmp/a.png", "", 200),
    ],
)
def test_addresses_that_nobody_needs(path, query, status):
    assert ask(Guard(echo, Rules()), path, query=query).status == status


def test_bodies_are_measured_announced_or_not():
    guarded = Guard(echo, Rules(upload_bytes=3 << 20))
    mebibyte = b"x" * (1 << 20)
    assert ask(guarded, method="POST", body=[mebibyte]).body == b"POST /search 1048576"
    for path, most in (("/search", 1), ("/documents", 3), ("/lab/gradio_api/upload", 3)):
        assert ask(guarded, path, method="POST", body=[mebibyte] * most).status == 200
        for refused in (
            ask(guarded, path, method="POST", content_length=str((most << 20) + 1)),
            ask(guarded, path, method="POST", body=[mebibyte] * most + [b"x"]),  # the application does not see why
        ):
            assert refused.status == 413
            assert refused.headers["connection"] == "close"
            assert f"{most << 20:,} bytes" in refused.detail


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    assert ask(Guard(echo, Rules()), method="POST", body=[b"a", None]).status == 408
    assert ask(Guard(echo, Rules(KEY)), method="POST", body=[None], content_type=guard.FORM).status == 408


def test_every_answer_is_dressed(locked):
    for answer in (ask(locked), ask(locked, authorization=f"Bearer {KEY}")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
        assert "access-control-allow-origin" not in answer.headers


def test_websockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message["type"])

    asyncio.run(Guard(echo, Rules())({"type": "websocket", "path": "/"}, None, send))
    assert sent == ["websocket.close"]
