"""BERT's encoder in plain torch. Importing a library that also has it takes four times as long as loading this one.

It is that of Devlin et al. 2018 as in the published checkpoints: post-norm layers, exact GELU, learned absolute
positions. Sequences are laid end to end and only attention keeps them apart: nothing is padded, and no sequence
depends on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as everywhere)

from visret.encoders import _layout
from visret.encoders._layout import QKV

# The rows of a batch are a multiple of this: torch's CPU library keeps code and scratch memory for each shape that it
# has seen, some hundred MB for a thousand of them.
_ROWS = 64


class Bert:
    """The encoder of a checkpoint folder (config.json, model.safetensors).

    dim: the dimensions of its vectors. longest: the largest number of ids in a sequence. Raises WeightsError unless the
    weights are exactly those of the configuration.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        layout = _layout.read(folder)
        self.dim = layout.dim
        self.longest = layout.longest
        self.dtype = dtype
        self.device = device
        self._heads = layout.heads
        self._prefixes = layout.prefixes()
        self._eps = layout.eps
        stored = {name.removeprefix("bert."): value for name, value in load_file(folder / "model.safetensors").items()}
        _layout.check(layout, stored, folder)
        self._weights = {name: stored[name].to(device, dtype) for name in layout.names()}
        for prefix in self._prefixes:  # one product instead of three
            for end in ("weight", "bias"):
                parts = [self._weights.pop(f"{prefix}{part}.{end}") for part in QKV]
                self._weights[f"{prefix}qkv.{end}"] = torch.cat(parts)

    def __call__(self, sequences: list[list[int]]) -> list[Tensor]:
        """Return the last layer's vectors of each sequence of n ids: (n, dim), not normalised."""
        with torch.inference_mode():
            return self._forward(sequences)[: len(sequences)]

    def padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors of a batch padded at its end, (b, n, dim). ids, mask: (b, n), mask 0 for padding."""
        attended = mask.bool()[:, None, None, :]

        def attend(qkv: Tensor) -> Tensor:
            q, k, v = qkv.view(*ids.shape, 3, self._heads, -1).permute(2, 0, 3, 1, 4).unbind()
            return F.scaled_dot_product_attention(q, k, v, attn_mask=attended).transpose(1, 2).flatten(2)

        return self._layered(ids, torch.arange(ids.shape[1], device=ids.device), attend)

    def _forward(self, sequences: list[list[int]]) -> list[Tensor]:
        lengths = [len(ids) for ids in sequences]
        spare = -sum(lengths) % _ROWS
        if spare and sum(lengths) > _ROWS:  # a last sequence that is thrown away
            lengths.append(spare)
            sequences = [*sequences, [0] * spare]
        ids = torch.tensor([i for sequence in sequences for i in sequence], device=self.device)
        positions = torch.cat([torch.arange(n, device=self.device) for n in lengths])
        return list(self._layered(ids, positions, lambda qkv: self._attend(qkv, lengths)).split(lengths))

    def _layered(self, ids: Tensor, positions: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """Run all layers. attend: maps queries, keys and values, (..., 3 * dim), to (..., dim)."""
        table = {
            name: self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        }
        x = self._norm(
            table["word"][ids] + table["position"][positions] + table["token_type"][0], "embeddings.LayerNorm"
        )
        for prefix in self._prefixes:
            attended = attend(self._linear(x, f"{prefix}qkv"))
            x = self._norm(
                x + self._linear(attended, f"{prefix}attention.output.dense"), f"{prefix}attention.output.LayerNorm"
            )
            inner = F.gelu(self._linear(x, f"{prefix}intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{prefix}output.dense"), f"{prefix}output.LayerNorm")
        return x

    def _attend(self, qkv: Tensor, lengths: list[int]) -> Tensor:
        """Attend within each sequence: (N, 3 * dim) to (N, dim)."""
        out = []
        for part in qkv.split(lengths):
            q, k, v = part.view(len(part), 3, self._heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
            out.append(F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).reshape(len(part), -1))
        return torch.cat(out)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (self.dim,), self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], self._eps)
