"""The model families, which turn pages and questions into vectors. Each is a file, which the model's entry names."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from visret.errors import InvalidModelSpec
from visret.models import registry
from visret.types import Encoder, ModelSpec

__all__ = ["load_encoder"]


def load_encoder(
    model: str | Path | ModelSpec,
    *,
    options: Mapping[str, Any] | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Encoder:
    """Load a model: a name of models.yaml, a folder with a checkpoint, a hub id, or an entry made in code.

    "none" is no model: pages are read and keep their words, but have no vectors.

    options: options that replace those of the entry, such as {"max_patches": 256}; the family's file lists them. An
        index must be searched with the options it was made with, so pass the same encoder to `Retriever.open`.
    dtype: the type of the computation; vectors are always float32. "auto" is bfloat16 if the hardware is
        faster at it, else float32. "int8" is for sentence models on a CPU; "auto" is int8 if the entry says `eight_bit`
        and the CPU is fastest at it.
    device: "auto" (a CUDA GPU if there is one, else the CPU), or any name that torch knows.
    threads: the threads for pages on a CPU; None leaves the choice to torch. A question always takes one thread.

    Some families need no torch for questions. Then dtype and device are those of pages, questions are computed on the
    CPU in float32, and torch is loaded with the first page.

    Each call loads the model again, so keep the encoder. Raises UnknownModel, InvalidModelSpec or WeightsError.
    """
    spec = model if isinstance(model, ModelSpec) else registry.resolve(model)
    if spec == registry.NONE:  # also one that another process sent
        from visret.encoders._none import NoEncoder

        return NoEncoder(spec)
    if spec.task == "rerank":
        raise InvalidModelSpec(
            f"{spec.name} is a reranker, which scores pages for a question and makes no vectors: give it as "
            "search(..., rerank=...), and make the index with another model (`visret models` lists them)"
        )
    if spec.task in ("embed", "sparse"):
        raise InvalidModelSpec(
            f"{spec.name} makes single or sparse vectors, which are added to an index: make the index with another "
            "model (`visret models` lists them), then `visret add-model INDEX MODEL`"
        )
    if spec.task != "encode":
        raise InvalidModelSpec(f"{spec.name}, task: an encoder has the task encode, got {spec.task!r}")
    if spec.family not in registry.families():
        raise InvalidModelSpec(
            f"{spec.name}, family: must be one of {', '.join(registry.families())}, got {spec.family!r}"
        )
    if options:
        spec = dataclasses.replace(spec, options={**spec.options, **options})
    family = importlib.import_module(f"visret.encoders.{spec.family}")
    return cast(Encoder, family.load(spec, dtype=dtype, device=device, threads=threads))
