"""Model families: pages and questions in, vectors out. One file a family, found by the model's entry."""

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

    options: over those of its entry, such as {"max_patches": 256}; its family's file says which there are. An index is
        searched with the ones it was made with: hand the encoder to `Retriever.open` too.
    dtype: of the computation; vectors are always float32. "auto" is bfloat16 where the hardware computes it
        natively, else float32. "int8" is for sentence models on a CPU, and what "auto" is where their entry says
        `eight_bit` and the CPU is fast at it.
    device: "auto" (a CUDA GPU if there is one, else the CPU), or any name torch knows.
    threads: for pages on a CPU; None leaves torch's own choice. A question always takes one.

    Where questions need no torch (see the family), dtype and device are those of pages: questions are then computed on
    the CPU in float32, and torch is loaded with the first page.

    UnknownModel, InvalidModelSpec, WeightsError. Each call loads anew: keep what it returns.
    """
    spec = model if isinstance(model, ModelSpec) else registry.resolve(model)
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
