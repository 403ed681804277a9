"""Haystack: pages as `Document`s, from a component of a pipeline."""

from __future__ import annotations

import asyncio
from typing import Any

from visret.choices import DEPTH
from visret.integrations import _pages
from visret.retriever import Retriever

try:
    from haystack import Document, component, default_to_dict
except ModuleNotFoundError as error:
    raise _pages.missing("haystack", error) from error


@component
class VisretRetriever:
    """A Haystack retriever of pages: `VisretRetriever(Retriever.open(path), top_k=5)`; its input is `query`.

    A document holds the text of a page; its meta are the page's own, and doc, page, score, source, weak, relevance,
    boxes and passage; of a neighbour, neighbour_of too. The score is None for a page that a reranker did not score.
    top_k and the others: as k and the others in `Retriever.search`; `run` takes other values of the first two for one
    question. A pipeline's YAML has the path of the index;
    `Pipeline.loads(yaml, allowed_modules=["visret.integrations.haystack"])` opens it.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        top_k: int = 5,
        where: dict[str, Any] | None = None,
        by: str | None = None,
        exact: bool = False,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        rerank: str | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
    ) -> None:
        self.retriever = retriever
        self.top_k = top_k
        self.where = where
        self.settings = {
            "by": by,
            "exact": exact,
            "offset": offset,
            "group_by": group_by,
            "neighbours": neighbours,
            "weak": weak,
            "min_score": min_score,
            "rerank": rerank,
            "depth": depth,
            "seconds": seconds,
        }

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, top_k: int | None = None, where: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """Find the pages for a question; return {"documents": best first}."""
        chosen = {"k": self.top_k if top_k is None else top_k, "where": self.where if where is None else where}
        return {
            "documents": [
                Document(id=found.id, content=found.text, meta=found.metadata, score=found.metadata["score"])
                for found in _pages.search(self.retriever, query, {**chosen, **self.settings})
            ]
        }

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, top_k: int | None = None, where: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """Do as `run` does, in a thread, while the event loop goes on."""
        found: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, top_k, where)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return what a pipeline's YAML stores of the component."""
        path = self.retriever.info()["path"]
        return default_to_dict(self, index=path, top_k=self.top_k, where=self.where, **self.settings)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> VisretRetriever:
        """Make the component from a pipeline's YAML, and open its index."""
        settings = dict(data["init_parameters"])
        index = settings.pop("index")
        _pages.refuse(settings.keys() - {"top_k", *_pages.ARGUMENTS[1:]}, takes=f"index, top_{_pages.TAKEN}")
        return cls(Retriever.open(index), **settings)
