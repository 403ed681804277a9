"""No model: pages keep their words and have no vectors, so that BM25 finds them, and nothing is loaded or computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from visret.choices import DEFAULT_MODEL
from visret.encoders import _base
from visret.errors import InvalidArgument
from visret.types import ModelSpec, Page, PageEmbedding


class NoEncoder:
    """The encoder of an index without vectors."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.preprocessing: Mapping[str, Any] = {}

    def can_read(self, page: Page) -> bool:
        """Return whether the page has words."""
        return bool(page.text.strip())

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """Return the words of each page, with vectors of the shape (0, 0)."""
        return [
            PageEmbedding(
                page.ref,
                page.size_pt,
                np.empty((0, 0), np.float32),
                np.empty((0, 2), np.float32),
                page.text,
                _base.word_boxes(page),
                page.metadata,
            )
            for page in pages
        ]

    def encode_queries(self, texts: Sequence[str]) -> NoReturn:  # noqa: ARG002
        """Raise InvalidArgument, which says what brings vectors."""
        raise InvalidArgument(
            "this index was made without a model and has no vectors; search it by='bm25', or add them with "
            f"visret reindex INDEX --model {DEFAULT_MODEL}, which reads all pages again, some a second"
        )
