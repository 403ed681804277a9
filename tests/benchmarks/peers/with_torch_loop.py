"""A Python loop of torch products, a page at a time: the literature's "naive" late interaction."""

from pathlib import Path

import torch
from worker import Data, Settings, best, serve


def prepare(data: Data, folder: Path) -> Settings:
    pages = [torch.from_numpy(page) for page in data.pages()]

    def one(query: torch.Tensor, k: int) -> list[int]:
        scores = torch.stack([(query @ page.T).amax(dim=1).sum() for page in pages])
        return best(scores.numpy(), k)

    return {"float32": lambda: lambda queries, k: [one(torch.from_numpy(query), k) for query in queries]}


serve(prepare)
