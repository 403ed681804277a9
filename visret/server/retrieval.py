"""The routes for programs and chat tools: passages, the text of a page, and what Dify and Open WebUI ask for.

Dify's external knowledge API is `POST /retrieval`, https://docs.dify.ai/en/use-dify/knowledge/external-knowledge-api;
Open WebUI's external web search is a POST of a query and a count that is answered by a list of links,
https://docs.openwebui.com/features/web-search/external.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from visret.errors import InvalidArgument
from visret.retriever import as_json
from visret.server import schemas
from visret.server.answers import Json
from visret.server.api import MAX_HITS, Library, check_filter
from visret.server.batches import Asked
from visret.types import Hit, Ranked

MAX_OF_PAGE = 20
LOOKED_AT_TOGETHER = 2
# Dify's operators as those of filters; the others compare parts of text, which filters do not.
OPERATORS = {"is": "==", "=": "==", "is not": "!=", "≠": "!=", "in": "==", "not in": "!="}
OPERATORS |= {">": ">", "<": "<", "≥": ">=", "≤": "<=", "before": "<", "after": ">"}


class Passages(BaseModel):
    """A question, with the arguments of `Retriever.passages`."""

    model_config = ConfigDict(extra="forbid")

    question: str
    k: Annotated[int, Field(ge=1, le=MAX_HITS)] = 10
    where: dict[str, Any] | None = None
    by: str | None = None
    of_page: Annotated[int, Field(ge=1, le=MAX_OF_PAGE)] = 3


class Condition(BaseModel):
    """One of Dify's conditions on metadata."""

    name: str
    comparison_operator: str
    value: Any = None


class Conditions(BaseModel):
    """Dify's conditions on metadata."""

    logical_operator: Literal["and", "or"] | None = None
    conditions: list[Condition] = []


class Retrieval(BaseModel):
    """A request of Dify. knowledge_id: any, since a server has one index."""

    class Setting(BaseModel):
        """The number of records, and how well they must answer."""

        top_k: Annotated[int, Field(ge=1, le=MAX_HITS)]
        score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0

    knowledge_id: str
    query: str
    retrieval_setting: Setting
    metadata_condition: Conditions | None = None


class WebSearch(BaseModel):
    """A request of Open WebUI."""

    query: str
    count: Annotated[int, Field(ge=1, le=MAX_HITS)] = 5


def routes(library: Library) -> APIRouter:
    """Return the routes for programs and chat tools."""
    router, retriever = APIRouter(), library.retriever
    looking = CapacityLimiter(LOOKED_AT_TOGETHER)

    @router.post("/passages", response_model=schemas.FoundPassages, responses=schemas.errors(501))
    async def passages(asked: Passages) -> Response:
        """Return the best passages of all pages, best first, each as the hit of its page with that passage."""
        check_filter(asked.where)

        def work() -> Ranked[Hit]:
            retriever.refresh()
            return retriever.passages(**asked.model_dump())

        found = await to_thread.run_sync(work, limiter=looking)
        return Json({"query": asked.question, "hits": list(map(as_json, found)), "warnings": found.warnings})

    @router.post("/retrieval", response_model=schemas.Records, responses=schemas.errors(501))
    async def retrieval(asked: Retrieval) -> Response:
        """Answer Dify: passages with their documents, and how well they answer, from 0 to 1."""
        setting = asked.retrieval_setting
        where, least = _where(asked.metadata_condition), setting.score_threshold or None
        hits = await library.search(Asked(asked.query, setting.top_k, where, boxes=False, min_score=least))
        return Json({"records": [_record(hit) for hit in hits]})

    @router.post("/open-webui", response_model=list[schemas.WebResult], responses=schemas.errors(501))
    async def open_webui(request: Request, asked: WebSearch) -> Response:
        """Answer Open WebUI: links to pages, with the passages that answer."""
        hits = await library.search(Asked(asked.query, asked.count, boxes=False))
        return Json([{"link": f"{request.base_url}{address(hit)}", **_named(hit)} for hit in hits])

    return router


def _said(hit: dict[str, Any]) -> str:
    return str(hit["passage"]["text"] if hit["passage"] else hit["text"])


def _named(hit: dict[str, Any]) -> dict[str, str]:
    return {"title": f"{hit['doc']}, page {hit['page']}", "snippet": _said(hit)}


def address(hit: Mapping[str, Any]) -> str:
    """Return where the page of a hit can be opened, as an address below that of the server.

    hit: as `as_json` returns it.
    """
    place = quote(hit["doc"].encode("utf8", "replace"))
    return f"page/{place}/{hit['page']}.png" if hit["source"] is None else f"document/{place}{hit['link']}"


def _record(hit: dict[str, Any]) -> dict[str, Any]:
    score = hit["score"] if hit["relevance"] is None else hit["relevance"]
    about = {**hit["metadata"], "doc": hit["doc"], "page": hit["page"]}
    return {"content": _said(hit), "score": min(1.0, max(0.0, score or 0.0)), "title": hit["doc"], "metadata": about}


def _where(asked: Conditions | None) -> dict[str, Any] | None:
    """Return Dify's conditions as a filter. Raises InvalidArgument for those that no filter has."""
    if asked is None or not asked.conditions:
        return None
    for one in asked.conditions:
        if one.comparison_operator not in OPERATORS:
            known = ", ".join(OPERATORS)
            raise InvalidArgument(f"metadata cannot be compared by {one.comparison_operator!r}, but by {known}")
    filters = [{one.name: {OPERATORS[one.comparison_operator]: one.value}} for one in asked.conditions]
    return {asked.logical_operator or "and": filters}
