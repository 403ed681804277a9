"""visret's PackedPages in memory."""

from pathlib import Path

import numpy as np
from worker import Data, Search, Settings, best, serve

from visret.maxsim import pack

CODECS = ("int8", "float16", "float32")


def prepare(data: Data, folder: Path) -> Settings:
    def search(codec: str, *, rescored: bool = True) -> Search:
        vectors = data.pages()
        pages = pack(np.concatenate(vectors), np.cumsum([0, *map(len, vectors)]), codec=codec)

        def found(queries: list[np.ndarray], k: int) -> list[list[int]]:
            if rescored:
                return [rows.tolist() for rows, _ in pages.top_k_many(queries, k)]
            return [best(pages.scores(query), k) for query in queries]

        return found

    settings = {codec: lambda codec=codec: search(codec) for codec in CODECS}
    return {**settings, "int8, the scan alone": lambda: search("int8", rescored=False)}


serve(prepare)
