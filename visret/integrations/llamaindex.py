"""LlamaIndex: pages as `ImageNode`s."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from visret import rag
from visret.choices import DEPTH
from visret.integrations import _pages
from visret.retriever import Retriever
from visret.search.plans import Plan
from visret.types import Reranker

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle
except ModuleNotFoundError as error:
    raise _pages.missing("llamaindex", error) from error

_FOR_PROGRAMS = [*_pages.OF_HITS, "picture_problem"]  # metadata that mean nothing to a language model or an embedding


class VisretRetriever(BaseRetriever):
    """A LlamaIndex retriever of pages: `VisretRetriever(Retriever.open(path), k=5)`.

    A node holds the text of a page and its picture, a PNG in base64; its metadata are the page's own, and doc, page,
    score, source, weak, relevance, boxes and passage; of a neighbour, neighbour_of too. The score is None for a page
    that a reranker did not score. If the picture cannot be drawn, because the file is gone or has changed, the node has
    only the text, and `picture_problem` in its metadata says why. What a node gives to a language model stands between
    two lines with a code (`visret.rag.fence`), so that no page can look like another one.
    k and the others: as in `Retriever.search`. vision: False leaves the pictures out. max_pixels: larger ones are
    scaled down.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        k: int = 5,
        where: Mapping[str, Any] | None = None,
        by: str | Plan | None = None,
        exact: bool = False,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        rerank: str | Reranker | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
        vision: bool = True,
        max_pixels: int = rag.MAX_PIXELS,
    ) -> None:
        super().__init__()
        self._retriever = retriever
        self._asked = {
            "k": k,
            "where": where,
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
        self._vision = vision
        self._max_pixels = max_pixels

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        given = {name for name, value in vars(query_bundle).items() if value is not None}
        _pages.refuse(given - {"query_str"}, takes="query_str alone")
        nodes = []
        for found in _pages.search(self._retriever, query_bundle.query_str, self._asked):
            page, problem = self._retriever.read(found.hit, picture=self._vision)
            picture, metadata = page.image, found.metadata
            if problem:
                metadata = {**metadata, "picture_problem": str(problem)}
            begin, end = rag.fence(found.text, json.dumps(metadata))
            node = ImageNode(
                id_=found.id,
                text=found.text,
                image=picture and rag.png(rag.fitted(picture, self._max_pixels)),
                image_mimetype=picture and "image/png",
                metadata=metadata,
                metadata_template="{key}: {value!r}",  # on one line, whatever it is
                text_template=f"{begin}\n{{metadata_str}}\n\n{{content}}\n{end}",
                excluded_llm_metadata_keys=_FOR_PROGRAMS,
                excluded_embed_metadata_keys=_FOR_PROGRAMS,
            )
            nodes.append(NodeWithScore(node=node, score=metadata["score"]))
        return nodes
