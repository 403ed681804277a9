"""ColQwen: a page is divided into cells according to its shape, up to a budget of cells.

`ColQwen2`, `ColQwen2_5`, `ColQwen3`, `ColQwen3_5` and `ColQwen2_5Omni` checkpoints load through colpali-engine, full or
as LoRA adapters; `ColQwen2ForRetrieval` ones (`-hf`) through transformers. A cell is 28 x 28 pixels; for Qwen 3 and 3.5
it is 32 x 32. Both edges are stretched to whole cells.

A `ColQwen2ForRetrieval` is given the three-dimensional positions of its patches. Its weights are those of a checkpoint
that was trained with them, and transformers' own class computed them until it was rewritten. In version 5 it counts
tokens in one dimension, which gives other vectors.

`ColQwen2_5Omni` needs transformers before 5.21: colpali-engine 0.3.18 cannot construct it with later ones.

Options: max_patches, the most cells of a page; bidirectional (false), for a `ColQwen3_5` whose tokens attend in both
directions, such as EVIE; and those of `_patches.OPTIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visret.encoders import _patches
from visret.encoders._patches import Loaded, PatchEncoder, Places
from visret.errors import InvalidModelSpec, WeightsError
from visret.types import Grid, ModelSpec

_OMNI_BEFORE = (5, 21)  # of transformers


class ColqwenEncoder(PatchEncoder):
    """The encoder of ColQwen; the module's docstring describes it."""

    def __init__(self, loaded: Loaded, *, threads: int | None) -> None:
        image = loaded.processor.image_processor
        self._cell = image.patch_size * image.merge_size  # pixels
        if loaded.options["max_patches"] is not None:
            # This is what colpali-engine's max_num_visual_tokens does; its other half makes transformers warn of a
            # deprecation on every page.
            image.size["longest_edge"] = loaded.options["max_patches"] * self._cell**2
        self._bidirectional = bool(loaded.options["bidirectional"])
        if self._bidirectional:
            _look_both_ways(loaded.model)
        super().__init__(loaded, threads=threads)

    def _budget(self) -> Mapping[str, Any]:
        most = self._processor.image_processor.size["longest_edge"] // self._cell**2
        return {"max_patches": most, **({"bidirectional": True} if self._bidirectional else {})}

    def _places(self, features: Mapping[str, Any], row: int) -> Places:
        rows, cols = (features["image_grid_thw"][row, 1:] // self._processor.image_processor.merge_size).tolist()
        return Places(Grid(rows, cols), self._image_tokens(features, row))

    def _page_features(self, images: list[Any]) -> Any:
        features = super()._page_features(images)
        if self.architecture == "ColQwen2ForRetrieval":
            features["position_ids"], _ = self._model.vlm.get_rope_index(
                features["input_ids"],
                mm_token_type_ids=(features["input_ids"] == self._image_token).int(),
                image_grid_thw=features["image_grid_thw"],
                attention_mask=features["attention_mask"],
            )
        return features


def _look_both_ways(model: Any) -> None:
    """Let each token of a `ColQwen3_5` attend to those behind it too, in its layers of full attention.

    EVIE's own code does so with colpali-engine's class, which colpali-engine 0.3.18 leaves causal
    (github.com/Tencent/EVIE-Preview-4.5B). Masks are made from the configuration, and torch's attention without a mask
    asks the layer.
    """
    text = model.config.get_text_config()
    model.config.is_causal = text.is_causal = False
    for layer, kind in zip(model.language_model.layers, text.layer_types, strict=True):
        if kind == "full_attention":
            layer.self_attn.is_causal = False


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> ColqwenEncoder:
    """Load the encoder. Raises WeightsError for missing, unexpected or misshapen weights."""

    def check(architecture: str) -> None:
        from transformers import __version__

        if architecture != "ColQwen3_5" and spec.options.get("bidirectional"):
            raise InvalidModelSpec(
                f"{spec.name}, options, bidirectional: only for ColQwen3_5, and this is {architecture}; leave it out"
            )
        if architecture == "ColQwen2_5Omni" and tuple(map(int, __version__.split(".")[:2])) >= _OMNI_BEFORE:
            raise WeightsError(
                f"{spec.name}: ColQwen2.5-Omni cannot be loaded with transformers {__version__}; "
                "colpali-engine needs an earlier one: pip install 'transformers<5.21'"
            )

    options = {"max_patches": None, "bidirectional": False}
    loaded = _patches.load(spec, options, dtype=dtype, device=device, check=check)
    return ColqwenEncoder(loaded, threads=threads)
