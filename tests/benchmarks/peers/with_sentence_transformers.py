"""sentence-transformers' maxsim on the CPU; equal lengths as one tensor."""

from pathlib import Path

import torch
from worker import Data, Search, Settings, best, serve

from visret.encoders._torch import quiet

with quiet():  # and with PyPI's torchvision beside a CPU build of torch
    from sentence_transformers.util import maxsim


def prepare(data: Data, folder: Path) -> Settings:
    pages = [torch.from_numpy(page) for page in data.pages()]
    documents = torch.stack(pages) if len({len(page) for page in pages}) == 1 else pages

    def search(elements: int | None) -> Search:
        def found(queries: list, k: int) -> list[list[int]]:
            asked = [torch.from_numpy(query) for query in queries]
            return [best(line, k) for line in maxsim(asked, documents, chunk_elements=elements).numpy()]

        return found

    sizes = {"its default chunks": None, "chunks of 10 M": 10_000_000, "chunks of 2 M": 2_000_000}
    return {name: lambda size=size: search(size) for name, size in sizes.items()}


serve(prepare)
