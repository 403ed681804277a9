"""The product of many rows with the few vectors of a question, as machine code: `product(rows, columns)`.

The rows are the weights of a model, or the stored vectors of a page. BLAS copies its left side into a new layout for
every product, which pays off for many columns. A question has a dozen, and needs all weights of its model: here they
are read once, where they lie, and rows are fetched into the cache while those before them are multiplied, which halves
the time (9.4 to 5.5 ms for 72 products of 384 x 384 weights with 32 tokens, on a Xeon with AVX-512). As in the scan,
lanes are tokens, and one value of a row is broadcast and multiplied with all of them; rows of bytes are unpacked
before. It is in this folder for the compiler, and because machine code is trusted only after it has been compared with
NumPy on this CPU. Until then, and if it differs, NumPy multiplies.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir

from visret import products
from visret.errors import ShapeError
from visret.maxsim import _check, _kernel, _paths
from visret.maxsim._kernel import F32, I8, I32, I64, POINTER, _at, _declare, _loop, _splat
from visret.maxsim._paths import Path

Product = Callable[[np.ndarray, np.ndarray], np.ndarray]

_ROWS = 8  # of the weights that are read together, for all tokens
_NEAR = 1e-5  # of the sum of the sizes of all terms: the largest difference of float32 sums in another order
_FETCHED = I32(0), I32(3), I32(1)  # to be read, into the nearest cache, data
_ARGUMENTS = ("weights", "columns", "out", "rows", "dim", "width", "scratch")


def lanes() -> int:
    """Return how many columns are multiplied at once; `product` takes a multiple of it."""
    return _chosen()[0].lanes


def product(weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Multiply weights (m, d) by columns (d, n) to (m, n) float32, on one core.

    Both are float32 and contiguous, and n is a multiple of `lanes()`; weights may also be uint8. A column of the result
    depends on that column alone. Raises ShapeError for other arrays.
    """
    return _chosen()[1](weights, columns)


@functools.cache
def _chosen() -> tuple[Path, Product]:
    """Return the fastest path of this CPU, and its product; NumPy's product if the two do not agree."""
    path = next(path for path in _paths.available() if path.kind == "float")
    try:
        made = compiled(path)
        difference = differences(path, made)
    except RuntimeError as error:  # LLVM cannot make it
        difference = str(error)
    if difference is None:
        return path, made
    warnings.warn(
        f"{_check.cpu()}: machine code of the path {path.name} is wrong here: products with weights: {difference}. "
        "NumPy takes its place. Please report this, with the output of: visret doctor",
        RuntimeWarning,
        stacklevel=2,
    )
    return path, products.product


def differences(path: Path, made: Product) -> str | None:
    """Say how a product differs from NumPy's, for all kinds of tiles and remainders; None if it does not."""
    for rows, dim, registers in ((2 * _ROWS + 3, 37, 1), (_ROWS, 16, 2), (1, 1, 3), (_ROWS + 1, 64, 5)):
        floats, columns = _check.noise(rows, dim), _check.noise(dim, registers * path.lanes)
        for weights in (floats, (255 * np.abs(floats) / np.abs(floats).max()).astype(np.uint8)):
            expected = np.einsum("md,dn->mn", weights.astype(np.float64), columns.astype(np.float64))
            slack = _NEAR * (np.abs(weights) @ np.abs(columns))
            wrong = ~(np.abs(made(weights, columns) - expected) <= slack)  # NaN is wrong too
            if wrong.any():
                shapes = f"({rows}, {dim}) {weights.dtype} @ ({dim}, {columns.shape[1]})"
                return f"{wrong.sum()} of {wrong.size} numbers differ, {shapes}"
    return None


def compiled(path: Path) -> Product:
    """Compile the product by a path of kind "float". Raises RuntimeError if LLVM cannot make it."""
    with _kernel.compiling:
        function, engine = _kernel.machine_code(path, lambda triple: build(path, triple), "product")

    def call(weights: np.ndarray, columns: np.ndarray, _keep: Any = engine) -> np.ndarray:
        for name, array, dtypes in (("weights", weights, (np.float32, np.uint8)), ("columns", columns, (np.float32,))):
            flags = array.flags
            if array.ndim != 2 or array.dtype not in dtypes or not (flags.c_contiguous and flags.aligned):
                raise ShapeError(f"{name}: expected (., .) float32, contiguous, got {array.shape} {array.dtype}")
        if weights.dtype == np.uint8 and weights.shape[1] < path.lanes:  # fewer than are unpacked at once
            weights = weights.astype(np.float32)
        (rows, dim), (depth, width) = weights.shape, columns.shape
        if depth != dim or not rows or not dim or not width or width % path.lanes:
            raise ShapeError(
                f"columns: expected ({dim}, n), n a multiple of {path.lanes}, got {columns.shape} for {weights.shape}"
            )
        out = np.empty((rows, width), np.float32)
        scratch = np.empty((_ROWS, dim), np.float32) if weights.dtype == np.uint8 else None
        arrays = [weights, columns, out]
        places = [array.ctypes.data for array in arrays]
        given = np.array([*places, rows, dim, width, 0 if scratch is None else scratch.ctypes.data], np.int64)
        function(given.ctypes.data)
        return out

    return call


