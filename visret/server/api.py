"""The HTTP API: questions, pages, highlights and documents of one index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from PIL.Image import Image
from pydantic import BaseModel, ConfigDict, Field

from visret.errors import DocumentError, IndexLocked, InvalidQuery, VisretError
from visret.index import Document
from visret.retriever import PICTURE_DPI, Retriever
from visret.server import uploads
from visret.server.batches import Batches, Hits, Question

MOST_HITS = 100
DEEPEST_FILTER, LARGEST_FILTER = 10, 1000  # filters in filters, and parts in all
READ_SIDE = 1400  # pixels; a sheet of paper at 120 dpi
DRAWN_TOGETHER = 2  # pictures, each of which may take 150 MB

KINDS = {
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
Made = TypeVar("Made")
PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}


class Library:
    """An index as the server uses it: what both HTTP and MCP ask for."""

    def __init__(self, retriever: Retriever, *, most_pages: int) -> None:
        self.retriever = retriever
        self.folder = Path(retriever.info()["path"])
        self.most_pages = most_pages
        self._batches = Batches(retriever)
        self._drawing = CapacityLimiter(DRAWN_TOGETHER)
        self._writing = asyncio.Lock()
        # meanwhile the model loads; what goes wrong is raised, and said, when it is needed
        ThreadPoolExecutor(1).submit(lambda: retriever.encoder)

    async def search(self, question: Question) -> Hits:
        """Hits as `visret search --json` prints them."""
        check_filter(question.where)
        return await asyncio.wrap_future(self._batches.ask(question))

    async def draw(self, work: Callable[[], Image]) -> bytes:
        """A picture as PNG."""

        def png() -> bytes:
            out = BytesIO()
            work().save(out, "png")
            return out.getvalue()

        return await to_thread.run_sync(png, limiter=self._drawing)

    async def read(self, doc: str, page: int) -> tuple[str, bytes | None, DocumentError | None]:
        """The text of a page, its picture as a language model takes one, None for plain text, and why there is none."""
        read, problem = await to_thread.run_sync(self.retriever.read, (doc, page), limiter=self._drawing)
        image = read.image
        if image is None:
            return read.text, None, problem
        image.thumbnail((READ_SIDE, READ_SIDE))
        return read.text, await self.draw(lambda: image), None

    async def write(self, work: Callable[[], Made]) -> Made:
        """Change the index, one change at a time."""
        async with self._writing:
            return await to_thread.run_sync(work)

    def find(self, doc: str, page: int | None = None) -> Document:
        """A document that has the page. HTTPException 404 else."""
        try:
            document = self.retriever.document(doc)
        except InvalidQuery as error:
            raise HTTPException(404, str(error)) from error
        if page is not None and page not in document.pages:
            raise HTTPException(404, f"no page {page} of {doc} in this index")
        return document

    def close(self) -> None:
        """Answer what was asked, and let go of the index."""
        self._batches.close()
        self.retriever.close()


class Search(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid")

    question: str
    k: Annotated[int, Field(ge=1, le=MOST_HITS)] = 10
    where: dict[str, Any] | None = None
    exact: bool = False


def check_filter(where: Any) -> None:
    """InvalidQuery for a filter that is deeper or larger than any question needs."""
    level, depth, count = [where], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > 2 * DEEPEST_FILTER or count > LARGEST_FILTER:  # a list and an object for each
            raise InvalidQuery(f"a filter has at most {DEEPEST_FILTER} levels and {LARGEST_FILTER} parts")
        lists = [list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [part for one in lists for part in one]


def routes(library: Library) -> APIRouter:
    """The API of an index."""
    router = APIRouter()
    retriever = library.retriever

    @router.get("/health")
    def health() -> dict[str, Any]:
        """That the server answers, and how much it can search."""
        facts = retriever.info()
        return {"status": "ok", **{name: facts[name] for name in ("model", "documents", "pages")}}

    @router.post("/search")
    async def search(asked: Search) -> dict[str, Any]:
        """The best pages for a question, best first, as `visret search --json` prints them."""
        hits = await library.search(Question(asked.question, asked.k, asked.where, asked.exact))
        failed, empty = retriever.unread()
        unread = {"failed": [asdict(f) for f in failed], "empty": [asdict(e) for e in empty]}
        return {"query": asked.question, "hits": hits, **unread}

    @router.get("/documents")
    def documents(
        start: Annotated[int, Query(ge=0)] = 0, count: Annotated[int, Query(ge=1, le=1000)] = 1000
    ) -> dict[str, Any]:
        """What is in the index, in the order it was added."""
        names = retriever.documents()
        listed = [_described(retriever.document(doc)) for doc in names[start : start + count]]
        return {"documents": listed, "total": len(names)}

    @router.post("/documents")
    async def add(
        files: Annotated[list[UploadFile], File()], metadata: Annotated[str, Form()] = "", *, response: Response
    ) -> dict[str, Any]:
        """Put files into the index. metadata: a JSON object, for filters. Answers what `visret index --json` prints.

        415 for a kind of file that is not read; 422 where none of the files can be. What cannot be read is not kept.
        """
        try:
            given = [(uploads.safe_name(file.filename or ""), file.file) for file in files]
        except InvalidQuery as error:
            raise HTTPException(415, str(error)) from error
        told = uploads.parse_metadata(metadata)
        work = partial(uploads.add, retriever, library.folder, given, metadata=told, most_pages=library.most_pages)
        report = await library.write(work)
        if not report.added and not report.unchanged:
            response.status_code = 422
        return asdict(report)

    @router.delete("/documents/{doc:path}", status_code=204)
    async def remove(doc: str) -> None:
        """Take a document out of the index; its file too, if it was uploaded."""
        library.find(doc)
        await library.write(partial(uploads.remove, retriever, library.folder, doc))

    @router.get("/page/{doc:path}/{page:int}.png", responses=PICTURE, response_class=Response)
    async def page(doc: str, page: int, dpi: Annotated[int, Query(ge=20, le=200)] = PICTURE_DPI) -> Response:
        """A page as a picture."""
        library.find(doc, page)
        return _png(await library.draw(lambda: retriever.picture((doc, page), dpi=dpi)))

    @router.get("/highlight/{doc:path}/{page:int}.png", responses=PICTURE, response_class=Response)
    async def highlight(
        doc: str,
        page: int,
        q: str,
        dpi: Annotated[int, Query(ge=20, le=200)] = PICTURE_DPI,
    ) -> Response:
        """A page as a picture, with the places marked that answer a question."""
        library.find(doc, page)
        return _png(await library.draw(lambda: retriever.heatmap(q, (doc, page)).image(dpi=dpi)))

    @router.get("/document/{doc:path}", response_class=FileResponse)
    def document(doc: str) -> FileResponse:
        """The file itself, as it was indexed; `#page=3` behind the address of a PDF opens page 3."""
        library.find(doc)
        path = retriever.original(doc)
        if path is None:
            raise HTTPException(404, f"{doc} was made in memory and has no file")
        kind = KINDS.get(path.suffix.lower())
        return FileResponse(
            path,
            media_type=kind or "application/octet-stream",
            filename=Path(doc).name,
            content_disposition_type="inline" if kind else "attachment",
        )

    return router


def explain_errors(app: FastAPI) -> None:
    """Every VisretError a status and its sentence; what is wrong with a request in words, and without repeating it."""

    @app.exception_handler(VisretError)
    def refused(_: Request, error: VisretError) -> JSONResponse:
        statuses = {InvalidQuery: 400, IndexLocked: 409, DocumentError: 410}
        status = next((status for kind, status in statuses.items() if isinstance(error, kind)), 500)
        return JSONResponse({"detail": _sentence(str(error))}, status)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
        return JSONResponse({"detail": _sentence("; ".join(wrong[:10]))}, 422)


def _sentence(text: str) -> str:
    """With a question mark for what is not Unicode: a request may hold that."""
    return text.encode("utf8", "replace").decode("utf8")


def _described(document: Document) -> dict[str, Any]:
    return {
        "doc": document.doc,
        "state": document.state,
        "reason": document.reason,
        "pages": len(document.pages),
        "empty": list(document.empty),
        "failed": [{"page": page, "reason": reason} for page, reason in document.failed],
        "metadata": dict(document.metadata),
    }


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png")
