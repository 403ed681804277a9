"""LangChain: pages as `Document`s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visret.integrations import _pages
from visret.retriever import Retriever

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
except ModuleNotFoundError as error:
    raise _pages.missing("langchain", error) from error


class VisretRetriever(BaseRetriever):
    """Pages of an index for LangChain: `VisretRetriever(retriever=Retriever.open(path), k=5)`.

    A document holds the text of a page; its metadata are the page's own, and doc, page, score, source and boxes.
    k, where: as in `Retriever.search`.
    """

    retriever: Retriever
    k: int = 5
    where: Mapping[str, Any] | None = None

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:  # noqa: ARG002 (LangChain's)
        return [
            Document(id=found.id, page_content=found.text, metadata=found.metadata)
            for found in _pages.search(self.retriever, query, self.k, self.where)
        ]
