"""visret's Retriever on an index of its own, by way of an encoder that hands out the vectors it is given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from worker import Data, Search, Settings, build, serve

from visret import ModelSpec, Page, PageEmbedding, QueryEmbedding, Retriever
from visret.codec import CODECS

TOGETHER = 64  # pages of a document


class Given:
    """An encoder whose pages and questions are numbers of what it was given."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.questions: list[np.ndarray] = []
        self.spec = ModelSpec("given", "given", "", "1", "text", data.dim, "", 0.0)
        self.preprocessing: Mapping[str, Any] = {}

    def can_read(self, page: Page) -> bool:
        return True

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        return [self._page(page) for page in pages]

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        asked = [self.questions[int(text)] for text in texts]
        return [QueryEmbedding("", query, ("",) * len(query), np.ones(len(query), bool)) for query in asked]

    def _page(self, page: Page) -> PageEmbedding:
        number = number_of(*page.ref)
        (vectors,) = self.data.pages(number, number + 1)
        return PageEmbedding(page.ref, None, vectors, np.zeros((len(vectors), 2), np.float32), "page")


def number_of(doc: str, page: int) -> int:
    return int(doc) * TOGETHER + page - 1


def prepare(data: Data, folder: Path) -> Settings:
    encoder = Given(data)

    def search(codec: str, *, exact: bool = False, explain: bool = True) -> Search:
        def make(at: Path) -> None:
            with Retriever.create(at, model=encoder, codec=codec) as retriever:
                retriever.add_pages(
                    Page.from_text("page", doc=str(number // TOGETHER), page=number % TOGETHER + 1)
                    for number in range(data.count)
                )

        retriever = Retriever.open(build(folder / codec, make), model=encoder)

        def found(queries: list[np.ndarray], k: int) -> list[list[int]]:
            encoder.questions = queries
            texts = [str(i) for i in range(len(queries))]
            hits = retriever.search_many(texts, k, exact=exact, explain=explain, by="maxsim")
            return [[number_of(*hit.ref) for hit in one] for one in hits]

        return found

    settings = {codec: lambda codec=codec: search(codec) for codec in CODECS}
    return {
        **settings,
        "int8, every page": lambda: search("int8", exact=True),
        "int8, ranks only": lambda: search("int8", explain=False),
    }


serve(prepare)
