"""LlamaIndex: pages as `ImageNode`s."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from visret import rag
from visret.integrations import _pages
from visret.retriever import Retriever

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle
except ModuleNotFoundError as error:
    raise _pages.missing("llamaindex", error) from error

_FOR_PROGRAMS = [
    "boxes",
    "picture_problem",
    "score",
    "source",
]  # metadata that mean nothing to a language model or an embedding


class VisretRetriever(BaseRetriever):
    """A LlamaIndex retriever of pages: `VisretRetriever(Retriever.open(path), k=5)`.

    A node holds the text of a page and its picture, a PNG in base64; its metadata are the page's own, and doc, page,
    score, source and boxes. If the picture cannot be drawn, because the file is gone or has changed, the node has only
    the text, and `picture_problem` in its metadata says why. What a node gives to a language model stands between
    two lines with a code (`visret.rag.fence`), so that no page can look like another one.
    k, where, by: as in `Retriever.search`. vision: False leaves the pictures out. max_pixels: larger ones are scaled
    down.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        k: int = 5,
        where: Mapping[str, Any] | None = None,
        by: str | None = None,
        vision: bool = True,
        max_pixels: int = rag.MAX_PIXELS,
    ) -> None:
        super().__init__()
        self._retriever = retriever
        self._k = k
        self._where = where
        self._by = by
        self._vision = vision
        self._max_pixels = max_pixels

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        given = {name for name, value in vars(query_bundle).items() if value is not None}
        _pages.refuse(given - {"query_str"}, takes="query_str alone")
        nodes = []
        for found in _pages.search(self._retriever, query_bundle.query_str, self._k, self._where, self._by):
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
            nodes.append(NodeWithScore(node=node, score=found.hit.score))
        return nodes
