"""What a BERT checkpoint says of itself: its sizes, the names of its tensors, and the tensors where they lie on disk.

Needs neither torch nor transformers, so that whoever only asks questions loads neither.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visret.errors import WeightsError

QKV = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))
TABLES = tuple(f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))
_LINEAR = ("attention.output.dense", "intermediate.dense", "output.dense")
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_UNUSED = ("pooler.", "cls.", "embeddings.position_ids")  # heads of other tasks, and a buffer
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of a BERT encoder. longest: the most ids of a sequence. activation: its name in transformers."""

    dim: int
    heads: int
    layers: int
    longest: int
    eps: float
    activation: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Layout:
        """Read the sizes from a config.json. KeyError, TypeError or ValueError where one is missing or no number."""
        return cls(
            dim=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            layers=int(config["num_hidden_layers"]),
            longest=int(config["max_position_embeddings"]),
            eps=float(config["layer_norm_eps"]),
            activation=str(config["hidden_act"]),
        )

    def prefixes(self) -> list[str]:
        """Return what the names of the tensors of each layer begin with."""
        return [f"encoder.layer.{number}." for number in range(self.layers)]

    def names(self) -> list[str]:
        """Return the name of every tensor."""
        parts = [prefix + part for prefix in self.prefixes() for part in (*QKV, *_LINEAR, *_NORMS)]
        return [*TABLES, *(f"{part}.{end}" for part in ("embeddings.LayerNorm", *parts) for end in ("weight", "bias"))]


def read(folder: Path) -> Layout:
    """Read the sizes of the encoder in a folder that is to be used token by token.

    WeightsError unless it is a BERT with exact GELU and absolute positions.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    kind = (config.get("model_type"), config.get("hidden_act"), config.get("position_embedding_type", "absolute"))
    if kind != ("bert", "gelu", "absolute"):
        raise WeightsError(f"{folder}: only BERT encoders can be used token by token, this is {kind}")
    return Layout.of(config)


def check(layout: Layout, stored: Collection[str], folder: Path) -> None:
    """Raise WeightsError unless the stored tensors, without the prefix `bert.`, are exactly those of the encoder."""
    expected = set(layout.names())
    missing = sorted(expected - set(stored))
    unexpected = sorted(name for name in set(stored) - expected if not name.startswith(_UNUSED))
    for kind, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            raise WeightsError(f"{folder}: weights {kind}: {', '.join(names[:3])} ({len(names)} tensors)")


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a safetensors file by name, float32 and read-only.

    Those stored as float32 are the file's own pages in memory, which the processes of a machine share and the system
    can drop; others are converted each time they are asked for. SafetensorError for a file that is not whole,
    WeightsError for other types.
    """

    def __init__(self, file: Path) -> None:
        from safetensors import safe_open

        with safe_open(file, framework="np"):  # checks the header, and that every tensor lies in the file
            self._file = file
        with file.open("rb") as opened:
            self._begin = 8 + int.from_bytes(opened.read(8), "little")
            self._entries: dict[str, dict[str, Any]] = json.loads(opened.read(self._begin - 8))
            self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self._entries.pop("__metadata__", None)

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._entries[name]
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise WeightsError(f"{self._file}: {name} is {entry['dtype']}, expected one of {', '.join(_DTYPES)}")
        shape = tuple(entry["shape"])
        first = self._begin + entry["data_offsets"][0]
        array: np.ndarray = np.ndarray(shape, dtype, self._data, first)
        if entry["dtype"] == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return np.require(array, np.float32, ["C", "A"])

    def __iter__(self) -> Any:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
