"""The number format in which pages are computed, if nobody names one: on a CPU, that which it is fastest at.

What instructions a CPU has does not say that. Those for bfloat16 double the products of Zen 4 and 5, and with AMX do
more than that; on an Intel Xeon without AMX they take 1.8 times as long as float32 (1 December 2026). So each format
that the CPU has instructions for multiplies the same numbers once, which takes some hundredths of a second.
"""

from __future__ import annotations

import functools
import platform
import time

import torch

from visret.encoders import _torch
from visret.encoders._bert import Integers
from visret.errors import ShapeError

GAIN = 1.15
"""How many times as fast as float32 a format has to be. The rest of a model, and converting numbers, gains nothing."""

_TOKENS, _INPUTS, _OUTPUTS = 256, 384, 1536  # the largest product of the default model, for a part of a page
_ROUNDS = 6


def place(device: str, dtype: str, *, eight_bit: bool = False) -> tuple[torch.device, torch.dtype]:
    """Return the device and the dtype; "auto" is a CUDA GPU if there is one, and the dtype that it is fastest at.

    dtype: one of `_base.DTYPES`, or "auto"; or "int8", for which "auto" is the CPU.
    eight_bit: whether "auto" may be int8 on a CPU.
    """
    if dtype == "int8":
        if device not in ("auto", "cpu"):
            raise ShapeError(f"dtype int8 is computed on the CPU, not on {device}")
        device = "cpu"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if dtype != "auto":
        return chosen, getattr(torch, dtype)
    if chosen.type == "cpu":
        return chosen, fastest(eight_bit=eight_bit)
    return chosen, torch.bfloat16 if chosen.type == "cuda" and cuda_has_bfloat16() else torch.float32


def cuda_has_bfloat16() -> bool:
    """Return whether the GPU multiplies bfloat16 natively; torch counts emulation too, unless it is told not to."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16; emulated, it is slower than float32."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def fastest(*, eight_bit: bool = False) -> torch.dtype:
    """Return the dtype that this CPU multiplies fastest, of those that it has instructions for, or float32.

    eight_bit: whether int8 is one of them.
    """
    others = [torch.bfloat16] * cpu_has_bfloat16() + [torch.int8] * (eight_bit and _torch.cpu_has_int8())
    if not others:
        return torch.float32
    took = seconds()
    best = min(others, key=took.__getitem__)
    return best if took[best] * GAIN <= took[torch.float32] else torch.float32


@functools.cache
def seconds() -> dict[torch.dtype, float]:
    """Return the least time that a product with weights took here in each dtype, in seconds.

    They take turns, so that what else the machine does disturbs none of them alone.
    """
    weight, x = (torch.linspace(-1, 1, rows * _INPUTS).reshape(rows, _INPUTS) for rows in (_OUTPUTS, _TOKENS))
    bias = torch.zeros(_OUTPUTS)
    products = {
        dtype: functools.partial(torch.nn.functional.linear, x.to(dtype), weight.to(dtype), bias.to(dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    products[torch.int8] = functools.partial(Integers(weight, bias), x)
    took = dict.fromkeys(products, float("inf"))
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            for dtype, product in products.items():
                start = time.perf_counter()
                product()
                took[dtype] = min(took[dtype], time.perf_counter() - start)
    return took
