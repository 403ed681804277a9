"""BERT's encoder in plain torch. Importing a library that also has it takes four times as long as loading this one.

It is that of Devlin et al. 2018 as in the published checkpoints: post-norm layers, exact GELU, learned absolute
positions; and that of its kin (`_layout`). Sequences are laid end to end and only attention keeps them apart: nothing
is padded, and no sequence depends on its neighbours.

With the dtype int8, the products with weights are of 8-bit integers (`Integers`). Each row of the weights has a scale
of its own, and so has each token, which therefore does not depend on its neighbours either. Everything else is float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as everywhere)

from visret.encoders import _layout, _torch
from visret.encoders._layout import DISTANCES, LINEAR, QKV

# The rows of a batch are a multiple of this: torch's CPU library keeps code and scratch memory for each shape that it
# has seen, some hundred MB for a thousand of them.
_ROWS = 64

# With 8-bit integers, so many ids are encoded at once that what one layer hands to the next stays in a core's cache:
# .44 s of a core for a page, instead of .63 with 8,192.
_INTEGER_IDS = 512
_FLOATS = 48  # one in so many inputs stays float32 (`Integers`)


class Bert:
    """An encoder of these sizes and weights, which are named as in `Layout.names`.

    dtype: float32, bfloat16, float16, or int8 on a CPU. dim: the dimensions of its vectors. longest: the largest number
    of ids in a sequence.
    """

    def __init__(
        self, layout: _layout.Layout, stored: Mapping[str, Tensor], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.dim = layout.dim
        self.longest = layout.longest
        self.dtype = dtype
        self.device = device
        self._heads = layout.heads
        self._prefixes = layout.prefixes()
        self._eps = layout.eps
        self._first = layout.first
        kept = torch.float32 if dtype == torch.int8 else dtype
        self._weights = {name: stored[name].to(device, kept) for name in layout.names()}
        self._tables = layout.tables()
        self._distances = self._weights[DISTANCES][self._buckets(layout)].T.contiguous() if layout.buckets else None
        for prefix in self._prefixes:  # one product instead of three
            for end in ("weight", "bias"):
                parts = [self._weights.pop(f"{prefix}{part}.{end}") for part in QKV]
                self._weights[f"{prefix}qkv.{end}"] = torch.cat(parts)
        self._integers: dict[str, Integers] = {}
        if dtype == torch.int8:
            for name in [f"{prefix}{part}" for prefix in self._prefixes for part in ("qkv", *LINEAR)]:
                self._integers[name] = Integers(*(self._weights.pop(f"{name}.{end}") for end in ("weight", "bias")))

    @classmethod
    def of(cls, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Bert:
        """Load a checkpoint folder (config.json, model.safetensors).

        Raises WeightsError unless the weights are exactly those of the configuration.
        """
        layout = _layout.read(folder)
        stored = load_file(folder / "model.safetensors")
        names = _layout.canonical(stored)
        _layout.check(layout, names, folder)
        ours = {name: stored[there] for name, there in names.items()}
        return cls(layout, ours, device=device, dtype=dtype)

    def _buckets(self, layout: _layout.Layout) -> Tensor:
        """Return the bucket of each distance, from the last id that attends to the first up to the reverse."""
        distances = np.arange(1 - layout.longest, layout.longest)
        return torch.from_numpy(_layout.buckets_of(distances, layout.buckets)).to(self.device)

    def _bias(self, count: int) -> Tensor | None:
        """Return what is added to the logits of a sequence: (heads, attending, attended to); None for nothing."""
        if self._distances is None:
            return None
        middle = self._distances.shape[1] // 2
        steps = torch.arange(count, device=self.device)
        return self._distances[:, middle + steps[None] - steps[:, None]]

    def __call__(self, sequences: list[list[int]]) -> list[Tensor]:
        """Return the last layer's vectors of each sequence of n ids: (n, dim), not normalised."""
        with torch.inference_mode():
            return [vectors for some in self._parts(sequences) for vectors in self._forward(some)[: len(some)]]

    def first_tokens(self, sequences: list[list[int]]) -> Tensor:
        """Return the last layer's vector of the first id of each sequence: (number of sequences, dim), not normalised.

        Behind the attention of the last layer the other ids are left out, which saves an eighth of the time.
        """
        with torch.inference_mode():
            parts = self._parts(sequences)
            return torch.cat([torch.stack(self._forward(some, first=True)[: len(some)]) for some in parts])

    def _parts(self, sequences: list[list[int]]) -> Iterator[list[list[int]]]:
        """Yield the sequences that are encoded at once: all, but for integers as many as make up _INTEGER_IDS."""
        if not self._integers:
            yield sequences
            return
        part: list[list[int]] = []
        for ids in sequences:
            if part and sum(map(len, part)) + len(ids) > _INTEGER_IDS:
                yield part
                part = []
            part.append(ids)
        yield part

    def padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors of a batch padded at its end, (b, n, dim). ids, mask: (b, n), mask 0 for padding."""
        attended = mask.bool()[:, None, None, :]
        bias = self._bias(ids.shape[1])
        if bias is not None:
            attended = bias.masked_fill(~attended, -torch.inf)

        def attend(qkv: Tensor) -> Tensor:
            q, k, v = qkv.view(*ids.shape, 3, self._heads, -1).permute(2, 0, 3, 1, 4).unbind()
            return F.scaled_dot_product_attention(q, k, v, attn_mask=attended).transpose(1, 2).flatten(2)

        return self._layered(ids, torch.arange(ids.shape[1], device=ids.device), attend)

    def _forward(self, sequences: list[list[int]], *, first: bool = False) -> list[Tensor]:
        """Return the vectors of each sequence, and perhaps of one more. first: only that of its first id, (dim,)."""
        lengths = [len(ids) for ids in sequences]
        spare = -sum(lengths) % _ROWS
        if spare and sum(lengths) > _ROWS:  # a last sequence that is thrown away
            lengths.append(spare)
            sequences = [*sequences, [0] * spare]
        ids = torch.tensor([i for sequence in sequences for i in sequence], device=self.device)
        positions = torch.cat([torch.arange(n, device=self.device) for n in lengths])
        biases = {count: self._bias(count) for count in set(lengths)}
        kept = torch.nonzero(positions == 0)[:, 0] if first else None
        x = self._layered(ids, positions, lambda qkv: self._attend(qkv, lengths, biases), kept)
        return list(x if first else x.split(lengths))

    def _layered(
        self, ids: Tensor, positions: Tensor, attend: Callable[[Tensor], Tensor], kept: Tensor | None = None
    ) -> Tensor:
        """Run all layers. attend: maps queries, keys and values, (..., 3 * dim), to (..., dim).

        kept: the numbers of the ids whose vectors are wanted; None for all.
        """
        words, places, *types = (self._weights[name] for name in self._tables)
        x = words[ids] + places[self._first + positions]
        for table in types:
            x = x + table[0]
        x = self._norm(x, "embeddings.LayerNorm")
        for prefix in self._prefixes:
            attended = attend(self._linear(x, f"{prefix}qkv"))
            if kept is not None and prefix == self._prefixes[-1]:
                attended, x = attended[kept], x[kept]
            x = self._norm(
                x + self._linear(attended, f"{prefix}attention.output.dense"), f"{prefix}attention.output.LayerNorm"
            )
            inner = F.gelu(self._linear(x, f"{prefix}intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{prefix}output.dense"), f"{prefix}output.LayerNorm")
        return x

    def _attend(self, qkv: Tensor, lengths: list[int], biases: Mapping[int, Tensor | None]) -> Tensor:
        """Attend within each sequence: (N, 3 * dim) to (N, dim). biases: those of each length (`_bias`)."""
        out = []
        for part in qkv.split(lengths):
            q, k, v = part.view(len(part), 3, self._heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
            out.append(_attention(q, k, v, biases[len(part)])[0].transpose(0, 1).reshape(len(part), -1))
        return torch.cat(out)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        if name in self._integers:
            return self._integers[name](x)
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (self.dim,), self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], self._eps)


class Integers:
    """A linear layer with 8-bit weights, and 8-bit inputs: weight (out, in), bias (out,), both float32.

    The inputs with the largest weights, one in _FLOATS, stay float32, and each token's 8 bits cover the range from its
    smallest to its largest input. That takes no more time, and the vectors of all-mpnet-base-v2 differ from those in
    float32 by .0008 in cosine, instead of by .0043 with 8 bits around 0 alone.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._floats = weight.abs().amax(0).topk(-(-weight.shape[1] // _FLOATS)).indices.sort().values
        rows, scales = _rows_of_integers(weight.index_fill(1, self._floats, 0))
        self._rows = rows.T.contiguous()  # (in, out), the only order for which torch has fast code
        self._scales = scales[:, 0].contiguous()
        middles = rows.sum(1, dtype=torch.float32) * self._scales  # what a token's middle is multiplied by
        self._beside = torch.cat([weight[:, self._floats].T, middles[None]])
        self._bias = bias
        self._native = _torch.cpu_has_int8()

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply (n, in) to (n, out). x is changed meanwhile, and then put back."""
        floats = x.index_select(1, self._floats)
        x.index_fill_(1, self._floats, 0)
        low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)  # aminmax takes seven times as long
        middles, scales = (high + low) / 2, ((high - low) / 254).clamp_min_(1e-12)
        rows = (x - middles).mul_(1 / scales).round_().to(torch.int8)
        x.index_copy_(1, self._floats, floats)
        if self._native:
            out = torch._int_mm(rows, self._rows).to(torch.float32)
        else:  # the same but for rounding: without these instructions torch's own product is slower and may overflow
            out = torch.mm(rows.to(torch.float32), self._rows.to(torch.float32))
        out = torch.addcmul(self._bias, out.mul_(scales), self._scales, out=out)
        return out.addmm_(torch.cat([floats, middles], 1), self._beside)


def _rows_of_integers(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row (n, d) as int8, -127 to 127, and the factor that turns it back into the row, (n, 1)."""
    scales = x.abs().amax(1, keepdim=True).clamp_min_(1e-12).div_(127)
    return (x / scales).round_().to(torch.int8), scales


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attend within one sequence: (1, heads, n, d) each, bias (heads, n, n) or None.

    On a CPU torch's own code takes twice as long with a bias as these products.
    """
    if bias is None or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    logits = torch.baddbmm(bias, q[0], k[0].transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return torch.bmm(logits.softmax(-1), v[0])[None]
