"""Bi-encoders of colpali-engine: a page as a picture, and a question, become one vector each.

`BiQwen2`, `BiQwen2_5`, `BiQwen3`, `BiQwen3_5`, `BiIdefics3`, `BiModernVBert` and `BiPali` checkpoints load through
colpali-engine, full or as LoRA adapters. Vectors are pooled as the class does by default, and compared by the cosine.
Each page and question is computed by itself, so that nothing is padded.

Options: max_patches, the most cells of a page, for those of Qwen; and `query_prefix`, `query_suffix`,
`query_suffix_count`, `page_prompt` and `four_bit` of `visret.encoders._patches`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from visret.embedders._base import PageEmbedder, normalised
from visret.encoders import _base, _patches, _torch
from visret.errors import InvalidModelSpec
from visret.types import ModelSpec, Page


class BiEmbedder(PageEmbedder):
    """A bi-encoder; the module's docstring describes it."""

    def __init__(self, loaded: _patches.Loaded) -> None:
        self._model, self._processor = loaded.model, loaded.processor
        self._suffix = _patches.set_prompts(loaded)
        budget = _limit(loaded)
        made = {
            "similarity": "cosine",
            "architecture": loaded.architecture,
            **budget,
            "page_prompt": getattr(loaded.processor, "visual_prompt_prefix", ""),
            "query_prefix": loaded.processor.query_prefix,
            "query_suffix": self._suffix,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
        }
        super().__init__(loaded.spec, made)
        with self._computing(for_pages=False):
            dim = self._queries(["dimensions"])[0].shape[1]
        if loaded.spec.dim:
            _base.check_dim(loaded.spec, dim)
        self.spec = dataclasses.replace(loaded.spec, dim=dim)

    @contextmanager
    def _computing(self, *, for_pages: bool) -> Iterator[None]:
        with _torch.on_threads(_torch.threads() if for_pages else 1), torch.inference_mode():
            yield

    def _pages(self, pages: Sequence[Page]) -> list[np.ndarray]:
        return [self._vector(self._processor.process_images([page.image])) for page in pages]

    def _queries(self, texts: list[str]) -> list[np.ndarray]:
        return [self._vector(self._processor.process_queries([text], suffix=self._suffix)) for text in texts]

    def _vector(self, features: Mapping[str, Any]) -> np.ndarray:
        """Return the vector of a page or a question, (1, d)."""
        moved = {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in features.items()
            if name != "labels"
        }
        return normalised(self._model(**moved).float().cpu().numpy())


def _limit(loaded: _patches.Loaded) -> dict[str, int]:
    """Limit the cells of a page as the entry says; return the limit, for a model that has one."""
    image, most = loaded.processor.image_processor, loaded.options["max_patches"]
    if not hasattr(image, "merge_size"):
        if most is not None:
            raise InvalidModelSpec(f"{loaded.spec.name}, options, max_patches: {loaded.architecture} has no such limit")
        return {}
    cell = image.patch_size * image.merge_size  # pixels
    if most is not None:
        image.size["longest_edge"] = most * cell**2
    return {"max_patches": image.size["longest_edge"] // cell**2}


def _names_weights(spec: ModelSpec) -> bool:
    """Return whether the class of a checkpoint takes a table that renames its weights."""
    return spec.architecture in ("BiQwen2", "BiQwen2_5")


def load(spec: ModelSpec, *, dtype: str, device: str, batch: int | None) -> BiEmbedder:  # noqa: ARG001
    """Load the model. Raises WeightsError for missing, unexpected or misshapen weights."""
    # colpali-engine 0.3.18 looks for a table of names that transformers has elsewhere since version 5 and applies
    # itself.
    reading: dict[str, Any] = {"key_mapping": {}} if _names_weights(spec) else {}
    loaded = _patches.load(
        spec, {"max_patches": None}, dtype=dtype, device=device, reading=reading, dim=lambda _: spec.dim
    )
    return BiEmbedder(loaded)
