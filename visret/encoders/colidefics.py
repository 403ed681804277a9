"""ColSmol and ColModernVBERT: a page is cut into square tiles of 512 x 512 pixels, 8 x 8 patches each.

`ColIdefics3` and `ColModernVBert` checkpoints load through colpali-engine, full or as LoRA adapters;
`ColModernVBertForRetrieval` ones through transformers.

The longest edge becomes `longest_edge` pixels, and both edges are stretched to whole tiles. The patches come tile by
tile. Those of the whole page made small follow; they are kept but are no cells. The grid is that of the tiles, which
the sequence itself names (<row_2_col_1>). colpali-engine's get_n_patches computes it in another way, which is wrong for
ColSmol on most page sizes. A page that is not cut is its own single tile.

Options: longest_edge, in pixels; and those of `_patches.OPTIONS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from visret.encoders import _patches
from visret.encoders._patches import Loaded, PatchEncoder, Places
from visret.errors import ShapeError
from visret.types import Grid, ModelSpec


class ColideficsEncoder(PatchEncoder):
    """The encoder of ColSmol and ColModernVBERT; the module's docstring describes it."""

    def __init__(self, loaded: Loaded, *, threads: int | None) -> None:
        if loaded.options["longest_edge"] is not None:
            loaded.processor.image_processor.size["longest_edge"] = loaded.options["longest_edge"]
        super().__init__(loaded, threads=threads)
        names = {name: re.fullmatch(r"<row_(\d+)_col_(\d+)>", name) for name in self._processor.tokenizer.get_vocab()}
        number = self._processor.tokenizer.convert_tokens_to_ids
        self._tiles = {number(name): (int(found[1]), int(found[2])) for name, found in names.items() if found}
        self._side = math.isqrt(self._processor.image_seq_len)

    def _budget(self) -> Mapping[str, Any]:
        image = self._processor.image_processor
        return {"longest_edge": image.size["longest_edge"], "tile": image.max_image_size["longest_edge"]}

    def _places(self, features: Mapping[str, Any], row: int) -> Places:
        tokens, side = self._image_tokens(features, row), self._side
        tiles = [self._tiles[number] for number in features["input_ids"][row].tolist() if number in self._tiles]
        rows, cols = (max(some) for some in zip(*tiles, strict=True)) if tiles else (1, 1)
        if len(tokens) != (rows * cols + bool(tiles)) * side**2 or len(tiles) not in (0, rows * cols):
            raise ShapeError(f"{len(tokens)} patches of {len(tiles)} tiles do not make {rows} x {cols} tiles")
        cells = tokens[: rows * cols * side**2].reshape(rows, cols, side, side)
        return Places(Grid(rows * side, cols * side), cells.transpose(0, 2, 1, 3).ravel())


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> ColideficsEncoder:
    """Load the encoder. Raises WeightsError for missing, unexpected or misshapen weights."""
    options = {"longest_edge": None}
    return ColideficsEncoder(_patches.load(spec, options, dtype=dtype, device=device), threads=threads)
