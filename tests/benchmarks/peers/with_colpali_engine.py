"""colpali-engine's score_multi_vector on the CPU."""

from pathlib import Path

import torch
from worker import Data, Search, Settings, best, serve

from visret.encoders._torch import quiet

with quiet():  # and with PyPI's torchvision beside a CPU build of torch
    from colpali_engine.utils.processing_utils import BaseVisualRetrieverProcessor


def prepare(data: Data, folder: Path) -> Settings:
    pages = [torch.from_numpy(page) for page in data.pages()]

    def search(size: int) -> Search:
        def found(queries: list, k: int) -> list[list[int]]:
            asked = [torch.from_numpy(query) for query in queries]
            scores = BaseVisualRetrieverProcessor.score_multi_vector(asked, pages, batch_size=size, device="cpu")
            return [best(line, k) for line in scores.numpy()]

        return found

    return {f"batches of {size}": lambda size=size: search(size) for size in (128, 32, 8)}


serve(prepare)
