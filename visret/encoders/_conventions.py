"""The conventions of a ColBERT checkpoint: what its own library does around the network, and the network in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visret.encoders import _numpy
from visret.encoders._layout import Layout
from visret.models.weights import Tensors

Stored = tuple[str, str]
"""A file, by its path in the checkpoint's folder, and the name of a tensor in it."""


class Scored(NamedTuple):
    """The vectors of n ids. vectors: (n, d) float32, unit rows by default. counts: (n,) bool, which rows are scored."""

    vectors: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True, slots=True)
class StoredProjection:
    """A linear layer behind the encoder. activation: None or a name of `_numpy.ACTIVATIONS`.

    residual: the matrix that multiplies the layer's input before it is added to the output. adds_input: whether the
    input itself is added to the output.
    """

    weight: Stored
    bias: Stored | None
    activation: str | None
    residual: Stored | None
    adds_input: bool


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """A BERT encoder and the layers behind it. tensors: where its weights lie, by the names of `Layout.names`."""

    layout: Layout
    tensors: Mapping[str, Stored]
    projections: Sequence[StoredProjection]


@dataclass(frozen=True, slots=True)
class Conventions:
    """The conventions that surround the network of a checkpoint.

    tokenizer: in the form of tokenizer.json; it neither truncates nor pads. unknown: the id for what it does not know,
    or None. prompts: the prompt of each task, "query" and "document". asked: the most ids of a sequence for each task,
    as the checkpoint names them, or None. usual: the most ids if the checkpoint names none. most: the most ids that its
    network can read. filler: the id that questions are filled up with. filled: the number of ids that they are filled
    up to. fixed: whether they are filled up to the most ids of a question instead. attends: whether the words of a
    question see the filler. skipped: ids of a question that are not scored. network: None if only torch can run it.
    """

    tokenizer: str
    unknown: int | None
    prompts: Mapping[str, str]
    asked: Mapping[str, int | None]
    usual: int
    most: int
    dim: int
    filler: int
    filled: int
    fixed: bool
    attends: bool
    skipped: Sequence[int]
    network: StoredNetwork | None


class Questions:
    """The network of a checkpoint in NumPy, which turns the ids of questions into vectors."""

    def __init__(self, folder: Path, conventions: Conventions) -> None:
        network = conventions.network
        assert network is not None
        files: dict[str, Tensors] = {}

        def tensor(stored: Stored) -> np.ndarray:
            file, name = stored
            if file not in files:
                files[file] = Tensors(folder / file)
            return files[file][name]

        self._conventions = conventions
        projections = [
            _numpy.Projection(
                tensor(one.weight),
                one.bias and tensor(one.bias),
                one.activation,
                one.residual and tensor(one.residual),
                one.adds_input,
            )
            for one in network.projections
        ]
        tensors = {name: tensor(stored) for name, stored in network.tensors.items()}
        self._bert = _numpy.Bert(network.layout, tensors, projections)

    def __call__(self, ids: Sequence[int], *, width: int) -> Scored:
        """Encode ids, filled up to `width`."""
        known = self._conventions
        filling = max(0, width - len(ids))
        filled = np.array([*ids, *[known.filler] * filling])
        attended = None if known.attends or not filling else np.arange(len(filled)) < len(ids)
        columns = self._bert(filled, attended)
        counts = ~np.isin(filled, known.skipped)
        return Scored(_numpy.unit_rows(columns), counts)
