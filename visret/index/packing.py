"""The way from a page's embedding to what a segment stores of it, which another process than the writer may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visret.codec import Codec, encode
from visret.errors import ModelMismatch, ShapeError
from visret.index.catalogue import IndexModel
from visret.index.fields import Packed, pack_page, pack_vectors
from visret.index.fitted import Fitted
from visret.reduction import Storage
from visret.types import PageEmbedding, PageRef


class PackedPage(NamedTuple):
    """A page as a segment stores it. ref, size_pt, metadata: as in `PageEmbedding`. arrays: its part of each array."""

    ref: PageRef
    size_pt: tuple[float, float] | None
    metadata: Mapping[str, Any]
    arrays: Packed


@dataclass(frozen=True, eq=False)
class Packing:
    """The way in which one index stores pages. It can be sent to other processes.

    index: its folder, for errors. fitted: None while the index has still to learn from vectors.
    """

    index: Path
    model: IndexModel
    storage: Storage
    fitted: Fitted | None

    def check_dim(self, page: PageEmbedding) -> None:
        """Raise ModelMismatch unless the vectors have as many dimensions as those of the index."""
        if page.vectors.shape[1] != self.model.dim:
            raise ModelMismatch(
                self.index,
                f"{page.ref.doc}, page {page.ref.page} has vectors of {page.vectors.shape[1]} dimensions; the index "
                f"was made by {self.model.name}, whose vectors have {self.model.dim}",
            )

    def pack(self, page: PageEmbedding) -> Packed:
        """Return what a segment stores of a page; its vectors as they are if the index has still to learn from them.

        Raises ShapeError for what cannot be stored.
        """
        try:
            if not self.model.makes_vectors:
                return pack_page(page)
            vectors = encode(page.vectors, Codec("float32", self.model.dim)).codes  # refused here if they cannot be
            reduced = self.storage.reduce(replace(page, vectors=vectors))
            if self.fitted is not None:
                return pack_page(reduced) | pack_vectors(reduced.vectors, self.fitted)
            lengths = np.linalg.norm(reduced.vectors, axis=1)
            if (wrong := np.abs(lengths - 1) > 0.5).any():
                raise ShapeError(f"vectors must have length 1 to learn from them, got {lengths[wrong.argmax()]:.3g}")
            return pack_page(reduced) | {"vectors": reduced.vectors}
        except ShapeError as error:
            raise ShapeError(f"{page.ref.doc}, page {page.ref.page}: {error}") from error

    def packed(self, page: PageEmbedding) -> PackedPage:
        """Return a page as `Writer.put` takes it. Raises ModelMismatch and ShapeError."""
        self.check_dim(page)
        return PackedPage(page.ref, page.size_pt, page.metadata, self.pack(page))
