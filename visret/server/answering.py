"""`POST /answer`: an answer that a language model writes from the pages that were found, as server-sent events."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from visret import rag
from visret.errors import VisretError
from visret.explain.attribution import Explanation
from visret.explain.drawing import frames
from visret.retriever import passage_json, sendable
from visret.server import own, schemas
from visret.server.answers import words
from visret.server.api import Library
from visret.server.batches import Asked
from visret.server.llm import MAX_CHARACTERS, LanguageModel
from visret.types import Hit, Page

MAX_PAGES = 10
PAGE_TOKENS = 8000  # of the text of all pages that the model is shown
MAX_TURNS = 20  # earlier questions with their answers
TURN_TOKENS = 4000  # of all of them together; the last ones that fit are told
WRITTEN_TOGETHER = 4  # answers
INDEX, MINE = "index", "mine"

_log = logging.getLogger(__name__)


class Turn(BaseModel):
    """An earlier question, with the answer to it."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    answer: Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class Question(BaseModel):
    """A question, and the pages that may answer it. k: how many the model is shown. The others are as in a search.

    in: "index" or "mine" for the files that the visitor has brought; null is both. turns: earlier questions with their
    answers, the first one first, which the question goes on from; pages are searched for the last of them and the
    question together.
    """

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    k: Annotated[int, Field(ge=1, le=MAX_PAGES)] = 5
    where: dict[str, Any] | None = None
    by: str | None = None
    only: Annotated[Literal["index", "mine"] | None, Field(alias="in")] = None
    turns: Annotated[list[Turn], Field(max_length=MAX_TURNS)] = []


class _Found(NamedTuple):
    """A page that was found, and where: in the index, or among the visitor's own files."""

    hit: Hit
    place: str
    library: Library


def routes(library: Library | None, visitors: own.Collections | None, model: LanguageModel) -> APIRouter:
    """Return the route of written answers. visitors: what they have brought is searched beside the index."""
    router = APIRouter()
    writing = CapacityLimiter(WRITTEN_TOGETHER)

    @router.post("/answer", response_class=StreamingResponse, responses=schemas.ANSWER)
    async def answer(asked: Question, request: Request) -> StreamingResponse:
        """Let the language model of `--llm` answer a question from the pages that are found: server-sent events.

        pages: those that the model is shown, number 1 first. nothing: no page answers well, so no model was asked.
        text: a piece of the answer. citations: what it cites, with the places. error: why it ends here. done: the end,
        with warnings about what the model was to be told and was not: pictures of pages, and turns that are too long.
        """
        mine = None if visitors is None else visitors.of(request.headers)
        there = {INDEX: library, MINE: None if mine is None else mine.library}
        searched = {place: one for place, one in there.items() if one is not None and asked.only in (None, place)}
        if not searched:
            raise HTTPException(404, "this server has no index" if asked.only == INDEX else own.NONE)
        found, warnings = await _found(asked, searched)
        return StreamingResponse(_events(model, writing, asked, found, warnings), media_type="text/event-stream")

    return router


async def _found(asked: Question, searched: Mapping[str, Library]) -> tuple[list[_Found], list[str]]:
    """Return the k best pages, and the warnings about the question.

    Both collections are in one list, as in the page: relevance means the same in each, and the order within each stays.
    """
    waiting: list[list[_Found]] = []
    warnings: list[str] = []
    text = rag.searched(asked.question, _turns(asked))
    for place, library in searched.items():
        try:
            found = await library.answered(Asked(text, asked.k, asked.where, by=asked.by, boxes=False))
        except VisretError:
            if place == MINE and waiting:
                continue  # such as a key of metadata that only the index has
            raise
        waiting.append([_Found(shown.hit, place, library) for shown in found])
        warnings += [one for one in found.warnings if one not in warnings]
    best: list[_Found] = []
    while len(best) < asked.k and any(waiting):
        best.append(max(filter(None, waiting), key=lambda row: _worth(row[0].hit)).pop(0))
    return best, warnings


def _turns(asked: Question) -> list[tuple[str, str]]:
    return [(turn.question, turn.answer) for turn in asked.turns]


def _worth(hit: Hit) -> float:
    return -1.0 if hit.relevance is None else hit.relevance


async def _events(
    model: LanguageModel, writing: CapacityLimiter, asked: Question, found: Sequence[_Found], warnings: Sequence[str]
) -> AsyncIterator[str]:
    """Yield the events of an answer."""
    hits = [one.hit for one in found]
    of = {id(one.hit): one.library for one in found}
    pages = [{"number": number, **_place(one), "weak": one.hit.weak} for number, one in enumerate(found, 1)]
    yield _event("pages", {"pages": pages, "warnings": warnings, "model": model.name})
    if all(hit.weak for hit in hits):
        yield _event("nothing", {})
        return

    turns = rag.recent(_turns(asked), TURN_TOKENS)
    untold = len(asked.turns) - len(turns)
    unseen = [f"the model was not told the first {untold} of the earlier answers, which are too long"] if untold else []

    def read(hit: Hit) -> Page:
        page, problem = of[id(hit)].retriever.read(hit, picture=model.pictures)
        if problem:
            unseen.append(f"the model did not see {hit.doc}, page {hit.page}, but its text ({words(problem)})")
        return page

    def explain(statement: str, hit: Hit) -> Explanation:
        return of[id(hit)].retriever.heatmap(statement, hit)

    question = asked.question
    how: dict[str, Any] = {"chat": model.chat, "vision": model.pictures, "max_tokens": PAGE_TOKENS, "turns": turns}
    shown = partial(rag.messages, question, hits, pages=read, **how)
    written = ""
    try:
        async with writing:
            async for piece in model.stream(await to_thread.run_sync(shown)):
                written += piece
                yield _event("text", {"text": piece})
        cited = await to_thread.run_sync(partial(rag.citations, written, hits, question=question, explain=explain))
        yield _event("citations", {"citations": [_described(one, found) for one in cited]})
    except VisretError as error:
        _log.warning("an answer ended: %s", error)
        yield _event("error", {"detail": words(error)})
        return
    yield _event("done", {"warnings": unseen})


def _place(one: _Found | None) -> dict[str, Any]:
    hit = None if one is None else one.hit
    return {"doc": hit and hit.doc, "page": hit and hit.page, "in": one and one.place}


def _described(one: rag.Citation, found: Sequence[_Found]) -> dict[str, Any]:
    """Return a citation as JSON values. boxes: around its passage, one for each column."""
    return {
        "number": one.number,
        "start": one.start,
        "end": one.end,
        "statement": one.statement,
        **_place(None if one.hit is None else found[one.number - 1]),
        "passage": passage_json(one.passage),
        "boxes": frames(one.passage.boxes) if one.passage else [],
    }


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(sendable(data), ensure_ascii=False)}\n\n"
