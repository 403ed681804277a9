"""What is answered, for /openapi.json and the clients that are made from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from visret.documents.formats import FORMATS

# What a browser may open by itself: nothing that could run in it.
KINDS = {
    suffix: "text/plain; charset=utf-8" if kind.reader == "text" else kind.media
    for suffix, kind in FORMATS.items()
    if kind.reader in ("pdf", "picture", "text")
}
State = Literal["done", "partial", "failed", "empty"]
Count = Annotated[int, Field(ge=0)]


class Problem(BaseModel):
    """Why a request was refused or failed, in a sentence."""

    detail: str


class ValidationError(BaseModel):
    """One thing that is wrong with a request. loc: where in it."""

    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(BaseModel):
    """What is wrong with a request."""

    detail: list[ValidationError]


class Health(BaseModel):
    """That the server answers; the rest only for those who know its key."""

    status: str
    model: str | None = None
    documents: Count | None = None
    pages: Count | None = None


class Place(BaseModel):
    """A box in page fractions, origin top left, and the share of the score found inside it."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float


class Found(BaseModel):
    """A page that answers. text: its best line. source: its file. member: its place in that file, "" for the file
    itself. picture: always null; see `/highlight`.

    weak: it hardly answers.
    """

    rank: Annotated[int, Field(ge=1)]
    score: float
    doc: str
    page: Annotated[int, Field(ge=1)]
    text: str
    source: str | None
    member: str
    boxes: list[Place]
    picture: str | None
    weak: bool


class UnreadCounts(BaseModel):
    """failed: files and pages that could not be read. empty: pages with nothing that the model reads."""

    failed: Count
    empty: Count


class Answer(BaseModel):
    """The best pages, best first. warnings: what the model could not make of the question, such as words that it does
    not know. unread: how much of the index no question finds; `/unread` lists it."""

    query: str
    hits: list[Found]
    warnings: list[str]
    unread: UnreadCounts


class FailedPage(BaseModel):
    """A page that could not be read, and why."""

    page: int
    reason: str


class Missing(BaseModel):
    """Content that is known to be missing: page null of the document. help: what would bring it."""

    page: int | None
    what: str
    help: str


class Described(BaseModel):
    """A document. pages: how many can be found. empty, failed: the first of its pages that cannot; unread: how many.
    lost: the first of what is known to be missing from those that can."""

    doc: str
    state: State
    reason: str | None
    pages: Count
    empty: list[int]
    failed: list[FailedPage]
    unread: UnreadCounts
    lost: list[Missing]
    metadata: dict[str, Any]


class Listed(BaseModel):
    """Some of the documents, and how many there are."""

    documents: list[Described]
    total: Count


class UnreadPage(BaseModel):
    """What cannot be found. page: null for a whole file. reason: null for a page with nothing that the model reads."""

    doc: str
    page: int | None
    state: Literal["failed", "empty"]
    reason: str | None


class Unread(BaseModel):
    """Some of what cannot be found, and how much there is."""

    unread: list[UnreadPage]
    total: Count


class Brought(BaseModel):
    """What became of a file. doc: its name in the index; null where it is not there. pages: that can be found."""

    file: str
    doc: str | None
    change: Literal["added", "replaced", "unchanged", "failed"]
    state: State
    pages: Count
    reason: str | None


class UnreadOfFile(BaseModel):
    """A page with nothing that the model reads. path: the name of the file, as it was given."""

    path: str
    page: int


class FailureOfFile(BaseModel):
    """What could not be read: page null for the whole file. path: its name, as it was given."""

    path: str
    page: int | None
    reason: str


class LossOfFile(BaseModel):
    """Content that is known to be missing: page null of the file. what: is missing; help: what would bring it."""

    path: str
    page: int | None
    what: str
    help: str


class Report(BaseModel):
    """What was done, as `visret index --json` prints it, and what became of each file, in order."""

    documents: Count
    pages: Count
    added: Count
    unchanged: Count
    removed: Count
    updated: Count = 0
    empty: list[UnreadOfFile]
    failed: list[FailureOfFile]
    lost: list[LossOfFile] = []
    ignored: list[str] = []
    seconds: float
    files: list[Brought]


class UnreadableFiles(Report, HTTPValidationError):
    """None of the files could be read; detail says it of each as of any other part of a request."""


def _said(description: str, model: Any = Problem) -> dict[str, Any]:
    return {"description": description, "model": model}


_ERRORS: dict[int, dict[str, Any]] = {
    400: _said("The request makes no sense, in words"),
    401: _said("The key is missing or wrong"),
    403: _said("The page of another site asks"),
    404: _said("It is not in the index"),
    408: _said("The request did not come in time"),
    409: _said("Another process is writing to the index"),
    410: _said("The file is gone, was changed since it was indexed, or cannot be drawn"),
    413: _said("The request is too large"),
    414: _said("The address is too long"),
    415: _said("Files of this kind are not read"),
    421: _said("The server does not go by this name"),
    422: _said("The request is not as this document says", HTTPValidationError),
    429: _said("Too many requests; Retry-After says when to ask again"),
    500: _said("The server failed"),
    501: _said("A package is missing on the server"),
    503: _said("Too many connections"),
}
ALWAYS = (400, 401, 403, 408, 413, 414, 421, 422, 429, 500, 503)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that are none: those of every route, and these."""
    return {status: _ERRORS[status] for status in sorted({*ALWAYS, *statuses})}


_TAG = {"ETag": {"description": "For If-None-Match", "schema": {"type": "string"}}}
_KNOWN: dict[int | str, dict[str, Any]] = {304: {"description": "The client has it already, by its If-None-Match"}}
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": {"image/png": {}}, "headers": _TAG},
    **_KNOWN,
    **errors(404, 410, 501),
}
_BYTES = {
    kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("application/octet-stream", *KINDS.values())
}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": _BYTES, "headers": _TAG},
    206: {"description": "The part of it that Range asks for", "content": {**_BYTES, "multipart/byteranges": {}}},
    **_KNOWN,
    **errors(404, 410),
    416: {"description": "It has no such part", "content": {"text/plain": {"schema": {"type": "string"}}}},
}
UPLOAD = errors(409, 415, 501) | {
    422: _said("It is not as this document says, or no file could be read", HTTPValidationError | UnreadableFiles)
}
