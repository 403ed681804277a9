"""The schemas of all answers, for /openapi.json and the clients that are generated from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from visret.documents.formats import FORMATS

# The kinds of files that a browser may open by itself; none of them can run in it.
KINDS = {
    suffix: "text/plain; charset=utf-8" if kind.reader == "text" else kind.media
    for suffix, kind in FORMATS.items()
    if kind.reader in ("pdf", "picture", "text")
}
State = Literal["done", "partial", "failed", "empty"]
Count = Annotated[int, Field(ge=0)]


class Problem(BaseModel):
    """A sentence that says why a request was refused or failed."""

    detail: str


class ValidationError(BaseModel):
    """One thing that is wrong with a request. loc: the place in the request."""

    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(BaseModel):
    """The list of what is wrong with a request."""

    detail: list[ValidationError]


class Health(BaseModel):
    """The state of the server. Only those who know its key are told more than the status.

    rerankers: the names that `rerank` takes in a search.
    """

    status: str
    model: str | None = None
    documents: Count | None = None
    pages: Count | None = None
    rerankers: list[str] | None = None


class Ready(BaseModel):
    """The state of the server: ready for questions, or loading."""

    status: Literal["ready", "loading"]


class Place(BaseModel):
    """A box in page fractions, origin top left, and the share of the score found inside it."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float


class PlacedPassage(BaseModel):
    """The place on a page that answers: consecutive lines, a table, a figure with its caption.

    boxes: those of its lines, x0, y0, x1, y1 in page fractions, origin top left; boxes_pt: in points. span: its first
    character in the text of the page, and the one behind the last. size_pt: of the page. score: how well the question
    is matched in it. marked: the words of `text` that are marked, each as its first character and the one behind its
    last; only there if the search asked for `marks`.
    """

    text: str
    boxes: list[list[float]]
    boxes_pt: list[list[float]]
    size_pt: list[float] | None
    span: list[int] | None
    score: float
    marked: list[list[int]] | None = None


class Found(BaseModel):
    """A page that answers the question.

    text: its best line. about: what its boxes show, and what the page was ranked by. source: its file. member: its
    place inside that file, or "" for the file itself. picture: always null; see `/highlight`. weak: whether it hardly
    answers. relevance: how well it answers, from 0 to 1, where .5 is the line below which a page is weak in any index;
    null if nothing is known of the model's scores. scores: what the score is made of, by name. score: null for a page
    that a reranker was to score and did not, since it stood too deep, time was up or it could not be read; unscored is
    true then. neighbour_of: null for a page that was found; the rank of the hit beside a neighbour, whose own rank is
    0. passage: the place that answers. link: the end of a link to it, such as "#page=3&box=0.1,0.2,0.9,0.3", which
    viewers of PDFs scroll to. metadata: of the page and its document. label: the number that is printed on the page, as
    its file says, such as "iv"; null if that is `page` or unknown; only there if the search asked for `marks`.
    """

    rank: Count
    score: float | None
    unscored: bool
    doc: str
    page: Annotated[int, Field(ge=1)]
    text: str
    source: str | None
    member: str
    boxes: list[Place]
    about: str
    picture: str | None
    weak: bool
    relevance: float | None
    scores: dict[str, float]
    neighbour_of: int | None
    passage: PlacedPassage | None
    link: str
    metadata: dict[str, Any]
    label: str | None = None


class PlacedWord(BaseModel):
    """A word of a page. box: x0, y0, x1, y1 in page fractions, origin top left. line: that it stands on, from 0."""

    text: str
    box: list[float]
    line: Count


class PageText(BaseModel):
    """The text of a page in reading order, as it was indexed.

    label: as in a hit. size_pt: width and height in points; null for plain text. words: those of `text` with their
    places; null if they are not known. pages: the numbers of all pages of the document that can be found.
    """

    doc: str
    page: Annotated[int, Field(ge=1)]
    label: str | None
    size_pt: list[float] | None
    text: str
    words: list[PlacedWord] | None
    pages: list[int]
    metadata: dict[str, Any]


