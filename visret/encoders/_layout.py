"""The sizes of a BERT checkpoint or of one of its kin, and the names of its tensors, read from its configuration.

The kin are RoBERTa, XLM-RoBERTa and CamemBERT, whose first position is not 0, and MPNet, which has no token types and
adds to every attention logit a number for the distance between two tokens. MPNet's tensors go by BERT's names here.

This needs neither torch nor transformers, so that a process that only asks questions loads neither.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visret.errors import WeightsError
from visret.models.weights import read_json

QKV = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))
TABLES = tuple(f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))
LINEAR = ("attention.output.dense", "intermediate.dense", "output.dense")
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_UNUSED = ("pooler.", "cls.", "lm_head.", "embeddings.position_ids")  # heads of other tasks, and a buffer
DISTANCES = "encoder.relative_attention_bias.weight"
_ROBERTAS = ("roberta", "xlm-roberta", "camembert")
_KINDS = ("bert", *_ROBERTAS, "mpnet")
_OF_MPNET = {
    "attention.attn.q.": "attention.self.query.",
    "attention.attn.k.": "attention.self.key.",
    "attention.attn.v.": "attention.self.value.",
    "attention.attn.o.": "attention.output.dense.",
    "attention.LayerNorm.": "attention.output.LayerNorm.",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of a BERT encoder.

    longest: the largest number of ids in a sequence. activation: its name in transformers. first: the position of the
    first id. types: whether there is a table of token types. buckets: how many distances between two tokens are told
    apart, both directions together; 0 if attention does not depend on distance.
    """

    dim: int
    heads: int
    layers: int
    longest: int
    eps: float
    activation: str
    first: int = 0
    types: bool = True
    buckets: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Layout:
        """Read the sizes from a config.json. Raises KeyError, TypeError or ValueError for one missing or no number."""
        kind = config.get("model_type")
        padding = {"mpnet": 1, **dict.fromkeys(_ROBERTAS, config.get("pad_token_id"))}.get(str(kind))
        first = 0 if padding is None else int(padding) + 1
        return cls(
            dim=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            layers=int(config["num_hidden_layers"]),
            longest=int(config["max_position_embeddings"]) - first,
            eps=float(config["layer_norm_eps"]),
            activation=str(config["hidden_act"]),
            first=first,
            types=kind != "mpnet",
            buckets=32 if kind == "mpnet" else 0,  # as transformers, whatever the configuration says
        )

    def prefixes(self) -> list[str]:
        """Return the prefix of the names of each layer's tensors."""
        return [f"encoder.layer.{number}." for number in range(self.layers)]

    def tables(self) -> list[str]:
        """Return the names of the tables whose rows are added up to the first vector of an id."""
        return list(TABLES[: 2 + self.types])

    def names(self) -> list[str]:
        """Return the name of every tensor."""
        parts = [prefix + part for prefix in self.prefixes() for part in (*QKV, *LINEAR, *_NORMS)]
        distances = [DISTANCES] * (self.buckets > 0)
        both = [f"{part}.{end}" for part in ("embeddings.LayerNorm", *parts) for end in ("weight", "bias")]
        return [*self.tables(), *distances, *both]


def known(config: Mapping[str, Any]) -> bool:
    """Return whether a config.json is that of an encoder that is computed here, with exact GELU."""
    positions = config.get("position_embedding_type") or "absolute"
    return config.get("model_type") in _KINDS and config.get("hidden_act") == "gelu" and positions == "absolute"


def read(folder: Path) -> Layout:
    """Read the sizes of the encoder in a folder that is to be used token by token.

    Raises WeightsError unless its configuration is `known`.
    """
    config = read_json(folder / "config.json")
    if not known(config):
        kind = (config.get("model_type"), config.get("hidden_act"), config.get("position_embedding_type", "absolute"))
        raise WeightsError(f"{folder}: only {', '.join(_KINDS)} with gelu and absolute positions, this is {kind}")
    return Layout.of(config)


def canonical(names: Iterable[str]) -> dict[str, str]:
    """Map BERT's names of tensors, without the name of the model in front, to the names that are stored.

    Buffers that another version of the library stores are left out.
    """
    out = {}
    for stored in names:
        name = re.sub("^(bert|roberta|mpnet)[.]", "", stored)
        for theirs, ours in _OF_MPNET.items():
            name = name.replace(theirs, ours)
        out[name] = stored
    return out


def check(layout: Layout, stored: Collection[str], folder: Path) -> None:
    """Raise WeightsError unless the stored tensors, by their `canonical` names, are exactly those of the encoder."""
    expected = set(layout.names())
    missing = sorted(expected - set(stored))
    unexpected = sorted(name for name in set(stored) - expected if not name.startswith(_UNUSED))
    for kind, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            raise WeightsError(f"{folder}: weights {kind}: {', '.join(names[:3])} ({len(names)} tensors)")


def buckets_of(distances: np.ndarray, count: int) -> np.ndarray:
    """Return the bucket of each distance, int64 of any shape, from the token that attends to the one attended to.

    Half of the `count` buckets are for tokens that come later. In each direction half of them are for one distance
    each, and the rest grow with its logarithm up to 128, as in T5 and transformers' MPNet.
    """
    count //= 2
    out = np.where(distances > 0, count, 0)
    far = np.abs(distances)
    exact = count // 2
    with np.errstate(divide="ignore"):
        grown = np.log(far.astype(np.float32) / np.float32(exact)) / np.float32(math.log(128 / exact))
    grown = np.where(far < exact, 0, grown) * np.float32(count - exact)
    return np.asarray(out + np.where(far < exact, far, np.minimum(exact + grown.astype(np.int64), count - 1)))
