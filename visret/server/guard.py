"""The guard in front of every route, Gradio's and MCP's included: who may ask, from where, how much and how often."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
COOKIE, COOKIE_SECONDS = "visret_key", 365 * 24 * 3600
FORM = "application/x-www-form-urlencoded"
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(?::\d+)?", re.ASCII)

MAX_PATH, MAX_QUERY = 2048, 16384  # bytes
MAX_BODY_BYTES = 1 << 20  # of a request that is not an upload
UPLOADS = ("/documents", "/gradio_api/upload")
DOCUMENTS = ("/document/", "/documents/", "/page/", "/highlight/")  # the name of a document follows
STREAMS = ("/mcp", "/gradio_api/")  # whose answer to GET may never end
# Gradio would fetch the address that follows these, with the server's access to the network.
FETCHES = ("/gradio_api/file=http", "/gradio_api/file/http", "/gradio_api/proxy=")
BURST_SECONDS = 15  # of requests may come at once: a browser asks for 100 files to show the page
WRONG_KEY_COST = 20  # requests that a wrong key counts for
ADDRESSES = 10_000  # that are remembered
BODY_SECONDS, SLOWEST_UPLOAD = 20.0, 1 << 16  # for a body to arrive, and the bytes that earn it another second
READ_SECONDS = 60.0  # that a client may take to read what it is sent

HEADERS = (
    (b"cache-control", b"private, no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Whatever a page holds, the browser asks no other machine for anything. Gradio's page has inline scripts.
    (
        b"content-security-policy",
        b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; base-uri 'self'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
)
LOGIN = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>visret</title><style>body {{ font: 1rem system-ui; margin: 20vh auto; max-width: 24rem; padding: 0 1rem }}
input, button {{ font: inherit; padding: .4rem; margin: .4rem 0; width: 100%; box-sizing: border-box }}</style>
<h1>visret</h1><p>{said}</p>
<form method="post"><label>Key <input name="key" type="password" autocomplete="current-password" autofocus required>
</label><button>Open</button></form>"""


@dataclass(frozen=True)
class Rules:
    """The rules of who may connect to the server, and how much they may ask.

    key: the key that a client must send; None for no key. hosts: the names that this server goes by, in lower case; ()
    for any name. upload_bytes: the largest upload in one request. rate: the most requests a second from one address; 0
    for any number.
    """

    key: str | None = None
    hosts: Collection[str] = ()
    upload_bytes: int = 100 << 20
    rate: float = 20


class Refused(Exception):
    """A request was refused. It has a status, and a sentence that says why."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}


@dataclass
class Bucket:
    """A token bucket of one address. left: the requests that it may make at the moment `seen`, in seconds."""

    left: float
    seen: float


class Guard:
    """ASGI middleware that applies the rules. What it refuses never reaches the application."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._cookie = hmac.new((rules.key or "").encode(), b"visret cookie", hashlib.sha256).hexdigest()
        self._buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on, measuring its body and adding headers to its answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":  # nothing here uses them
            await send({"type": "websocket.close", "code": 1008})
            return
        most = self._rules.upload_bytes if scope["path"] in UPLOADS else MAX_BODY_BYTES
        passage = _Passage(receive, send, most, bodiless=scope["method"] == "HEAD")
        headers = Headers(scope=scope)
        try:
            bucket = self._count(scope)
            _check_address(scope, headers, self._rules.hosts)
            passage.measure(headers)
            scope = _as_routes_see_it(scope)
            if self._rules.key is None or self._knows(headers):
                await self._app(scope, passage.receive, passage.send)
            else:
                await self._log_in(scope, headers, bucket, passage)
        except Refused as refusal:
            passage.refusal = refusal
        await passage.end()

    def _count(self, scope: Scope) -> Bucket:
        """Take a request out of its address's bucket, and return the bucket. Raises Refused if it was empty."""
        rate, now = self._rules.rate, time.monotonic()
        address = (scope["client"] or ("",))[0]
        bucket = self._buckets.pop(address, None) or Bucket(rate * BURST_SECONDS, now)
        self._buckets[address] = bucket  # the latest last
        if len(self._buckets) > ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        if rate:
            bucket.left = min(rate * BURST_SECONDS, bucket.left + rate * (now - bucket.seen))
            bucket.seen = now
            if bucket.left < 1:
                wait = str(math.ceil((1 - bucket.left) / rate))
                raise Refused(429, f"too many requests; ask again in {wait} s", {"retry-after": wait})
            bucket.left -= 1
        return bucket

    def _knows(self, headers: Headers) -> bool:
        """Return whether a request has the key, or the cookie that stands for it."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        by_key = _same(given.strip(), self._rules.key or "") and scheme.lower() == "bearer"
        return by_key or _same(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), self._cookie)

    async def _log_in(self, scope: Scope, headers: Headers, bucket: Bucket, passage: _Passage) -> None:
        """Redirect a browser that gives the key, in its address or in the form, with a cookie; else raise Refused."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = None
        if scope["method"] == "GET":
            given = dict(query).get("key")
        elif scope["method"] == "POST" and headers.get("content-type", "").startswith(FORM):
            given = dict(parse_qsl((await passage.body()).decode("utf8", "replace"))).get("key")
        if given is None and scope["path"] == "/health" and "authorization" not in headers:
            # For monitoring: it says that the server is there, and nothing about it.
            await passage.answer(200, {"content-type": "application/json"}, b'{"status":"ok"}')
            return
        if given is None or not _same(given, self._rules.key or ""):
            wrong = given is not None or "authorization" in headers
            bucket.left -= WRONG_KEY_COST if wrong else 0
            said = "this is not the key of this server" if wrong else "this server asks for a key"
            page = "text/html" in headers.get("accept", "")
            kind = "text/html; charset=utf-8" if page else "application/json"
            raise Refused(401, said, {"www-authenticate": "Bearer", "content-type": kind})
        rest = urlencode([(name, value) for name, value in query if name != "key"])
        place = "/" + quote(scope["path"].lstrip("/\\")) + ("?" + rest if rest else "")
        secure = "; Secure" if scope["scheme"] == "https" else ""
        cookie = f"{COOKIE}={self._cookie}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_SECONDS}{secure}"
        await passage.answer(303, {"location": place, "set-cookie": cookie, "cache-control": "no-store"})


