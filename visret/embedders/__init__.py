"""The models that are added to an index: they make single vectors of pages, or sparse ones. Each family is a file."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from visret import arguments
from visret.choices import DENSE, SPARSE
from visret.errors import InvalidModelSpec
from visret.models import registry
from visret.types import Embedder, Encoder, ModelSpec

__all__ = ["KIND_OF_TASK", "load_beside", "load_embedder"]

KIND_OF_TASK: Mapping[str, str] = {"embed": DENSE, "sparse": SPARSE}
"""The kind of vectors that the models of a task make."""


def load_embedder(
    model: str | Path | ModelSpec,
    *,
    options: Mapping[str, Any] | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto",
    device: str = "auto",
    batch: int | None = None,
) -> Embedder:
    """Load a model that makes single vectors or sparse ones: a name, a folder, a hub id, or an entry made in code.

    A sentence model that indexes are made with token by token, such as all-minilm-l6-v2, is loaded as it is usually
    used: with one vector for a text.

    options: options that replace those of the entry; the family's file lists them.
    dtype: the type of the computation; vectors are always float32. "auto" is bfloat16 if the hardware is
        faster at it, else float32; for sparse vectors it is float32. "int8" is for models in a pack on a CPU; "auto" is
        int8 if the entry says `eight_bit` and the CPU is fastest at it.
    device: "auto" (a CUDA GPU if there is one, else the CPU), or any name that torch knows.
    batch: the number of texts or pictures that are read at once; None leaves the choice to the family.

    Each call loads the model again, so keep it. Raises UnknownModel, InvalidModelSpec or WeightsError.
    """
    if batch is not None:
        batch = arguments.whole("batch", batch)
    spec = as_embedder(model if isinstance(model, ModelSpec) else registry.resolve(model))
    if spec.family not in registry.families(spec.task):
        known = ", ".join(registry.families(spec.task))
        raise InvalidModelSpec(f"{spec.name}, family: must be one of {known}, got {spec.family!r}")
    registry.check_code(spec)  # before torch is loaded for nothing
    if options:
        spec = dataclasses.replace(spec, options={**spec.options, **options})
    family = importlib.import_module(f"visret.embedders.{spec.family}")
    return cast(Embedder, family.load(spec, dtype=dtype, device=device, batch=batch))


def load_beside(encoder: Encoder) -> Embedder | None:
    """Load the model of single vectors that belongs beside an encoder; None for most, which have none."""
    return load_embedder(encoder.spec.beside) if encoder.spec.beside else None


def as_embedder(spec: ModelSpec) -> ModelSpec:
    """Return an entry as that of a model which makes single or sparse vectors. Raises InvalidModelSpec if it cannot.

    A sentence model, whose token vectors may make an index, makes single vectors too.
    """
    if spec.task in KIND_OF_TASK:
        return spec
    if spec.task == "encode" and spec.architecture == "SentenceTransformer":
        # What follows its token vectors may have other dimensions than they; loading tells.
        return dataclasses.replace(spec, task="embed", family="sentence", dim=0, options={})
    what = "a reranker" if spec.task == "rerank" else "a late-interaction model, which makes an index"
    raise InvalidModelSpec(
        f"{spec.name} is {what}; what is added to an index is a model of sentence-transformers "
        "(SentenceTransformer or SparseEncoder), one of colpali-engine with single vectors, or a function"
    )
