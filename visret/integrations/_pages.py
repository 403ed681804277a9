"""The pages found for a question, in the form that every framework gets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from visret.errors import InvalidArgument, MissingExtra
from visret.retriever import Retriever, as_json
from visret.types import Hit

ARGUMENTS = (
    *("k", "where", "by", "exact", "offset", "group_by", "neighbours"),
    *("weak", "min_score", "rerank", "depth", "seconds"),
)
"""The arguments of `Retriever.search` that every integration takes."""

TAKEN = f"{', '.join(ARGUMENTS[:-1])} and {ARGUMENTS[-1]}"

FOUND = ("doc", "page", "score", "source", "weak", "relevance", "boxes", "passage")
OF_HITS = ("boxes", "neighbour_of", "passage", "relevance", "score", "source", "weak")
"""The metadata of a page that are about how it was found, and mean nothing to a language model."""


class FoundPage(NamedTuple):
    """A page that was found. id: doc and page in one. text: that of the page, "" for none. metadata: JSON values."""

    hit: Hit
    id: str
    text: str
    metadata: dict[str, Any]


def search(retriever: Retriever, question: str, asked: Mapping[str, Any]) -> Iterator[FoundPage]:
    """Yield the best pages, from what the index stores of them: no file is read.

    asked: ARGUMENTS of `Retriever.search`. metadata: the document's own, and over it doc, page, score, source, weak,
    relevance, boxes (x0, y0, x1, y1 in page fractions and the share of the score, best first), passage (the place that
    answers, as `visret search --json` prints it), and neighbour_of if it is a neighbour. A page that a reranker did not
    score has None as its score, as JSON has no -inf.
    """
    for hit, explanation in next(retriever.explained([question], **asked)):
        known = as_json(hit, explanation.boxes)
        found = {name: known[name] for name in FOUND}
        beside = {} if hit.neighbour_of is None else {"neighbour_of": hit.neighbour_of}
        metadata = {**hit.metadata, **found, **beside}
        yield FoundPage(hit, f"{hit.doc}#page={hit.page}", explanation.embedding.text, metadata)


def refuse(given: Iterable[str], *, takes: str) -> None:
    """Raise InvalidArgument for arguments that would be dropped. takes: those that are understood, in words."""
    if names := ", ".join(map(repr, given)):
        raise InvalidArgument(f"visret's retriever does not understand {names}; it takes {takes}")


def missing(extra: str, error: ModuleNotFoundError) -> MissingExtra:
    """Return the error to raise where the framework is not installed."""
    return MissingExtra(f'visret.integrations.{extra}: {error}; pip install "visret[{extra}]"')
