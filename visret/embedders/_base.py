"""The parts that models of single and sparse vectors share: checks of what is asked, and one call at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from visret import arguments, forks
from visret.errors import ShapeError
from visret.types import ModelSpec, Page, SparseVector

Made = list[np.ndarray] | list[SparseVector]


class PageEmbedder(ABC):
    """A model that makes single or sparse vectors. A family says how it computes them.

    preprocessing: as in the protocol `Embedder`.
    """

    def __init__(self, spec: ModelSpec, preprocessing: Mapping[str, Any]) -> None:
        self.spec = spec
        self.preprocessing = preprocessing
        # Tokenizers are set up for each call, so two threads must not share one at the same time.
        self._using = forks.Lock()

    def can_read(self, page: Page) -> bool:
        """Return whether the page has a picture, for a model that looks at pages, or text."""
        return page.image is not None if self.spec.modality == "image" else bool(page.text.strip())

    def embed_pages(self, pages: Sequence[Page]) -> Made:
        """Return what the model makes of each page. Raises ShapeError for a page that `can_read` refuses."""
        for page in pages:
            if not self.can_read(page):
                raise ShapeError(f"{page.ref}: {self.spec.name} finds nothing to read on this page")
        with self._using, self._computing(for_pages=True):
            return self._pages(pages) if pages else []

    def embed_queries(self, texts: Sequence[str]) -> Made:
        """Return what the model makes of each question. Raises InvalidArgument for one without words."""
        arguments.questions(texts)
        with self._using, self._computing(for_pages=False):
            return self._queries(list(texts)) if texts else []

    @contextmanager
    def _computing(self, *, for_pages: bool) -> Iterator[None]:  # noqa: ARG002
        """Set up what a computation for pages, or for questions, needs; nothing by default."""
        yield

    @abstractmethod
    def _pages(self, pages: Sequence[Page]) -> Made:
        """Return what the model makes of some pages, at least one."""

    @abstractmethod
    def _queries(self, texts: list[str]) -> Made:
        """Return what the model makes of some questions, at least one."""


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Return rows (n, d) float32 of length 1. Raises ShapeError for a row that has no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ShapeError("a vector is all zero or not finite, so it has no direction")
    return np.asarray(vectors / lengths, np.float32)
