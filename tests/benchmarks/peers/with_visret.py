"""visret's engine in memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from worker import Data, Search, Settings, best, serve

from visret.maxsim import PackedPages, pack
from visret.reduction import summarise, summary_size
from visret.search.late_interaction import Staged, best_pages

CODECS = ("int8", "float16", "float32")


def prepare(data: Data, folder: Path) -> Settings:
    def search(codec: str) -> Search:
        pages = packed(data.pages(), codec)
        return lambda queries, k: [rows.tolist() for rows, _ in pages.top_k_many(queries, k)]

    def scan() -> Search:
        pages = packed(data.pages(), "int8")
        return lambda queries, k: [best(pages.scores(query), k) for query in queries]

    def staged() -> Search:
        vectors = data.pages()
        short = [summarise(page, summary_size(len(page))) for page in vectors]
        parts = [Staged(packed(vectors, "int8"), packed(short, "int8"))]
        return lambda queries, k: [rows.tolist() for _, rows, _ in best_pages(parts, queries, k)]

    settings = {codec: lambda codec=codec: search(codec) for codec in CODECS}
    return {**settings, "int8, the scan alone": scan, "int8, first stage": staged}


def packed(pages: Sequence[np.ndarray], codec: str) -> PackedPages:
    return pack(np.concatenate(pages), np.cumsum([0, *map(len, pages)]), codec=codec)


serve(prepare)