def _check_address(scope: Scope, headers: Headers, hosts: Collection[str]) -> None:
    """Raise Refused for what another site's page made a browser send, and for addresses that lead elsewhere."""
    host = headers.get("host", "").lower()
    name = HOST.fullmatch(host)
    if name is None or (hosts and name[1] not in hosts):
        raise Refused(421, f"this server does not go by the name {host!r}; `visret serve --name NAME` adds one")
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    followed = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"  # a link
    if origin is not None and origin.lower().partition("://")[2] != host:
        raise Refused(403, "this request comes from the page of another site")
    if site not in ("none", "same-origin") and not followed:
        raise Refused(403, "this request comes from the page of another site")
    if len(scope["raw_path"]) > MAX_PATH or len(scope["query_string"]) > MAX_QUERY:
        raise Refused(414, "this address is too long")
    if "\0" in scope["path"]:
        raise Refused(400, "an address cannot hold a null byte")
    if scope["path"].lower().startswith(FETCHES):
        raise Refused(403, "this server fetches nothing from elsewhere")


def _as_routes_see_it(scope: Scope) -> Scope:
    """Return a request as the routes expect it.

    HEAD becomes GET, whose body is dropped later. Bytes of an address that are not UTF-8 become those of a file's name.
    """
    changed = {}
    if scope["method"] == "HEAD" and not scope["path"].startswith(STREAMS):
        changed["method"] = "GET"
    if "\ufffd" in scope["path"] and scope["path"].startswith(DOCUMENTS):
        changed["path"] = unquote_to_bytes(scope["raw_path"]).decode("utf8", "surrogateescape")
    return {**scope, **changed}


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf8", "replace"), wanted.encode())


class _Passage:
    """A request on its way: what was received of it, and how far its answer is."""

    def __init__(self, receive: Receive, send: Send, most: int, *, bodiless: bool) -> None:
        self._receive, self._send, self._most, self._bodiless = receive, send, most, bodiless
        self._started = self._complete = False
        self._size = 0
        self._deadline = time.monotonic() + BODY_SECONDS
        self.refusal: Refused | None = None

    def measure(self, headers: Headers) -> None:
        """Raise Refused for a body whose Content-Length is too large."""
        if int(headers.get("content-length", "0")) > self._most:
            raise self._refused(413, f"the request has more than {self._most:,} bytes")

    async def receive(self) -> Message:
        """Receive the next part of the body; after its end, the message that the client left.

        Raises Refused for a body that is too late or too large.
        """
        if self._complete:
            return await self._receive()
        left = self._deadline + self._size / SLOWEST_UPLOAD - time.monotonic()
        try:
            async with asyncio.timeout(max(left, 0)):
                message = await self._receive()
        except TimeoutError:
            raise self._refused(408, "the body did not arrive in time") from None
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > self._most:
            raise self._refused(413, f"the request has more than {self._most:,} bytes")
        return message

    def _refused(self, status: int, reason: str) -> Refused:
        """Make the error, and keep it, since the application may turn it into something else."""
        self.refusal = Refused(status, reason, {"connection": "close"})
        return self.refusal

    async def body(self) -> bytes:
        """Receive the whole body."""
        parts = []
        while not self._complete:
            parts.append((await self.receive()).get("body", b""))
        return b"".join(parts)

    async def send(self, message: Message) -> None:
        """Pass an answer on with more headers, unless it is the application's answer to a body that was refused."""
        if self.refusal is not None and not self._started:
            return
        if message["type"] == "http.response.start":
            self._started = True
            given = {name.lower() for name, _ in message["headers"]}
            extra = [(name, value) for name, value in HEADERS if name not in given]
            message = {**message, "headers": [*message["headers"], *extra]}
        elif self._bodiless:
            message = {**message, "body": b""}
        async with asyncio.timeout(READ_SECONDS):
            await self._send(message)

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a whole answer."""
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def end(self) -> None:
        """Answer a request that was refused, unless its answer has begun."""
        if self.refusal is None or self._started:
            return
        refusal, self.refusal = self.refusal, None
        headers = {"content-type": "application/json", "cache-control": "no-store", **refusal.headers}
        body = json.dumps({"detail": refusal.reason})
        if headers["content-type"].startswith("text/html"):
            body = LOGIN.format(said=refusal.reason)
        await self.answer(refusal.status, headers, body.encode())
