"""Visitors' own collections: what somebody uploads in the page is an index of its own, which nobody else can search.

A collection is named by a cookie, so that a reload keeps it, and is forgotten some time after it was last used. All
routes of an index are there under /mine: /mine/search, /mine/page/... and so on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visret import __version__
from visret.retriever import Retriever
from visret.search.rerank import Rerankers
from visret.server import answers, api, reading
from visret.server.answers import Json
from visret.types import Encoder

COOKIE = "visret_own"
HOURS = 24  # since its last use, after which a collection is forgotten
MAX_COLLECTIONS = 40  # at a time
MAX_LARGE_FILES = 5  # a collection has at most the pages of so many of the largest files
CLEANING_SECONDS = 600.0
NONE = f"there are no files of yours here; they are forgotten {HOURS} hours after they were last used"

_log = logging.getLogger(__name__)


@dataclass
class Collection:
    """The files of a visitor, and their index. seen: when it was last used, by time.monotonic()."""

    library: api.Library
    app: ASGIApp
    folder: tempfile.TemporaryDirectory[str]
    seen: float = field(default_factory=time.monotonic)

    @property
    def is_busy(self) -> bool:
        """True while files are being read for it."""
        return self.library.progress is not None

    def close(self) -> None:
        """Close the index, and delete everything that was uploaded."""
        self.library.close()
        self.folder.cleanup()


class Collections:
    """The collections of all visitors, as an ASGI application that answers for the one that a cookie names.

    encoder: returns the model that reads what is uploaded. It may take seconds the first time.
    """

    def __init__(self, encoder: Callable[[], Encoder], *, most_pages: int, rerankers: Rerankers) -> None:
        self._encoder = encoder
        self._most_pages = most_pages
        self._rerankers = rerankers
        self._kept: dict[str, Collection] = {}
        self._guard = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a visitor's own collection."""
        if scope["type"] != "http":
            return
        path, token = scope["path"].removeprefix(scope.get("root_path", "")), _token(Headers(scope=scope))
        own = self.of(Headers(scope=scope))
        if path == "/state" and scope["method"] == "GET":
            await Json(state(own))(scope, receive, send)
        elif path in ("", "/") and scope["method"] == "DELETE":
            await to_thread.run_sync(self.forget, token)
            await Response(None, 204)(scope, receive, send)
        elif path == "/documents" and scope["method"] == "POST":
            await self._upload(scope, receive, send, token)
        elif own is None:
            await Json({"detail": NONE}, 404)(scope, receive, send)
        else:
            await own.app(scope, receive, send)

    def of(self, headers: Headers) -> Collection | None:
        """Return the collection that the cookie of a request names, which is used now; None if there is none."""
        own = self._kept.get(_token(headers))
        if own is not None:
            own.seen = time.monotonic()
        return own

    async def _upload(self, scope: Scope, receive: Receive, send: Send, token: str) -> None:
        """Pass an upload on to the visitor's collection, which is made first if there is none."""
        own = self._kept.get(token)
        if own is not None and own.library.retriever.info()["pages"] >= MAX_LARGE_FILES * self._most_pages:
            most = f"{MAX_LARGE_FILES * self._most_pages:,}"
            said = f"your collection has {most} pages, which is the most; delete files first"
            await Json({"detail": said}, 413)(scope, receive, send)
            return
        if own is None:
            own = await to_thread.run_sync(self._make)
            if own is None:
                said = "the files of many visitors are being read now; try again in a few minutes"
                await Json({"detail": said}, 503)(scope, receive, send)
                return
            token = secrets.token_urlsafe(24)
            with self._guard:
                self._kept[token] = own
        secure = "; Secure" if Request(scope).url.scheme == "https" else ""
        cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={HOURS * 3600}{secure}"

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"set-cookie", cookie.encode())]}
            await send(message)

        await own.app(scope, receive, send_named)

    def _make(self) -> Collection | None:
        """Make a collection; None if there is no room, since all others are in use."""
        self.clean(room=True)
        if len(self._kept) >= MAX_COLLECTIONS:
            return None
        folder = tempfile.TemporaryDirectory(prefix="visret-own-", ignore_cleanup_errors=True)
        retriever = Retriever.create(Path(folder.name, "files.visret"), model=self._encoder())
        library = api.Library(retriever, most_pages=self._most_pages, rerankers=self._rerankers)
        return Collection(library, application(library), folder)

    def forget(self, token: str) -> None:
        """Close a collection and delete its files; a name that is not known is nothing to forget."""
        with self._guard:
            own = self._kept.pop(token, None)
        if own is not None:
            own.close()

    def clean(self, *, room: bool = False) -> None:
        """Forget collections that nobody has used for long. room: and the oldest, if there is no room for another."""
        now = time.monotonic()
        with self._guard:
            idle = sorted((one.seen, token) for token, one in self._kept.items() if not one.is_busy)
        late = [token for seen, token in idle if now - seen > HOURS * 3600]
        if room and len(self._kept) - len(late) >= MAX_COLLECTIONS:
            late += [token for _, token in idle if token not in late][
                : len(self._kept) - len(late) - MAX_COLLECTIONS + 1
            ]
        for token in late:
            self.forget(token)

    async def clean_at_times(self) -> None:
        """Clean up for ever, every few minutes."""
        while True:
            await asyncio.sleep(CLEANING_SECONDS)
            await to_thread.run_sync(self.clean)

    def close(self) -> None:
        """Forget all collections."""
        for token in list(self._kept):
            self.forget(token)


def application(library: api.Library) -> FastAPI:
    """Return the application of one collection: the routes of its index, and nothing that describes them."""
    app = FastAPI(version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    answers.explain_errors(app)
    app.include_router(api.routes(library))
    app.include_router(reading.routes(library))
    return app


def state(own: Collection | None) -> dict[str, Any]:
    """Say how much is in a collection, how far its files are read, and when it will be forgotten, in seconds."""
    if own is None:
        return {"documents": 0, "pages": 0, "reading": None, "forgotten_in": None}
    facts, progress = own.library.retriever.info(), own.library.progress
    reading_now = progress and {
        "files": progress.documents,
        "files_total": progress.documents_total,
        "pages": progress.pages,
        "pages_total": progress.pages_total,
        "seconds_left": progress.seconds_left,
    }
    left = own.seen + HOURS * 3600 - time.monotonic()
    counts = {name: facts[name] for name in ("documents", "pages")}
    return {**counts, "reading": reading_now, "forgotten_in": round(max(0.0, left))}


def _token(headers: Headers) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:  # another program's cookie, on this host
        return ""
    return cookie.value if cookie else ""
