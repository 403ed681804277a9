"""LangChain: pages as `Document`s."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from visret.choices import DEPTH
from visret.integrations import _pages
from visret.retriever import Retriever
from visret.search.plans import Plan

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableConfig
    from langchain_core.runnables.config import run_in_executor
    from pydantic import ConfigDict
except ModuleNotFoundError as error:
    raise _pages.missing("langchain", error) from error


class VisretRetriever(BaseRetriever):
    """A LangChain retriever of pages: `VisretRetriever(retriever=Retriever.open(path), k=5)`.

    A document holds the text of a page; its metadata are the page's own, and doc, page, score, source, weak, relevance,
    boxes and passage; of a neighbour, neighbour_of too. The score is None for a page that a reranker did not score.
    k and the others: as in `Retriever.search`. For one question: `invoke(question, k=3, where={...})`, and likewise
    `ainvoke`, `batch` and `bind`, or `with_config(configurable={"k": 3})`. Any other argument raises InvalidArgument.
    """

    # a misspelt argument is an error; a Reranker and a Plan are taken as they are
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    retriever: Retriever
    k: int = 5
    where: Mapping[str, Any] | None = None
    by: str | Plan | None = None
    exact: bool = False
    offset: int = 0
    group_by: str | None = None
    neighbours: int = 0
    weak: bool = True
    min_score: float | None = None
    rerank: Any = None
    depth: int = DEPTH
    seconds: float | None = None

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:  # noqa: A002 (LangChain's)
        """Return the pages for a question."""
        return super().invoke(input, config, **{**_configured(config), **kwargs})

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:  # noqa: A002
        """Return the pages for a question, found in a thread."""
        return await super().ainvoke(input, config, **{**_configured(config), **kwargs})

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002
        **given: Any,
    ) -> list[Document]:
        _pages.refuse(given.keys() - {*_pages.ARGUMENTS, "verbose"}, takes=_pages.TAKEN)  # the last is LangChain's own
        chosen = {name: getattr(self, name) if given.get(name) is None else given[name] for name in _pages.ARGUMENTS}
        return [
            Document(id=found.id, page_content=found.text, metadata=found.metadata)
            for found in _pages.search(self.retriever, query, chosen)
        ]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **given: Any
    ) -> list[Document]:
        search = partial(self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **given)
        return await run_in_executor(None, search)


def _configured(config: RunnableConfig | None) -> dict[str, Any]:
    """Return the arguments that `with_config(configurable=...)` sets."""
    said = (config or {}).get("configurable") or {}
    return {name: said[name] for name in _pages.ARGUMENTS if name in said}
