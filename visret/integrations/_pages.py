"""The pages found for a question, in the form that every framework gets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from visret.errors import InvalidArgument, MissingExtra
from visret.retriever import Retriever
from visret.types import Hit


class FoundPage(NamedTuple):
    """A page that was found. id: doc and page in one. text: that of the page, "" for none. metadata: JSON values."""

    hit: Hit
    id: str
    text: str
    metadata: dict[str, Any]


def search(
    retriever: Retriever, question: str, k: int, where: Mapping[str, Any] | None, by: str | None
) -> Iterator[FoundPage]:
    """Yield the k best pages, from what the index stores of them: no file is read.

    metadata: the document's own, and over it doc, page, score, source and boxes (x0, y0, x1, y1 in page fractions and
    the share of the score, best first).
    """
    for hit, explanation in next(retriever.explained([question], k, where=where, by=by)):
        place = {"doc": hit.doc, "page": hit.page, "score": hit.score, "source": hit.source}
        metadata = {**hit.metadata, **place, "boxes": [asdict(box) for box in explanation.boxes]}
        yield FoundPage(hit, f"{hit.doc}#page={hit.page}", explanation.embedding.text, metadata)


def refuse(given: Iterable[str], *, takes: str) -> None:
    """Raise InvalidArgument for arguments that would be dropped. takes: those that are understood, in words."""
    if names := ", ".join(map(repr, given)):
        raise InvalidArgument(f"visret's retriever does not understand {names}; it takes {takes}")


def missing(extra: str, error: ModuleNotFoundError) -> MissingExtra:
    """Return the error to raise where the framework is not installed."""
    return MissingExtra(f'visret.integrations.{extra}: {error}; pip install "visret[{extra}]"')
