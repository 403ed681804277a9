"""MaxSim, the late-interaction score: the sum of every query token's best match on the page."""

from __future__ import annotations

import numpy as np

from visret import codec as codecs
from visret.codec import Codec, Rows
from visret.errors import ShapeError
from visret.maxsim import device as devices
from visret.maxsim import packed
from visret.maxsim.packed import PackedPages

__all__ = ["PackedPages", "pack", "page_scores"]


def page_scores(query: np.ndarray, vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Score pages exactly, with float32 products and sums: (P,) float32.

    query: (m, d). vectors: (N, d), finite.
    offsets: (P + 1,); page p is vectors[offsets[p]:offsets[p + 1]] and must not be empty.

    The definition is `maxsim.reference`. Raises ShapeError for other arrays.
    """
    rows = np.ascontiguousarray(vectors, np.float32)
    if not np.isfinite(rows).all():
        raise ShapeError("vectors: have values that are not finite")
    if rows.ndim != 2 or not rows.shape[1]:
        raise ShapeError(f"vectors: expected (N, d), got {rows.shape}")
    return PackedPages(Rows(rows), np.asarray(offsets), Codec("float32", rows.shape[1])).scores(query)


def pack(
    vectors: np.ndarray,
    offsets: np.ndarray,
    codec: str | Codec = "int8",
    *,
    threads: int | None = None,
    path: str | None = None,
    device: str | None = None,
) -> PackedPages:
    """Lay pages out once, to be scored often.

    vectors: (N, d) float32 unit rows. offsets: (P + 1,) from 0 to N; every page has at least one vector.
    codec: a codec, or a name of `codec.CODECS`, which is fitted to these vectors if needed: "int8" (a quarter of the
        memory, the fastest), "float32" (exact), "residual2" (ColBERTv2) and others. visret/codec.py says what each
        costs.
    threads, path: as in PackedPages.
    device: the device that holds and scores the pages: None for this CPU, or a name that torch knows ("cuda", "cuda:1",
        "mps", "cpu").
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ShapeError(f"vectors: expected (N, d), got {vectors.shape}")
    offsets = np.ascontiguousarray(offsets, np.int64)
    packed.check_offsets(offsets, len(vectors))
    vectors = vectors.astype(np.float32, copy=False)
    if isinstance(codec, str):
        codec = codecs.fit(codec, vectors)
    rows = codecs.encode(vectors, codec)
    if device is not None:
        return devices.on_device(rows, offsets, codec, device)
    return PackedPages(rows, offsets, codec, threads, path)
