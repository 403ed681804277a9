"""The common parts of all answers over HTTP: text that can be sent, errors in words, what the client has already."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePath
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from visret.errors import (
    DocumentError,
    DuplicateDocument,
    IndexLocked,
    InvalidArgument,
    MissingExtra,
    NoPicture,
    PageIndexError,
    VisretError,
)

# The status of an error: that of the first class it is an instance of; 500 for any other VisretError.
STATUSES = {
    InvalidArgument: 400,
    NoPicture: 404,
    DocumentError: 410,
    IndexLocked: 409,
    DuplicateDocument: 409,
    MissingExtra: 501,
}
MAX_WRONG = 10  # mistakes of a request that an answer names
MAX_PART = 80  # characters of a name that the client gave
# An absolute path of several parts: the client need not know what stands before the last part.
_PATH = re.compile(r"""(?<![\w.:/\\~-])(?:/|[A-Za-z]:[\\/]+|\\\\+)(?:[^/\\'"<>:\n]{0,255}[^/\\'"<>:\s][/\\]+)+""")


class Json(JSONResponse):
    """A JSON answer with a question mark for what is not Unicode, as in some names of files and what quotes them."""

    def render(self, content: Any) -> bytes:
        """Turn the values into bytes; no other place does."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf8", "replace")


def words(error: VisretError) -> str:
    """Return the message of an error without paths of this machine."""
    if isinstance(error, DocumentError):
        page = f", page {error.page}" if error.page else ""
        return f"{PurePath(error.path).name}{page}: {without_paths(error.reason)}"
    if isinstance(error, PageIndexError):
        return f"the index {without_paths(error.reason)}"
    return str(error) if isinstance(error, InvalidArgument) else without_paths(str(error))


def without_paths(text: str) -> str:
    """Return the text with only the last part of each absolute path."""
    return _PATH.sub("", text)


def unless_known(request: Request, response: Response) -> Response:
    """Return the answer, or 304 if the client has it already (RFC 9110, 13.1.2).

    An answer without an ETag gets that of its body. This comes before ranges: a client that has the file needs no part
    of it.
    """
    if "etag" not in response.headers:
        response.headers["etag"] = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    asked = ",".join(request.headers.getlist("if-none-match"))
    if asked.strip() != "*" and response.headers["etag"].removeprefix("W/") not in re.findall(r'"[^"]*"', asked):
        return response
    kept = ("etag", "last-modified", "content-location", "vary")
    return Response(None, 304, {name: response.headers[name] for name in kept if name in response.headers})


def explain_errors(app: FastAPI) -> None:
    """Make the application answer every error with a status and a sentence, without repeating the request."""

    @app.exception_handler(VisretError)
    def refused(_: Request, error: VisretError) -> Response:
        status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)
        return Json({"detail": words(error)}, status)

    @app.exception_handler(HTTPException)
    def said(_: Request, error: HTTPException) -> Response:
        return Json({"detail": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> Response:
        return Json({"detail": [_wrong(one) for one in error.errors()[:MAX_WRONG]]}, 422)

    @app.exception_handler(Exception)
    def failed(_: Request, __: Exception) -> Response:
        return Json({"detail": "the server failed; its output says why"}, 500)


def _wrong(one: dict[str, Any]) -> dict[str, Any]:
    place = [part[:MAX_PART] if isinstance(part, str) else part for part in one["loc"]]
    return {"loc": place, "msg": one["msg"][:1000], "type": one["type"]}
