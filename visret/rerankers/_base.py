"""The parts that all rerankers share: checks of arguments, batches, and a lock that allows one call at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from visret import arguments, forks
from visret.encoders import _torch
from visret.errors import ShapeError
from visret.types import ModelSpec, Page

PICTURES = {"cpu": 1}  # pages of a batch, by the device; on a CPU one page keeps all cores busy
_PICTURES_ELSEWHERE = 8


class PageReranker(ABC):
    """A reranker of pages. Each family implements the scores of one batch.

    batch: the number of pages in a batch. It is halved if the device runs out of memory.
    """

    def __init__(self, spec: ModelSpec, *, batch: int) -> None:
        self.spec = spec
        self.batch = batch
        # Tokenizers are set up for each call, so two threads must not share one at the same time.
        self._using = forks.Lock()

    def can_read(self, page: Page) -> bool:
        """Return whether the page has text; for a model that looks at pages, whether it has a picture or text."""
        return bool(page.text.strip()) or (self.spec.modality == "image" and page.image is not None)

    def scores(self, question: str, pages: Sequence[Page]) -> np.ndarray:
        """Return how well each page answers the question: (P,) float32; larger is better.

        Raises InvalidArgument for a question without words, and ShapeError for a page that `can_read` refuses.
        """
        arguments.questions([question])
        for page in pages:
            if not self.can_read(page):
                raise ShapeError(f"{page.ref}: {self.spec.name} finds nothing to read on this page")
        out = np.empty(len(pages), np.float32)
        done = 0
        with self._using, _torch.on_threads(_torch.threads()), torch.inference_mode():
            while done < len(pages):
                some = pages[done : done + self.batch]
                try:
                    out[done : done + len(some)] = self._batch_scores(question, some)
                except RuntimeError as error:
                    if len(some) == 1 or "out of memory" not in str(error):
                        raise
                    self.batch = len(some) // 2
                    continue
                done += len(some)
        return out

    @abstractmethod
    def _batch_scores(self, question: str, pages: Sequence[Page]) -> np.ndarray:
        """Return the scores of some pages: (P,)."""


def pictures(device: torch.device) -> int:
    """Return the default number of pictures in a batch."""
    return PICTURES.get(device.type, _PICTURES_ELSEWHERE)
