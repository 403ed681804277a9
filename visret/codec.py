"""Vectors as they are stored: float32 rows to codes, and back.

    codec     codes             scales          bytes a vector
    int8      (N, d) uint8      (N,) float32    d + 4
    float16   (N, d) float16    None            2 d
    float32   (N, d) float32    None            4 d

int8 stores value + 128 with value in -127..127 and one scale a vector, max|x| / 127, so `x ~ (code - 128) * scale`.
Its error: at most scale / 2 in each component (up to float32 rounding, 2e-5 of a scale), so at most
scale * sqrt(d) / 2 in the dot product with a unit query. For a unit row of d = 128 whose largest component is 0.3
that is a bound of 0.0134; rounding is not an adversary, and 0.0007 (scale / sqrt(12)) is what is seen.
float16 keeps 11 bits: at most 2**-11 of a component's size (2**-25 for components below 6e-5).

Every page is decoded with `decode` before it is scored exactly, so what a score says is what the index holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from visret.errors import ShapeError

DTYPES: dict[str, np.dtype[Any]] = {
    "int8": np.dtype("u1"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
}

# Floats worked on at a time: 4 MB, so that encoding needs no second copy of a large array.
_BLOCK = 1 << 20


def encode(vectors: np.ndarray, codec: str = "int8") -> tuple[np.ndarray, np.ndarray | None]:
    """Codes and scales of vectors (N, d) float32; see the table above.

    Raises ShapeError where a vector is not finite or all zero: its similarity to any query would be meaningless.
    """
    if codec not in DTYPES:
        raise ShapeError(f"codec must be one of {', '.join(DTYPES)}, got {codec!r}")
    if vectors.ndim != 2 or vectors.dtype != np.float32 or not vectors.shape[1]:
        raise ShapeError(f"vectors must be (N, d) float32, got {vectors.shape} {vectors.dtype}")
    codes = np.empty(vectors.shape, DTYPES[codec])
    scales = np.empty(len(vectors), np.float32) if codec == "int8" else None
    rows = max(1, _BLOCK // vectors.shape[1])
    for start in range(0, len(vectors), rows):
        block = vectors[start : start + rows]
        peaks = np.maximum(block.max(axis=1), -block.min(axis=1))
        _refuse(~np.isfinite(peaks), start, "is not finite")
        limit = np.finfo(DTYPES[codec] if scales is None else np.float32)
        # A scale below the smallest normal float would not divide exactly; a largest component that becomes 0 is lost.
        _refuse(peaks < (limit.tiny * 127 if scales is not None else limit.tiny), start, "is zero")
        _refuse(peaks > limit.max / 2, start, f"is too large for {codec}")
        if scales is None:
            codes[start : start + rows] = block
        else:
            scale = peaks / np.float32(127)
            scales[start : start + rows] = scale
            values = block / scale[:, None]
            np.rint(values, out=values)
            values += 128
            codes[start : start + rows] = values
    return codes, scales


def decode(codes: np.ndarray, scales: np.ndarray | None = None) -> np.ndarray:
    """(N, d) float32 of codes (N, d) and, for int8, scales (N,) float32."""
    vectors = codes.astype(np.float32)
    if codes.dtype == np.uint8:
        if scales is None or scales.shape != codes.shape[:1]:
            got = None if scales is None else scales.shape
            raise ShapeError(f"int8 codes {codes.shape} need scales {codes.shape[:1]}, got {got}")
        vectors -= 128
        vectors *= scales[:, None]
    return vectors


def _refuse(wrong: np.ndarray, start: int, what: str) -> None:
    if wrong.any():
        raise ShapeError(f"vector {start + int(wrong.argmax())} {what}; it cannot be stored")
