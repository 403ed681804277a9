"""LlamaIndex: pages as `ImageNode`s."""

from __future__ import annotations

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

_FOR_PROGRAMS = ["boxes", "score", "source"]  # metadata that say nothing to a language model or an embedding


class VisretRetriever(BaseRetriever):
    """Pages of an index for LlamaIndex: `VisretRetriever(Retriever.open(path), k=5)`.

    A node holds the text of a page and its picture, a PNG in base64; its metadata are the page's own, and doc, page,
    score, source and boxes.
    k, where: as in `Retriever.search`. vision: False leaves the pictures out. max_pixels: larger ones are made smaller.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        k: int = 5,
        where: Mapping[str, Any] | None = None,
        vision: bool = True,
        max_pixels: int = rag.MAX_PIXELS,
    ) -> None:
        super().__init__()
        self._retriever = retriever
        self._k = k
        self._where = where
        self._vision = vision
        self._max_pixels = max_pixels

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        nodes = []
        for found in _pages.search(self._retriever, query_bundle.query_str, self._k, self._where):
            picture = self._retriever.page(found.hit).image if self._vision else None
            node = ImageNode(
                id_=found.id,
                text=found.text,
                image=picture and rag.png(rag.fitted(picture, self._max_pixels)),
                image_mimetype=picture and "image/png",
                metadata=found.metadata,
                excluded_llm_metadata_keys=_FOR_PROGRAMS,
                excluded_embed_metadata_keys=_FOR_PROGRAMS,
            )
            nodes.append(NodeWithScore(node=node, score=found.hit.score))
        return nodes