def build(path: Path, triple: str) -> ir.Module:
    """Build the module with the function `product`, which takes the address of `_ARGUMENTS`, int64 each.

    Where there is scratch, for _ROWS rows of floats, weights are bytes, and are unpacked there.
    """
    module = ir.Module("linear")
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER]), "product")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    given = {name: b.load(_at(b, function.args[0], i, I64), typ=I64) for i, name in enumerate(_ARGUMENTS)}
    floats = ir.VectorType(F32, path.lanes)
    weights, columns, out, scratch = (b.inttoptr(given[name], POINTER) for name in (*_ARGUMENTS[:3], "scratch"))
    fetch = _declare(b, "llvm.prefetch.p0", ir.VoidType(), [POINTER, *(I32 for _ in _FETCHED)])
    fused = _declare(b, f"llvm.fmuladd.v{path.lanes}f32", floats, [floats] * 3)
    dim, width, last = given["dim"], given["width"], b.sub(given["rows"], I64(1))
    are_bytes = b.icmp_unsigned("!=", given["scratch"], I64(0))
    source = b.select(are_bytes, scratch, weights)
    size = b.select(are_bytes, I64(1), I64(4))
    double, single = (tile for tile in path.tiles if tile.spread == 1)
    doubles = b.sub(width, b.urem(width, I64(2 * path.lanes)))
    sums = [b.alloca(floats) for _ in range(max(tile.rows * tile.vectors for tile in (double, single)))]

    def unpack(rows: list[ir.Value]) -> None:
        """Bring rows of bytes into the scratch; the last ones of a row may be unpacked twice."""
        end = b.sub(dim, I64(path.lanes))
        with _loop(b, I64(0), dim, path.lanes) as step:
            at = b.select(b.icmp_signed("<", step, end), step, end)
            for j, row in enumerate(rows):
                codes = _at(b, weights, b.add(b.mul(row, dim), at), I8)
                values = b.uitofp(b.load(codes, typ=ir.VectorType(I8, path.lanes), align=1), floats)
                b.store(values, _at(b, scratch, b.add(b.mul(I64(j), dim), at), F32), align=4)

    def multiply(rows: list[ir.Value], ahead: ir.Value, column: ir.Value, registers: int) -> None:
        """Multiply some rows, by where they begin in the source, by some tokens. ahead: the row to fetch from."""
        totals = [sums[j * registers : (j + 1) * registers] for j in range(len(rows))]
        for total in chain(*totals):
            b.store(ir.Constant(floats, None), total)
        with _loop(b, I64(0), dim) as step:
            next_line = b.mul(b.add(b.mul(ahead, dim), b.mul(step, I64(_ROWS))), size)
            b.call(fetch, [_at(b, weights, next_line, I8), *_FETCHED])
            line = b.add(b.mul(step, width), column)
            starts = [b.add(line, I64(v * path.lanes)) for v in range(registers)]
            tokens = [b.load(_at(b, columns, start, F32), typ=floats, align=4) for start in starts]
            for row, line_of_sums in zip(rows, totals, strict=True):
                value = _splat(b, b.load(_at(b, source, b.add(row, step), F32), typ=F32, align=4), path.lanes)
                for token, total in zip(tokens, line_of_sums, strict=True):
                    b.store(b.call(fused, [value, token, b.load(total, typ=floats)]), total)

    with _loop(b, I64(0), given["rows"], _ROWS) as first:
        wanted = [b.add(first, I64(j)) for j in range(_ROWS)]
        rows = [b.select(b.icmp_signed("<", row, last), row, last) for row in wanted]  # the last one again
        with b.if_then(are_bytes):
            unpack(rows)
        begins = [b.mul(b.select(are_bytes, I64(j), row), dim) for j, row in enumerate(rows)]
        for tile, begin, end in ((double, I64(0), doubles), (single, doubles, width)):
            with _loop(b, begin, end, tile.vectors * path.lanes) as column:
                for j in range(0, _ROWS, tile.rows):
                    some = slice(j, j + tile.rows)
                    multiply(begins[some], b.add(first, I64(_ROWS)), column, tile.vectors)
                    for i, row in enumerate(rows[some]):
                        for v in range(tile.vectors):
                            place = b.add(b.add(b.mul(row, width), column), I64(v * path.lanes))
                            total = b.load(sums[i * tile.vectors + v], typ=floats)
                            b.store(total, _at(b, out, place, F32), align=4)
    b.ret_void()
    return module