class Marked(BaseModel):
    """A marked place of a page: a box in page fractions, origin top left.

    level: how well it is matched, from 0 to 1. words: the words of the question that it answers.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    level: float
    words: list[str]


class AskedWord(BaseModel):
    """A word of the question. tells: whether it says what is asked, as function words do not."""

    text: str
    tells: bool


class Explained(BaseModel):
    """The places where a page answers a question.

    words: those of the question. passages: the places that answer, best first. marks: where its words are matched
    best, in reading order. spans: of plain text, the marked characters. about: what the places come from.
    """

    doc: str
    page: Annotated[int, Field(ge=1)]
    words: list[AskedWord]
    passages: list[PlacedPassage]
    marks: list[Marked]
    spans: list[list[int]]
    about: str


class Suggestion(BaseModel):
    """A question that the index answers, made of a heading of this page."""

    question: str
    doc: str
    page: Annotated[int, Field(ge=1)]


class Suggested(BaseModel):
    """Questions that the index answers, from as many documents as possible."""

    suggestions: list[Suggestion]


class UnreadCounts(BaseModel):
    """The number of files and pages that no question finds.

    failed: files and pages that could not be read. empty: pages that hold nothing for the model.
    """

    failed: Count
    empty: Count


class Answer(BaseModel):
    """The best pages for a question, best first.

    warnings: what in the question the model did not understand, such as unknown words. unread: how much of the index
    no question finds; `/unread` lists it.
    """

    query: str
    hits: list[Found]
    warnings: list[str]
    unread: UnreadCounts


class Alike(BaseModel):
    """The pages that are most like another one, best first. Their places are not marked, and none is weak."""

    hits: list[Found]
    warnings: list[str]


class FoundPassages(BaseModel):
    """The best passages of all pages, best first, each in the hit of its page."""

    query: str
    hits: list[Found]
    warnings: list[str]


class Record(BaseModel):
    """A passage for Dify. score: how well it answers, from 0 to 1. title: the document."""

    content: str
    score: float
    title: str
    metadata: dict[str, Any]


class Records(BaseModel):
    """The answer to Dify."""

    records: list[Record]


class WebResult(BaseModel):
    """A page for Open WebUI. snippet: the passage that answers."""

    link: str
    title: str
    snippet: str


class FailedPage(BaseModel):
    """A page that could not be read, and why."""

    page: int
    reason: str


class Missing(BaseModel):
    """Content that is known to be missing. page: null for the whole document. help: what would bring it."""

    page: int | None
    what: str
    help: str


class Described(BaseModel):
    """A document of the index.

    pages: how many of its pages can be found. empty, failed: the first pages that cannot. unread: how many cannot.
    lost: the first contents that are known to be missing from pages that can be found.
    """

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
    """Some of the documents, and the number of all."""

    documents: list[Described]
    total: Count


class UnreadPage(BaseModel):
    """A page or a file that no question finds.

    page: null for a whole file. reason: null for a page that holds nothing for the model.
    """

    doc: str
    page: int | None
    state: Literal["failed", "empty"]
    reason: str | None


class Unread(BaseModel):
    """Some of what no question finds, and the number of all."""

    unread: list[UnreadPage]
    total: Count


class Brought(BaseModel):
    """The outcome for a file. doc: its name in the index; null if it is not there. pages: how many can be found."""

    file: str
    doc: str | None
    change: Literal["added", "replaced", "unchanged", "failed"]
    state: State
    pages: Count
    reason: str | None


class UnreadOfFile(BaseModel):
    """A page that holds nothing for the model. path: the name of the file, as it was given."""

    path: str
    page: int


class FailureOfFile(BaseModel):
    """A file or a page that could not be read. page: null for the whole file. path: its name, as it was given."""

    path: str
    page: int | None
    reason: str


class LossOfFile(BaseModel):
    """Content that is known to be missing from a file.

    page: null for the whole file. what: what is missing. help: what would bring it.
    """

    path: str
    page: int | None
    what: str
    help: str


class Report(BaseModel):
    """The report of what was done, as `visret index --json` prints it. files: the outcome for each file, in order."""

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
    """The answer if no file could be read. detail: an entry for each file, as for any other part of a request."""


def _said(description: str, model: Any = Problem) -> dict[str, Any]:
    return {"description": description, "model": model}


_ERRORS: dict[int, dict[str, Any]] = {
    400: _said("The request makes no sense; `detail` says why"),
    401: _said("The key is missing or wrong"),
    403: _said("The request comes from the page of another site"),
    404: _said("It is not in the index"),
    408: _said("The request did not arrive in time"),
    409: _said("Another process is writing to the index"),
    410: _said("The file is gone, has changed since it was indexed, or cannot be drawn"),
    413: _said("The request is too large"),
    414: _said("The address is too long"),
    415: _said("Files of this kind are not read"),
    421: _said("The server does not go by this name"),
    422: _said("The request does not follow this document", HTTPValidationError),
    429: _said("Too many requests; Retry-After says when to ask again"),
    500: _said("The server failed"),
    501: _said("A package is missing on the server"),
    503: _said("Too many connections"),
}
ALWAYS = (400, 401, 403, 408, 413, 414, 421, 422, 429, 500, 503)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route: those of every route, and these."""
    return {status: _ERRORS[status] for status in sorted({*ALWAYS, *statuses})}


_TAG = {"ETag": {"description": "For If-None-Match", "schema": {"type": "string"}}}
_KNOWN: dict[int | str, dict[str, Any]] = {304: {"description": "The client has it already, as its If-None-Match says"}}
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": {"image/png": {}}, "headers": _TAG},
    **_KNOWN,
    **errors(404, 410, 501),
}
METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The figures in the text format of Prometheus", "content": {"text/plain": {}}},
    **errors(501),
}
READY = {**errors(), 503: _said("The model is loading, or cannot be loaded", Ready)}
_BYTES = {
    kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("application/octet-stream", *KINDS.values())
}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": _BYTES, "headers": _TAG},
    206: {"description": "The part of the file that Range asks for", "content": {**_BYTES, "multipart/byteranges": {}}},
    **_KNOWN,
    **errors(404, 410),
    416: {"description": "The file has no such part", "content": {"text/plain": {"schema": {"type": "string"}}}},
}
ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer as it is written",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **errors(501),
}
UPLOAD = errors(409, 415, 501) | {
    422: _said(
        "The request does not follow this document, or no file could be read", HTTPValidationError | UnreadableFiles
    )
}
