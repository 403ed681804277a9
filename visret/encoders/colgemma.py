"""ColGemma: Gemma 3 sees every page as a square of 896 x 896 pixels, 16 x 16 patches.

`ColGemma3` checkpoints load through colpali-engine, full or as LoRA adapters. Page and question are turns of Gemma's
chat; the prompt of a page is the library's own and cannot be changed.

Options: those of `_patches.OPTIONS`, except page_prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visret.encoders import _patches
from visret.encoders._patches import PatchEncoder, Places
from visret.types import ModelSpec


class ColgemmaEncoder(PatchEncoder):
    """The encoder of ColGemma; the module's docstring describes it."""

    _query_prefix = "Query: "
    _query_suffix = ""

    def _places(self, features: Mapping[str, Any], row: int) -> Places:
        return self._square(features, row)

    def _query_features(self, text: str) -> Any:
        said = f"{self._processor.query_prefix}{text}{self._suffix}"
        turn = [{"role": "user", "content": [{"type": "text", "text": said}]}]
        chat = self._processor.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=False)
        return self._processor(text=[chat], return_tensors="pt")


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> ColgemmaEncoder:
    """Load the encoder. Raises WeightsError for missing, unexpected or misshapen weights."""
    return ColgemmaEncoder(_patches.load(spec, {}, dtype=dtype, device=device), threads=threads)
