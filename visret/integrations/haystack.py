"""Haystack: pages as `Document`s, from a component of a pipeline."""

from __future__ import annotations

import asyncio
from typing import Any

from visret.integrations import _pages
from visret.retriever import Retriever

try:
    from haystack import Document, component, default_to_dict
except ModuleNotFoundError as error:
    raise _pages.missing("haystack", error) from error


@component
class VisretRetriever:
    """A Haystack retriever of pages: `VisretRetriever(Retriever.open(path), top_k=5)`; its input is `query`.

    A document holds the text of a page; its meta are the page's own, and doc, page, score, source and boxes.
    top_k, where, by: as k, where and by in `Retriever.search`; `run` takes other values of the first two for one
    question. A pipeline's YAML has the path of the index;
    `Pipeline.loads(yaml, allowed_modules=["visret.integrations.haystack"])` opens it.
    """

    def __init__(
        self, retriever: Retriever, *, top_k: int = 5, where: dict[str, Any] | None = None, by: str | None = None
    ) -> None:
        self.retriever = retriever
        self.top_k = top_k
        self.where = where
        self.by = by

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, top_k: int | None = None, where: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """Find the pages for a question; return {"documents": best first}."""
        k = self.top_k if top_k is None else top_k
        pages = _pages.search(self.retriever, query, k, self.where if where is None else where, self.by)
        return {
            "documents": [
                Document(id=found.id, content=found.text, meta=found.metadata, score=found.hit.score) for found in pages
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
        return default_to_dict(self, index=path, top_k=self.top_k, where=self.where, by=self.by)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> VisretRetriever:
        """Make the component from a pipeline's YAML, and open its index."""
        settings = dict(data["init_parameters"])
        index = settings.pop("index")
        _pages.refuse(settings.keys() - {"top_k", "where", "by"}, takes="index, top_k, where and by")
        return cls(Retriever.open(index), **settings)
