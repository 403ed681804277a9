"""Records of what is asked: the access log, log lines as JSON, and figures for Prometheus.

A line names the address of a request without its query, so that neither questions nor keys are in the log.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection
from functools import cache
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY_NAME = "visret_key_name"  # where the guard writes the name of a request's key, in the state of its scope
OTHER = "other"
Told = Callable[[str, str, int, float], None]  # route, method, status, seconds

chosen: dict[str, Any] = {}
"""The arguments of `configure`, for the other processes of the server."""

_access = logging.getLogger("visret.access")
# It says nothing unless it is asked for: operators may have to keep no record of what people look for.
questions = logging.getLogger("visret.questions")
questions.setLevel(logging.CRITICAL)


def configure(*, level: str = "warning", as_json: bool = False, with_questions: bool = False) -> None:
    """Choose what is logged on stderr, and how. Other packages keep to warnings, whatever the level.

    level: one of LOG_LEVELS in `choices`; "info" has a line for each request. as_json: whether each line is a JSON
    object. with_questions: whether the questions are logged too.
    """
    chosen.update(level=level, as_json=as_json, with_questions=with_questions)
    logging.getLogger("visret").setLevel(level.upper())
    questions.setLevel(logging.INFO if with_questions else logging.CRITICAL)
    # It warns of words in questions that are not understood, which answers say too.
    logging.getLogger("visret.search.pipeline").setLevel(logging.NOTSET if with_questions else logging.ERROR)
    if as_json or level in ("debug", "info") or with_questions:
        shown = AsJson() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
        for handler in logging.getLogger().handlers:
            handler.setFormatter(shown)
    if as_json:
        logging.captureWarnings(True)


class AsJson(logging.Formatter):
    """A formatter that makes a JSON object of each record, with the fields of a request as keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class Recorded:
    """ASGI middleware around everything else that records each request once it has been answered.

    routes: returns the first parts of the addresses that there are, as "/page"; all others are told as one. told: gets
    each request.
    """

    def __init__(self, app: ASGIApp, routes: Callable[[], Collection[str]], told: Told | None = None) -> None:
        self._app = app
        self._routes = cache(routes)
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, size = time.perf_counter(), 0, 0
        scope.setdefault("state", {})

        async def seen(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:  # without a status: the client left, or the answer broke off before it began
            seconds = time.perf_counter() - start
            if self._told is not None:
                first = first_part(scope["path"])
                self._told(first if first in self._routes() else OTHER, scope["method"], status, seconds)
            if _access.isEnabledFor(logging.INFO):
                _log_access(scope, status, size, seconds)


def first_part(path: str) -> str:
    """Return the first part of an address, such as "/page"."""
    return "/" + path.removeprefix("/").partition("/")[0]


def _log_access(scope: Scope, status: int, size: int, seconds: float) -> None:
    fields = {
        "client": (scope["client"] or ("",))[0],
        "method": scope["method"],
        "path": scope["raw_path"].decode("latin-1"),
        "status": status,
        "bytes": size,
        "seconds": round(seconds, 4),
        "key": scope["state"].get(KEY_NAME),
    }
    words = " ".join(str(value) for value in fields.values() if value is not None)
    _access.info(words, extra={"fields": fields})
