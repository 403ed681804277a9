"""Images: ColQwen2 checkpoints, by colpali-engine's model and processor.

A page is stretched to a grid of cells, each 28 x 28 pixels of the resized image, and has one vector a cell in reading
order. The vectors of the prompt's text follow (the checkpoint was trained to match them too) and lie nowhere.
A question has the vectors of its tokens and of the ten augmentation tokens that colpali-engine appends.

Options: max_patches (unset: what the checkpoint's processor says), the most cells a page is resized to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visret.encoders import _base, _torch
from visret.errors import ShapeError, WeightsError
from visret.types import Grid, ModelSpec, Page, PageEmbedding, QueryEmbedding

_OPTIONS = {"max_patches": None}


class ColqwenEncoder:
    """See the module's docstring."""

    def __init__(self, spec: ModelSpec, model: Any, processor: Any, *, threads: int) -> None:
        self.spec = spec
        self._model = model
        self._processor = processor
        self._threads = threads
        self._merge = processor.image_processor.merge_size
        self._batch = 1 if model.device.type == "cpu" else 4  # pages; on a CPU one keeps all cores busy
        cell = processor.image_processor.patch_size * self._merge
        self.preprocessing: Mapping[str, Any] = {
            "max_patches": processor.image_processor.size["longest_edge"] // cell**2,
            "page_prompt": processor.visual_prompt_prefix,
            "query_prefix": processor.query_prefix,
            "query_suffix": processor.query_augmentation_token * 10,
            "dtype": str(model.dtype).removeprefix("torch."),
        }

    def can_read(self, page: Page) -> bool:
        """Whether it has an image."""
        return page.image is not None

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """One vector a cell in reading order, then those of the prompt's text. Needs images."""
        for page in pages:
            if page.image is None:
                raise ShapeError(f"{page.ref}: {self.spec.name} looks at pages; this one has no image")
        out: list[PageEmbedding] = []
        with _torch.on_threads(self._threads):
            for start in range(0, len(pages), self._batch):
                out += self._pages(pages[start : start + self._batch])
        return out

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """One vector a token. InvalidQuery for a question without words."""
        _base.check_questions(texts)
        with _torch.on_one_thread():
            return [self._query(text) for text in texts]

    def _pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        features = self._processor.process_images([page.image for page in pages])
        patches = self._processor.get_image_mask(features).numpy()
        real = features["attention_mask"].bool().numpy()
        grids = features["image_grid_thw"][:, 1:].numpy() // self._merge
        encoded = self._forward(features)
        out = []
        for page, vectors, patch, attended, (rows, cols) in zip(
            pages, encoded, patches, real, grids.tolist(), strict=True
        ):
            if patch.sum() != rows * cols:
                raise ShapeError(f"{page.ref}: {patch.sum()} patches for a grid of {rows} rows x {cols} cols")
            ordered = np.concatenate([vectors[patch], vectors[attended & ~patch]])
            grid = Grid(rows, cols)
            out.append(
                PageEmbedding(page.ref, page.size_pt, ordered, grid, page.text, _base.word_boxes(page), page.metadata)
            )
        return out

    def _query(self, text: str) -> QueryEmbedding:
        # what looks like a control token in a question is text: an image token without an image is an error
        features = self._processor.process_queries([text.replace("<|", "< |")])
        (vectors,) = self._forward(features)
        ids = features["input_ids"][0].tolist()
        prefix = len(self._processor.tokenizer(self._processor.query_prefix)["input_ids"])
        suffix = len(self._processor.tokenizer(self._processor.query_augmentation_token * 10)["input_ids"])
        content = np.ones(len(ids), bool)
        content[:prefix] = content[len(ids) - suffix :] = False
        tokens = tuple(self._processor.tokenizer.decode([i]).strip() for i in ids)
        return QueryEmbedding(text, vectors, tokens, content)

    def _forward(self, features: Any) -> np.ndarray:
        """(batch, length, d) float32 unit vectors; padding included."""
        with torch.inference_mode():
            return np.asarray(_torch.to_numpy(self._model(**features.to(self._model.device))))


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> ColqwenEncoder:
    """The encoder. WeightsError for missing, unexpected or misshapen weights."""
    chosen = _base.options(spec, _OPTIONS)
    folder = _base.weights_folder(spec)
    where, kind = _torch.place(device, dtype)
    base = _base.base_folder(spec, folder)
    if not (base / "config.json").is_file():  # transformers would build a model of full size, at random
        raise WeightsError(f"{base}: not a complete checkpoint (config.json is missing)")
    with _torch.quiet(), _base.reading(base, tokenizer=folder):
        from colpali_engine.models import ColQwen2, ColQwen2Processor

        adapter = None
        if base != folder:  # then the report is of the adapter only: the base's comes first, without its data
            adapter = {"_adapter_model_path": str(folder)}
            _, report = ColQwen2.from_pretrained(
                base, device_map="meta", output_loading_info=True, local_files_only=True
            )
            _check_weights(report, base, spec)
        model, report = ColQwen2.from_pretrained(
            base, dtype=kind, adapter_kwargs=adapter, output_loading_info=True, local_files_only=True
        )
        _check_weights(report, folder, spec)
        processor = ColQwen2Processor.from_pretrained(folder, local_files_only=True)
    if chosen["max_patches"] is not None:
        # as colpali-engine's max_num_visual_tokens does, whose other half transformers deprecates on every page
        image = processor.image_processor
        image.size["longest_edge"] = chosen["max_patches"] * (image.patch_size * image.merge_size) ** 2
    _base.check_dim(spec, model.dim)
    return ColqwenEncoder(
        _base.pinned(spec, folder, base), model.to(where).eval(), processor, threads=threads or torch.get_num_threads()
    )


def _check_weights(report: Mapping[str, Any], folder: Path, spec: ModelSpec) -> None:
    wrong = {kind: list(names) for kind, names in report.items() if names}
    if wrong:
        listed = "; ".join(
            f"{kind.replace('_', ' ')}: {', '.join(map(str, names[:3]))}" for kind, names in wrong.items()
        )
        raise WeightsError(f"{folder}: the weights are not those of a {spec.family} checkpoint ({listed})")
