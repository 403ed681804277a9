"""The guard in front of every route, Gradio's and MCP's included: who may ask, from where, how much and how often."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visret.server import keys
from visret.server.keys import CURRENT, Key
from visret.server.records import KEY_NAME

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
COOKIE, COOKIE_SECONDS = "visret_key", 365 * 24 * 3600
FORM = "application/x-www-form-urlencoded"
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(?::\d+)?", re.ASCII)

MAX_PATH, MAX_QUERY = 2048, 16384  # bytes
MAX_BODY_BYTES = 1 << 20  # of a request that is not an upload
PROBES = ("/health", "/ready")  # anybody may ask for them, under any name of this server, and is told the status alone
UPLOADS = ("/documents", "/mine/documents", "/lab/gradio_api/upload")
# The name of a document follows.
DOCUMENTS = tuple(
    f"{where}/{what}/"
    for where in ("", "/mine")
    for what in ("document", "documents", "page", "highlight", "text", "explanation")
)
STREAMS = ("/mcp", "/lab/gradio_api/")  # whose answer to GET may never end
# Gradio would fetch the address that follows these, with the server's access to the network.
FETCHES = ("/lab/gradio_api/file=http", "/lab/gradio_api/file/http", "/lab/gradio_api/proxy=")
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

    key: the key that opens everything. keys: those that have names, rights and filters. With neither, no key is asked
    for. hosts: the names that this server goes by, in lower case; () for any name. upload_bytes: the largest upload in
    one request. rate: the most requests a second from one address; 0 for any number.
    """

    key: str | None = None
    hosts: Collection[str] = ()
    upload_bytes: int = 100 << 20
    rate: float = 20
    keys: Collection[Key] = ()

    @property
    def every_key(self) -> tuple[Key, ...]:
        """All keys, of which each client must send one; () if none is asked for."""
        return (*(() if self.key is None else (Key("key", keys.hashed(self.key)),)), *self.keys)


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
    """ASGI middleware that applies the rules. What it refuses never reaches the application.

    bound: the application that requests with a bound key reach, and no other; None if there is no index, so that they
    reach nothing.
    """

    def __init__(self, app: ASGIApp, rules: Rules, bound: ASGIApp | None = None) -> None:
        self._app = app
        self._bound = bound
        self._rules = rules
        self._keys = rules.every_key
        # The hash of a key is in the operator's file, and must not be enough to make its cookie.
        secret = secrets.token_bytes(32)
        made = {key: hmac.new(secret, key.sha256.encode(), hashlib.sha256).hexdigest() for key in rules.keys}
        if rules.key is not None:  # its cookie outlives the process
            made[self._keys[0]] = hmac.new(rules.key.encode(), b"visret cookie", hashlib.sha256).hexdigest()
        self._cookies = made
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
            probes = scope["path"] in PROBES and scope["method"] in ("GET", "HEAD")
            is_ours = _check_address(scope, headers, self._rules.hosts, any_name=probes)
            passage.measure(headers)
            scope = _as_routes_see_it(scope)
            key = self._key(headers) if self._keys and is_ours else None
            if is_ours and (key is not None or not self._keys):
                await self._pass_on(key, scope, passage)
            elif probes and (not is_ours or "authorization" not in headers):
                if scope["path"] == "/ready":
                    await self._app(scope, passage.receive, passage.send)
                else:
                    await passage.answer(200, {"content-type": "application/json"}, b'{"status":"ok"}')
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

    async def _pass_on(self, key: Key | None, scope: Scope, passage: _Passage) -> None:
        """Let a request reach the application that its key opens."""
        app = self._app if key is None or key.where is None else self._bound
        if app is None:
            raise Refused(404, "this server has no index")
        if key is not None:
            scope.get("state", {})[KEY_NAME] = key.name
        token = CURRENT.set(key)
        try:
            await app(scope, passage.receive, passage.send)
        finally:
            CURRENT.reset(token)

    def _key(self, headers: Headers) -> Key | None:
        """Return the key that a request has, or whose cookie it has."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (key := keys.found(given.strip(), self._keys)) is not None:
            return key
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return next((key for key, value in self._cookies.items() if _same(cookie, value)), None)

    async def _log_in(self, scope: Scope, headers: Headers, bucket: Bucket, passage: _Passage) -> None:
        """Redirect a browser that gives the key, in its address or in the form, with a cookie; else raise Refused."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = None
        if scope["method"] == "GET":
            given = dict(query).get("key")
        elif scope["method"] == "POST" and headers.get("content-type", "").startswith(FORM):
            given = dict(parse_qsl((await passage.body()).decode("utf8", "replace"))).get("key")
        key = None if given is None else keys.found(given, self._keys)
        if key is None:
            wrong = given is not None or "authorization" in headers
            bucket.left -= WRONG_KEY_COST if wrong else 0
            said = "this is not the key of this server" if wrong else "this server asks for a key"
            page = "text/html" in headers.get("accept", "")
            kind = "text/html; charset=utf-8" if page else "application/json"
            raise Refused(401, said, {"www-authenticate": "Bearer", "content-type": kind})
        rest = urlencode([(name, value) for name, value in query if name != "key"])
        place = "/" + quote(scope["path"].lstrip("/\\")) + ("?" + rest if rest else "")
        secure = "; Secure" if scope["scheme"] == "https" else ""
        cookie = f"{COOKIE}={self._cookies[key]}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_SECONDS}{secure}"
        await passage.answer(303, {"location": place, "set-cookie": cookie, "cache-control": "no-store"})


def _check_address(scope: Scope, headers: Headers, hosts: Collection[str], *, any_name: bool = False) -> bool:
    """Return whether this server goes by the name that it was called.

    Raises Refused for what another site's page made a browser send, for addresses that lead elsewhere, and unless
    any_name is allowed for names that are not this server's.
    """
    host = headers.get("host", "").lower()
    name = HOST.fullmatch(host)
    is_ours = name is not None and (not hosts or name[1] in hosts)
    if not is_ours and not any_name:
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
    return is_ours


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
