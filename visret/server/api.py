"""The HTTP API: questions, pages, explanations and documents of one index."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, Literal, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import FileResponse, Response
from PIL.Image import Image
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.convertors import Convertor, register_url_convertor

from visret.choices import BM25, DEPTH
from visret.documents import formats
from visret.errors import DocumentError, IndexLocked, InvalidArgument, NoPicture, VisretError
from visret.explain.attribution import Explanation
from visret.index import Document
from visret.ingest.report import Progress
from visret.retriever import PICTURE_DPI, Retriever, as_json, pipeline_of
from visret.search.rerank import Rerankers, check_limits
from visret.server import schemas, uploads
from visret.server.answers import Json, unless_known, without_paths
from visret.server.batches import Asked, Batches, Hits, refresh
from visret.server.keys import CURRENT
from visret.server.labels import Labels
from visret.server.records import questions
from visret.types import Box, Hit, PageRef, Ranked

MAX_HITS = 100
MAX_OFFSET = 10_000  # pages of a ranking that are passed over
MAX_NEIGHBOURS = 5
MAX_DEPTH, MAX_SECONDS = 100, 60.0  # of reading pages again
USUAL_SECONDS = 20.0
MAX_FILTER_DEPTH, MAX_FILTER_PARTS = 10, 1000  # filters inside filters, and parts in all
READ_SIDE = 1400  # pixels; a sheet of paper at 120 dpi
MAX_SHOWN = 100  # pages of a document that cannot be found and are listed
WRITER = "visret-write"  # the beginning of the name of the thread that writes
STOP_SECONDS = 2.0  # that the server waits at its end for a file that is being read
DRAWN_TOGETHER = 2  # pictures, each of which may take 150 MB
COMPARED_TOGETHER = 2  # pages with all others
READS_ONLY = (
    "this server only reads, as several processes (--workers) do, and one of a store or an image: change the index "
    "with visret index, set and remove, or through a visret serve of its folder with one process"
)
MAX_DPI, MAX_PART_DPI = 200, 1200  # of a whole page, and of a part of one

Made = TypeVar("Made")
Start = Annotated[int, Query(ge=0)]
Count = Annotated[int, Query(ge=1, le=1000)]
# `format` is for generators of clients, which know a file by it.
_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
Upload = Annotated[UploadFile, WithJsonSchema(_FILE)]
Dpi = Annotated[int, Query(ge=20, le=MAX_PART_DPI)]
WholeDpi = Annotated[int, Query(ge=20, le=MAX_DPI)]
PartOfPage = Annotated[str, Query(pattern=r"^[0-9.]{1,20}(,[0-9.]{1,20}){3}$", examples=["0,0.25,1,0.5"])]

_log = logging.getLogger(__name__)


class Name(Convertor[str]):
    """The name of a document in an address: any text, even with line feeds, as files may be named."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        """Return the name as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return the name as it is."""
        return value


register_url_convertor("document", Name())


class Library:
    """An index as the server uses it, for HTTP and MCP alike.

    rerankers: those that the operator offers; nothing that visitors send makes the server load another model.
    read_only: whether changes are refused.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        most_pages: int,
        rerankers: Rerankers | None = None,
        read_only: bool = False,
    ) -> None:
        self.retriever = retriever
        self.read_only = read_only
        self.rerankers = Rerankers({}) if rerankers is None else rerankers
        self.folder = Path(retriever.info()["path"])
        self.most_pages = most_pages
        self._batches = Batches(retriever, self.rerankers)
        self.labels = Labels(retriever)
        self._drawing = CapacityLimiter(DRAWN_TOGETHER)
        self._comparing = CapacityLimiter(COMPARED_TOGETHER)
        self._writer = ThreadPoolExecutor(1, WRITER)
        self._written: set[Future[Any]] = set()  # changes that are under way, or wait
        self._closing = False
        self._counted: Callable[[], None] = lambda: None
        self.progress: Progress | None = None  # of the files that are being read now
        # The model loads in the meantime. An error is raised again, and reported, when the model is needed.
        self._loading = ThreadPoolExecutor(1).submit(lambda: retriever.encoder)

    @property
    def is_ready(self) -> bool:
        """True if questions are answered without waiting for a model."""
        return not self._closing and self._loading.done() and self._loading.exception() is None

    @property
    def waiting(self) -> int:
        """The number of questions that wait."""
        return self._batches.waiting

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of documents and of pages."""
        snapshot = pipeline_of(self.retriever).snapshot
        return len(snapshot.docs()), len(snapshot)

    def state(self) -> object:
        """Return an object that is another after each change of the index."""
        return pipeline_of(self.retriever).snapshot

    def watch(self, timed: Callable[[str, float], None], counted: Callable[[], None]) -> None:
        """Tell the seconds of each stage of a question, and each question."""
        self._batches.timed, self._counted = timed, counted

    def ask(self, asked: Asked) -> Future[Hits]:
        """Put a question to the index; the answer comes later.

        Raises InvalidArgument for too large a filter, and for a reranker that is not offered.
        """
        check_filter(asked.where)
        self.rerankers.check(asked.rerank)
        check_limits(asked.rerank, asked.depth, asked.seconds)
        if asked.rerank is not None and asked.seconds is None:
            asked = replace(asked, seconds=USUAL_SECONDS)
        questions.info("%s", asked.text)
        self._counted()
        return self._batches.ask(asked)

    async def answered(self, asked: Asked) -> Hits:
        """Return what was found for a question, with the warnings about it."""
        return await asyncio.wrap_future(self.ask(asked))

    async def search(self, asked: Asked) -> Ranked[dict[str, Any]]:
        """Return hits as `visret search --json` prints them, with the warnings about the question.

        With `asked.marks` they have the printed labels of their pages too, and the marked words of their passages.
        """
        found = await self.answered(asked)
        hits = [as_json(*shown[:3]) for shown in found]
        if asked.marks:
            labels = await to_thread.run_sync(lambda: [self.labels.of(shown.hit.ref) for shown in found])
            for hit, shown, label in zip(hits, found, labels, strict=True):
                hit["label"] = label
                if hit["passage"] is not None:
                    hit["passage"]["marked"] = [list(span) for span in shown.marked or ()]
        return Ranked(hits, found.warnings)

    async def like(self, asked: Like) -> Ranked[dict[str, Any]]:
        """Return the hits that are most like a page or a text, as `search` returns those for a question.

        Raises HTTPException 404 for a page that is not there, and InvalidArgument for anything else that is wrong.
        """
        check_filter(asked.where)
        if (asked.doc is None) == (asked.text is None):
            raise InvalidArgument("give either the doc and page of a page, or a text")
        page = asked.text if asked.doc is None else ((await self.found(asked.doc, asked.page)).doc, asked.page)
        how = asked.model_dump(exclude={"doc", "page", "text"})

        def work() -> Ranked[Hit]:
            refresh(self.retriever)
            return self.retriever.search_like(page, **how)  # type: ignore[arg-type]

        found = await to_thread.run_sync(work, limiter=self._comparing)
        return Ranked(map(as_json, found), found.warnings)

    def explain(self, question: str, ref: PageRef, by: str | None) -> Explanation:
        """Return where on a page a question is answered. by: "bm25" if the page was found by its words alone."""
        if by != BM25:
            return self.retriever.heatmap(question, ref)
        pipeline = pipeline_of(self.retriever)
        return pipeline.explain(pipeline.asked([question], BM25)[0], ref)

    async def draw(self, work: Callable[[], Image]) -> bytes:
        """Draw a picture as PNG."""

        def png() -> bytes:
            out = BytesIO()
            work().save(out, "png")
            return out.getvalue()

        return await to_thread.run_sync(png, limiter=self._drawing)

    async def read(self, doc: str, page: int) -> tuple[str, bytes | None, DocumentError | None]:
        """Read a page: its text, its picture in a size for language models, and the error if it cannot be drawn.

        The picture is None if it cannot be drawn, and for plain text.
        """
        read, problem = await to_thread.run_sync(self.retriever.read, (doc, page), limiter=self._drawing)
        image = read.image
        if image is None:
            return read.text, None, problem
        image.thumbnail((READ_SIDE, READ_SIDE))
        return read.text, await self.draw(lambda: image), None

    async def write(self, work: Callable[[], Made]) -> Made:
        """Change the index, one change at a time.

        Raises HTTPException 403 if this server, or the key of this request, only reads.
        """
        if self.read_only:
            raise HTTPException(403, READS_ONLY)
        key = CURRENT.get()
        if key is not None and not key.may_write:
            raise HTTPException(403, "this key may not change the index")
        writing = self._writer.submit(self._written_by, work)
        self._written.add(writing)
        writing.add_done_callback(self._written.discard)
        return await asyncio.wrap_future(writing)

    async def add(self, files: Sequence[tuple[str, IO[bytes]]], metadata: Mapping[str, Any] | None) -> uploads.Uploaded:
        """Bring files into the index."""
        return await self.write(
            partial(
                uploads.add,
                self.retriever,
                self.folder,
                files,
                metadata=metadata,
                most_pages=self.most_pages,
                progress=self._go_on,
            )
        )

    async def remove(self, doc: str) -> None:
        """Remove a document from the index."""
        await self.write(partial(uploads.remove, self.retriever, self.folder, doc))

    async def recover(self) -> None:
        """Finish what a killed server has left. If that fails now, it is tried again before the next upload."""
        work = partial(uploads.recover, self.retriever, self.folder, most_pages=self.most_pages, progress=self._go_on)
        try:
            await self.write(work)
        except IndexLocked:
            pass  # the process that writes takes care of it
        except VisretError as error:
            _log.warning("what an earlier server left unfinished cannot be finished now: %s", error)

    def find(self, doc: str, page: int | None = None) -> Document:
        """Find a document that has the page. Raises HTTPException 404 if there is none.

        doc: its name; or the end of its file's path, if that is not Unicode and its name shows question marks.
        """
        refresh(self.retriever)
        try:
            document = self.retriever.document(self._name(doc))
        except InvalidArgument as error:
            raise HTTPException(404, str(error)) from error
        if page is not None and page not in document.pages:
            raise HTTPException(404, f"no page {page} of {document.doc} in this index")
        return document

    async def found(self, doc: str, page: int | None = None) -> Document:
        """Find a document as `find` does; other requests are answered meanwhile."""
        return await to_thread.run_sync(self.find, doc, page)

    def close(self) -> None:
        """Answer what was asked, and close the index. The next server finishes or drops what is still being read."""
        self._closing = True
        self._writer.shutdown(wait=False, cancel_futures=True)
        self._batches.close()
        if not wait(set(self._written), STOP_SECONDS).not_done:
            self._writer.shutdown()  # or `serve` might still see its thread, and take it for one that writes
            self.retriever.close()

    def _name(self, doc: str) -> str:
        try:
            doc.encode()
        except UnicodeEncodeError:
            end = os.sep + doc
            documents = map(self.retriever.document, self.retriever.documents())
            named = [one.doc for one in documents if one.source and one.source.endswith(end)]
            return named[0] if len(named) == 1 else doc
        return doc

    def _written_by(self, work: Callable[[], Made]) -> Made:
        try:
            return work()
        finally:
            self.progress = None

    def _go_on(self, progress: Progress) -> None:
        """Note how far it is after a batch of pages, and raise Stopped if the server is closing."""
        self.progress = progress
        if self._closing:
            raise Stopped


class Stopped(Exception):
    """The server is ending while it reads a file."""


class Search(BaseModel):
    """A question, with the arguments of `Retriever.search`.

    by: the name of a way of ranking, or a plan such as {"weights": {"late": 0.7, "bm25": 0.3}, "fusion": "rank"}.
    rerank: one of the rerankers that `/health` lists. seconds: null stands for twenty. marks: hits have the printed
    labels of their pages too, and the marked words of their passages.
    """

    model_config = ConfigDict(extra="forbid")

    question: str
    k: Annotated[int, Field(ge=1, le=MAX_HITS)] = 10
    where: dict[str, Any] | None = None
    exact: bool = False
    by: str | dict[str, Any] | None = None
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    group_by: Literal["document"] | None = None
    neighbours: Annotated[int, Field(ge=0, le=MAX_NEIGHBOURS)] = 0
    weak: bool = True
    min_score: Annotated[float | None, Field(ge=0, le=1)] = None
    rerank: str | None = None
    depth: Annotated[int, Field(ge=1, le=MAX_DEPTH)] = DEPTH
    seconds: Annotated[float | None, Field(gt=0, le=MAX_SECONDS)] = None
    marks: bool = False


class Like(BaseModel):
    """A page of the index, or a text, with the arguments of `Retriever.search_like`."""

    model_config = ConfigDict(extra="forbid")

    doc: str | None = None
    page: Annotated[int, Field(ge=1)] = 1
    text: str | None = None
    k: Annotated[int, Field(ge=1, le=MAX_HITS)] = 10
    where: dict[str, Any] | None = None
    exact: bool = False
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    group_by: Literal["document"] | None = None
    neighbours: Annotated[int, Field(ge=0, le=MAX_NEIGHBOURS)] = 0


def checked_part(box: str | None, dpi: int) -> Box | None:
    """Return the part of a page that is to be drawn; None for all of it. Raises InvalidArgument for what is none."""
    if box is None:
        if dpi > MAX_DPI:
            raise InvalidArgument(f"a whole page is drawn at {MAX_DPI} dpi at most; give the box of a part for more")
        return None
    try:
        x0, y0, x1, y1 = map(float, box.split(","))
    except ValueError:
        raise InvalidArgument("box is x0,y0,x1,y1 in page fractions, such as 0,0.25,1,0.5") from None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise InvalidArgument("box is x0,y0,x1,y1 in page fractions, with x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def check_filter(where: Any) -> None:
    """Raise InvalidArgument for a filter that is deeper or larger than any question needs."""
    level, depth, count = [where], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > 2 * MAX_FILTER_DEPTH or count > MAX_FILTER_PARTS:  # a list and an object for each
            raise InvalidArgument(f"a filter has at most {MAX_FILTER_DEPTH} levels and {MAX_FILTER_PARTS} parts")
        lists = [list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [part for one in lists for part in one]


def routes(library: Library) -> APIRouter:
    """Return the routes of the HTTP API of an index."""
    router = APIRouter()
    retriever = library.retriever

    @router.get("/health", response_model=schemas.Health, responses=schemas.errors())
    def health() -> Response:
        """Say that the server answers, and how much it can search."""
        refresh(retriever)
        facts = retriever.info()
        known = {name: facts[name] for name in ("model", "documents", "pages")}
        return Json({"status": "ok", **known, "rerankers": library.rerankers.names})

    @router.post("/search", response_model=schemas.Answer, responses=schemas.errors(501))
    async def search(asked: Search) -> Response:
        """Return the best pages for a question, best first.

        warnings: what in the question the model did not understand. unread: how much of the index no question finds;
        `GET /unread` lists it.
        """
        hits = await library.search(Asked(asked.question, **asked.model_dump(exclude={"question"})))
        failed, empty = retriever.unread_counts()
        unread = {"failed": failed, "empty": empty}
        return Json({"query": asked.question, "hits": hits, "warnings": hits.warnings, "unread": unread})

    @router.post("/like", response_model=schemas.Alike, responses=schemas.errors(404, 501))
    async def like(asked: Like) -> Response:
        """Return the pages that are most like a page of the index, best first, without the page itself; or like a text.

        The score is how well the vectors of the page are matched in the mean. To compare a file, add it first.
        """
        hits = await library.like(asked)
        return Json({"hits": hits, "warnings": hits.warnings})

    @router.get("/documents", response_model=schemas.Listed, responses=schemas.errors())
    def documents(start: Start = 0, count: Count = 1000) -> Response:
        """List the documents of the index in the order they were added."""
        refresh(retriever)
        names = retriever.documents()
        listed = [_described(retriever.document(doc)) for doc in names[start : start + count]]
        return Json({"documents": listed, "total": len(names)})

    @router.get("/unread", response_model=schemas.Unread, responses=schemas.errors())
    def unread(start: Start = 0, count: Count = 1000) -> Response:
        """List what no question finds: files and pages that could not be read, and pages that hold nothing to read."""
        refresh(retriever)
        total = sum(retriever.unread_counts())
        parts = (part for document in retriever.incomplete() for part in _unread(document))
        return Json({"unread": list(islice(parts, min(start, total), min(start + count, total))), "total": total})

    @router.post("/documents", response_model=schemas.Report, responses=schemas.UPLOAD)
    async def add(files: Annotated[list[Upload], File()], metadata: Annotated[str, Form()] = "") -> Response:
        """Bring files into the index. Each replaces an earlier upload of its name.

        Files that cannot be read are not kept. metadata: a JSON object, for filters; without it, a file that replaces
        another keeps the other's. 415 for a kind of file that is not read; 422 if none of the files can be read.
        """
        given = [(file.filename or "", file.file) for file in files]
        try:
            for name, _ in given:
                uploads.safe_name(name)
        except InvalidArgument as error:
            raise HTTPException(415, str(error)) from error
        report = await library.add(given, uploads.parse_metadata(metadata))
        if report.added or report.unchanged:
            return Json(asdict(report))
        wrong = [
            {"loc": ["body", "files", place], "msg": f"{file.file}: {file.reason}", "type": "unreadable"}
            for place, file in enumerate(report.files)
        ]
        return Json({"detail": wrong, **asdict(report)}, 422)

    @router.patch("/documents/{doc:document}", response_model=schemas.Described, responses=schemas.errors(404, 409))
    async def describe(doc: str, changes: dict[str, Any]) -> Response:
        """Change the metadata of a document, for filters. null deletes a key, and keys that are not named stay."""
        name = (await library.found(doc)).doc
        uploads.check_metadata(changes)
        await library.write(partial(retriever.set_metadata, name, changes))
        return Json(_described(await library.found(name)))

    @router.delete("/documents/{doc:document}", status_code=204, responses=schemas.errors(404, 409))
    async def remove(doc: str) -> None:
        """Remove a document from the index, and its file if it was uploaded."""
        await library.remove((await library.found(doc)).doc)

    @router.get(
        "/page/{doc:document}/{page:int}.png",
        responses=schemas.PICTURE,
        response_class=Response,
    )
    async def page(
        request: Request, doc: str, page: int, dpi: Dpi = PICTURE_DPI, box: PartOfPage | None = None
    ) -> Response:
        """Draw a page. 404 for plain text, which has no picture.

        dpi: at most 200, or 1200 with a box; lower for a part of more than 50 million pixels. box: draw only this part
        of the page: x0,y0,x1,y1 in page fractions.
        """
        name, part = (await library.found(doc, page)).doc, checked_part(box, dpi)
        drawn = await library.draw(lambda: retriever.picture((name, page), dpi=dpi, box=part))
        return unless_known(request, Response(drawn, media_type="image/png"))

    @router.get(
        "/highlight/{doc:document}/{page:int}.png",
        responses=schemas.PICTURE,
        response_class=Response,
    )
    async def highlight(
        request: Request, doc: str, page: int, q: str, dpi: WholeDpi = PICTURE_DPI, index: str | None = None
    ) -> Response:
        """Draw a page with the places marked that answer a question. 404 for plain text, which has no picture.

        index: which of several fused indexes marks them; without it, the first that has the page.
        """
        name = (await library.found(doc, page)).doc

        def marked() -> Image:
            why = retriever.heatmap(q, (name, page), index=index)
            if why.embedding.size_pt is None:
                raise NoPicture(name, "is plain text and has no picture", page=page)
            return why.image(dpi=dpi)

        return unless_known(request, Response(await library.draw(marked), media_type="image/png"))

    @router.get("/document/{doc:document}", responses=schemas.FILE, response_class=FileResponse)
    def document(request: Request, doc: str) -> Response:
        """Send the file itself, as it was indexed. `#page=3` at the end of a PDF's address opens page 3."""
        found = library.find(doc)
        path = retriever.original(found.doc)
        if path is None:
            raise HTTPException(404, f"{found.doc} was made in memory and has no file")
        kind = schemas.KINDS.get(formats.ending(path))
        file = FileResponse(
            path,
            headers={"etag": f'"{found.hash}"'} if found.hash else None,
            stat_result=path.stat(),
            media_type=kind or "application/octet-stream",
            filename=Path(found.doc).name,
            content_disposition_type="inline" if kind else "attachment",
        )
        return unless_known(request, file)

    return router


def _described(document: Document) -> dict[str, Any]:
    unread = list(_unread(document))
    failed = sum(one["state"] == "failed" for one in unread)
    return {
        "doc": document.doc,
        "state": document.state,
        "reason": document.reason and without_paths(document.reason),
        "pages": len(document.pages),
        "empty": list(document.empty[:MAX_SHOWN]),
        "failed": [{"page": page, "reason": without_paths(reason)} for page, reason in document.failed[:MAX_SHOWN]],
        "unread": {"failed": failed, "empty": len(unread) - failed},
        "lost": [{"page": page, "what": what, "help": help_} for page, what, help_ in document.lost[:MAX_SHOWN]],
        "metadata": dict(document.metadata),
    }


def _unread(document: Document) -> Iterator[dict[str, Any]]:
    """Yield what no question finds of a document."""
    named = {"doc": document.doc, "page": None, "state": "failed", "reason": None}
    if document.state == "failed" or document.reason:
        yield {**named, "reason": without_paths(document.reason or "failed")}
    for page, reason in document.failed:
        yield {**named, "page": page, "reason": without_paths(reason)}
    for page in document.empty:
        yield {**named, "page": page, "state": "empty"}
