"""The sizes of a BERT checkpoint and the names of its tensors, read from its configuration.

This needs neither torch nor transformers, so that a process that only asks questions loads neither.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visret.errors import WeightsError
from visret.models.weights import read_json

QKV = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))
TABLES = tuple(f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))
_LINEAR = ("attention.output.dense", "intermediate.dense", "output.dense")
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_UNUSED = ("pooler.", "cls.", "embeddings.position_ids")  # heads of other tasks, and a buffer


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of a BERT encoder.

    longest: the largest number of ids in a sequence. activation: its name in transformers.
    """

    dim: int
    heads: int
    layers: int
    longest: int
    eps: float
    activation: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Layout:
        """Read the sizes from a config.json. Raises KeyError, TypeError or ValueError for one missing or no number."""
        return cls(
            dim=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            layers=int(config["num_hidden_layers"]),
            longest=int(config["max_position_embeddings"]),
            eps=float(config["layer_norm_eps"]),
            activation=str(config["hidden_act"]),
        )

    def prefixes(self) -> list[str]:
        """Return the prefix of the names of each layer's tensors."""
        return [f"encoder.layer.{number}." for number in range(self.layers)]

    def names(self) -> list[str]:
        """Return the name of every tensor."""
        parts = [prefix + part for prefix in self.prefixes() for part in (*QKV, *_LINEAR, *_NORMS)]
        return [*TABLES, *(f"{part}.{end}" for part in ("embeddings.LayerNorm", *parts) for end in ("weight", "bias"))]


def read(folder: Path) -> Layout:
    """Read the sizes of the encoder in a folder that is to be used token by token.

    Raises WeightsError unless it is a BERT with exact GELU and absolute positions.
    """
    config = read_json(folder / "config.json")
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
