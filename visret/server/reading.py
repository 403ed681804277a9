"""The part of the HTTP API that readers need: the words of a page, where it answers, and what could be asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query
from fastapi.responses import Response

from visret.explain.attribution import Explanation
from visret.retriever import passage_json
from visret.server import schemas
from visret.server.answers import Json
from visret.server.api import Library
from visret.server.suggestions import Suggestions
from visret.types import PageRef

MAX_PASSAGES = 3
EXPLAINED_TOGETHER = 2
By = Annotated[str | None, Query(description='"bm25" explains what was found by its words alone')]


def routes(library: Library) -> APIRouter:
    """Return the routes of the pages of an index for readers."""
    router, retriever = APIRouter(), library.retriever
    suggestions, explaining = Suggestions(retriever, library.state), CapacityLimiter(EXPLAINED_TOGETHER)

    @router.get("/text/{doc:document}/{page:int}.json", response_model=schemas.PageText, responses=schemas.errors(404))
    def text(doc: str, page: int) -> Response:
        """Return the text of a page, as it was indexed, with the places of its words and the label printed on it."""
        document = library.find(doc, page)
        read, _ = retriever.read((document.doc, page), picture=False)
        words = None if read.words is None else [{"text": w.text, "box": w.box, "line": w.line} for w in read.words]
        return Json(
            {
                "doc": document.doc,
                "page": page,
                "label": library.labels.of(PageRef(document.doc, page)),
                "size_pt": read.size_pt,
                "text": read.text,
                "metadata": dict(read.metadata),
                "words": words,
                "pages": sorted(document.pages),
            }
        )

    @router.get(
        "/explanation/{doc:document}/{page:int}.json",
        response_model=schemas.Explained,
        responses=schemas.errors(404, 501),
    )
    async def explanation(doc: str, page: int, q: str, by: By = None) -> Response:
        """Return where on a page a question is answered: its passages, and the places that match its words."""
        ref = PageRef((await library.found(doc, page)).doc, page)
        return Json(await to_thread.run_sync(lambda: explained(library.explain(q, ref, by)), limiter=explaining))

    @router.get("/suggestions", response_model=schemas.Suggested, responses=schemas.errors(501))
    async def suggested() -> Response:
        """Return at most three questions that the index answers, made of headings of its pages."""
        return Json({"suggestions": [asdict(one) for one in await to_thread.run_sync(suggestions.made)]})

    return router


def explained(why: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON values."""
    passages = why.passages(MAX_PASSAGES)
    return {
        "doc": why.embedding.ref.doc,
        "page": why.embedding.ref.page,
        "words": [{"text": word.text, "tells": word.tells} for word in why.question_words],
        "passages": [passage_json(passage) for passage in passages],
        "marks": [asdict(mark) for mark in why.marks],
        "spans": [[span.start, span.end] for span in why.telling_spans],
        "about": why.about,
    }
