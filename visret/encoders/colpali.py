"""ColPali: PaliGemma sees every page as a square of 448 x 448 pixels, 32 x 32 patches (Faysse et al. 2024).

`ColPali` checkpoints load through colpali-engine, full or as LoRA adapters; `ColPaliForRetrieval` ones (`-hf`) through
transformers. Their prompts differ, and each checkpoint gets those of its own library.

All tokens of a question attend to each other, as they did when the checkpoints were trained: without labels PaliGemma
takes every token for its prefix, and a prefix attends both ways (huggingface/transformers#30993). colpali-engine does
not tell transformers, so that with today's version its attention is bidirectional for a question alone, and causal for
one that is padded beside a longer one.

Options: those of `_patches.OPTIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from visret.encoders import _patches
from visret.encoders._patches import PatchEncoder, Places
from visret.types import ModelSpec


class ColpaliEncoder(PatchEncoder):
    """The encoder of ColPali; the module's docstring describes it."""

    def _places(self, features: Mapping[str, Any], row: int) -> Places:
        return self._square(features, row)

    def _query_features(self, text: str) -> Any:
        features = super()._query_features(text)
        features["token_type_ids"] = torch.zeros_like(features["input_ids"])  # all of it is prefix
        return features


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> ColpaliEncoder:
    """Load the encoder. Raises WeightsError for missing, unexpected or misshapen weights."""
    return ColpaliEncoder(_patches.load(spec, {}, dtype=dtype, device=device), threads=threads)
