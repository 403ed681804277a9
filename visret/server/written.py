"""An answer that a server's language model has written, as a client reads it from the events of `POST /answer`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visret.errors import LanguageModelError, VisretError
from visret.types import PageRef


@dataclass(frozen=True, slots=True)
class Cited:
    """A page that a written answer names.

    number: the number as it stands in the answer. page: the page of that number; None if the model was shown none.
    statement: the sentence that it supports.
    start, end: the first character of its brackets in the answer, and the one behind them.
    passage: the text on the page that supports the statement; None without a page, or without text.
    boxes: around the passage, x0, y0, x1, y1 in page fractions, origin top left; one for each column.
    """

    number: int
    page: PageRef | None
    statement: str
    start: int
    end: int
    passage: str | None
    boxes: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A written answer. text: "" if no page answers well, so that no model was asked. model: its name.

    citations: the pages that it names, in order. pages: those that the model was shown, number 1 first.
    warnings: what was not understood of the question, and what the model was to be told and was not.
    """

    text: str
    model: str
    citations: tuple[Cited, ...]
    pages: tuple[PageRef, ...]
    warnings: tuple[str, ...]


def read(text: str) -> Written:
    """Return the answer of server-sent events.

    Raises LanguageModelError if the model failed, and VisretError if the events end too early.
    """
    shown: Mapping[str, Any] = {}
    said, citations, warnings, ended = "", list[Cited](), list[str](), False
    for name, data in _events(text):
        if name == "error":
            raise LanguageModelError(data["detail"])
        if name == "pages":
            shown = data
        said += data.get("text", "")
        warnings += data.get("warnings", ())
        citations += map(_cited, data.get("citations", ()))
        ended = ended or name in ("done", "nothing")
    if not ended:
        raise VisretError("the server ended its answer too early; ask again")
    pages = tuple(PageRef(one["doc"], one["page"]) for one in shown["pages"])
    return Written(said, shown["model"], tuple(citations), pages, tuple(warnings))


def _events(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for event in text.split("\n\n"):
        if event:
            name, data = event.split("\n")
            yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def _cited(one: Mapping[str, Any]) -> Cited:
    page = None if one["doc"] is None else PageRef(one["doc"], one["page"])
    passage = one["passage"] and one["passage"]["text"]
    places = one["number"], page, one["statement"], one["start"], one["end"]
    return Cited(*places, passage, tuple(map(_box, one["boxes"])))


def _box(edges: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = edges
    return x0, y0, x1, y1
