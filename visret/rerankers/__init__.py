"""The rerankers, which read a question and a page together. Each family is a file, which the model's entry names."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from visret import arguments
from visret.errors import InvalidModelSpec
from visret.models import registry
from visret.types import ModelSpec, Reranker

__all__ = ["load_reranker"]


def load_reranker(
    model: str | Path | ModelSpec,
    *,
    options: Mapping[str, Any] | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    device: str = "auto",
    batch: int | None = None,
) -> Reranker:
    """Load a reranker: a name of models.yaml, a folder with a checkpoint, a hub id, or an entry made in code.

    options: options that replace those of the entry; the family's file lists them.
    dtype: the type of the computation; scores are always float32. "auto" is bfloat16 if the hardware is
        faster at it, else float32.
    device: "auto" (a CUDA GPU if there is one, else the CPU), or any name that torch knows.
    batch: the number of pages that are read at once; None leaves the choice to the family. A page's score does not
        depend on it.

    Each call loads the model again, so keep the reranker. Raises UnknownModel, InvalidModelSpec or WeightsError.
    """
    if batch is not None:
        batch = arguments.whole("batch", batch)
    spec = model if isinstance(model, ModelSpec) else registry.resolve(model)
    if spec.task != "rerank":
        raise InvalidModelSpec(
            f"{spec.name} is no reranker but a model that makes an index; `visret models` lists the rerankers. A "
            "folder with one whose configuration is that of a chat model needs an entry, visret.yaml, with task: rerank"
        )
    known = registry.families("rerank")
    if spec.family not in known:
        raise InvalidModelSpec(f"{spec.name}, family: must be one of {', '.join(known)}, got {spec.family!r}")
    registry.check_code(spec)  # before torch is loaded for nothing
    if options:
        spec = dataclasses.replace(spec, options={**spec.options, **options})
    family = importlib.import_module(f"visret.rerankers.{spec.family}")
    return cast(Reranker, family.load(spec, dtype=dtype, device=device, batch=batch))
