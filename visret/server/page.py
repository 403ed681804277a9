"""The page in the browser: static files, and what they need to know of this server. All else they ask the HTTP API."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from visret.choices import BM25, DENSE, HYBRID, LATE, SPARSE, TOGETHER
from visret.explain import drawing
from visret.retriever import Retriever, pipeline_of
from visret.server import own, uploads
from visret.server.answers import Json, unless_known
from visret.server.api import Library
from visret.server.keys import CURRENT
from visret.server.llm import LanguageModel

FOLDER = Path(__file__).parent / "static"
# Everything comes from this server; nothing in a page's text or a file's name can run, or ask another machine.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
COLOURS = f":root {{ --strong: {drawing.MARK}; --pale: {drawing.PALE} }}\n"  # of marks, as in pictures of pages
LAB = "/lab"  # the address of the researcher's view


class _File(NamedTuple):
    body: bytes
    packed: bytes
    kind: str
    tag: str


def routes(
    library: Library | None, *, upload_bytes: int, most_pages: int, lab: bool, llm: LanguageModel | None
) -> APIRouter:
    """Return the routes of the page. library: the index that all visitors search; None if each brings their own files.

    lab: whether there is the researcher's view. llm: writes answers.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def start(request: Request) -> Response:
        return _sent(request, "index.html")

    @router.get("/static/{name}")
    def static(request: Request, name: str) -> Response:
        return _sent(request, name)

    if lab:
        router.add_api_route(LAB, lambda: RedirectResponse("lab/"), methods=["GET"])

    @router.get("/start")
    def facts() -> Response:
        """Say what can be searched here, and how.

        uploads: null if the key of the request may only read. metadata: whether pages have any, for filters.
        """
        key = CURRENT.get()
        filtered = library is not None and (
            bool(key and key.where) or bool(pipeline_of(library.retriever).snapshot.metadata_keys)
        )
        takes = {"bytes": upload_bytes, "pages": most_pages, "endings": uploads.TAKEN, "hours": own.HOURS}
        return Json(
            {
                "index": None if library is None else described(library.retriever),
                "metadata": filtered,
                "rerankers": [] if library is None else library.rerankers.names,
                "uploads": takes if key is None or key.may_write else None,
                "lab": lab,
                "llm": None if llm is None else llm.name,
            }
        )

    return router


def described(retriever: Retriever) -> dict[str, Any]:
    """Say what an index holds, and by which ways its pages can be ranked."""
    facts = retriever.info()
    failed, empty = retriever.unread_counts()
    added = {line.partition(":")[0] for line in facts["added_models"]}
    together, sparse = [TOGETHER] * (DENSE in added), [SPARSE] * (SPARSE in added)
    return {
        "model": facts["model"],
        "documents": facts.get("done", 0) + facts.get("partial", 0),
        "pages": facts["pages"],
        "unread": {"failed": failed, "empty": empty},
        "ways": [LATE, *together, HYBRID, BM25, DENSE, *sparse] if facts["dim"] else [BM25, *sparse],
    }


def _sent(request: Request, name: str) -> Response:
    """Send a static file, compressed if the browser takes it so."""
    file = _files().get(name)
    if file is None:
        raise HTTPException(404, "there is no such file")
    packs = "gzip" in request.headers.get("accept-encoding", "")
    headers = {"etag": file.tag, "vary": "accept-encoding", "content-security-policy": POLICY}
    if packs:
        headers["content-encoding"] = "gzip"
    return unless_known(request, Response(file.packed if packs else file.body, headers=headers, media_type=file.kind))


@cache
def _files() -> dict[str, _File]:
    files = {}
    for path in sorted(FOLDER.iterdir()):
        body = path.read_bytes() + (COLOURS.encode() if path.name == "page.css" else b"")
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0] or "text/plain"
        files[path.name] = _File(body, gzip.compress(body), kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return files
