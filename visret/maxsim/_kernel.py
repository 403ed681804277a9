"""The scan as machine code: one small function, compiled for this CPU when it is first needed.

It is built with llvmlite (tens of milliseconds, nothing cached on disk, no compiler needed) and called through ctypes,
which lets go of the GIL. One page after another, for `ROWS` of its rows at a time:

    widen      bring the rows into the type that is multiplied (in a scratch buffer that stays in the L1 cache)
    multiply   lanes are query tokens: one value of a row (or the 2 or 4 that one instruction takes) is broadcast and
               multiplied with that dimension of all tokens, so no sum ever runs across lanes
    maximum    scale the sums of each row and keep the larger, per token

and at the end of the page the maxima times the tokens' scales are summed. Past a page's last row the last row is taken
again, which cannot change a maximum; surplus lanes hold tokens of zeros with scale 0. No row is padded, and a page's
score depends on nothing but the page and the query.

How a row meets the query (`Path`):

    vnni512, vnni256   uint8 x int8, four dimensions an instruction (AVX-512 VNNI, AVX-VNNI); the 128 that stored codes
                       carry is in the starting sum
    avx512, avx2       int16 x int16, two dimensions an instruction (vpmaddwd): products of 8 by 12 bits, which cannot
                       saturate as vpmaddubsw does
    generic            the same products without a special instruction: any CPU LLVM knows
    float              float32 x float32: float rows, and stored integer rows against the exact query
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import binding, ir

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()
POINTER = ir.PointerType()
ROW_TYPES = {"uint8": I8, "float16": F16, "float32": F32}
SIZES = {I8: 1, I16: 2, F16: 2, F32: 4}


@dataclass(frozen=True)
class Path:
    """One way to multiply.

    lanes: query tokens a vector register holds. group: dimensions an instruction takes. rows: rows of a page that are
    multiplied together. vectors: registers of tokens per pass. limit: largest absolute value of a query code
    (0: floats). features: what the CPU must have.
    """

    name: str
    lanes: int
    group: int
    rows: int
    vectors: int
    limit: int
    features: tuple[str, ...]
    instruction: str = ""

    @property
    def tokens(self) -> int:
        """Query tokens handled in one pass over the rows."""
        return self.lanes * self.vectors


MOST_DIMENSIONS = 8192  # query codes of the int16 paths have 12 bits: an int32 sum then holds so many products
PATHS = {
    path.name: path
    for path in (
        Path("vnni512", 16, 4, 8, 1, 127, ("avx512f", "avx512vnni"), "llvm.x86.avx512.vpdpbusd.512"),
        Path("avx512", 16, 2, 8, 1, 2047, ("avx512f", "avx512bw"), "llvm.x86.avx512.pmaddw.d.512"),
        Path("vnni256", 8, 4, 4, 2, 127, ("avx2", "avxvnni"), "llvm.x86.avx512.vpdpbusd.256"),
        Path("avx2", 8, 2, 5, 2, 2047, ("avx2",), "llvm.x86.avx2.pmadd.wd"),
        Path("generic", 4, 2, 2, 2, 2047, ()),
        Path("float512", 16, 1, 8, 1, 0, ("avx512f",)),
        Path("float256", 8, 1, 4, 2, 0, ("avx2", "fma")),
        Path("float", 4, 1, 4, 2, 0, ()),
    )
}


@functools.cache
def _cpu_features() -> frozenset[str]:
    return frozenset(name for name, present in binding.get_host_cpu_features().items() if present)


def available() -> list[Path]:
    """The paths this CPU can run, fastest first."""
    return [path for path in PATHS.values() if set(path.features) <= _cpu_features()]


def fastest(*, exact: bool) -> Path:
    """The fastest path for integer queries, or (exact) for float32 queries."""
    return next(path for path in available() if (path.limit == 0) == exact)


_compiling = threading.Lock()


def scan(path: Path, row_type: str, dim: int) -> Callable[..., None]:
    """The compiled scan for rows of `row_type` ("uint8", "float16", "float32") with `dim` dimensions.

    Arguments (addresses as integers): rows, scales or None, starts, ends (int64, in rows), edges (int64: part i is the
    pages edges[i] to edges[i + 1]), number of parts, next (int64: the first part nobody has taken), query (laid out by
    `lay_out`), bias (int32 a token), token scales (float32), blocks of tokens, scratch, out (float32: a sum for each
    page and block). Threads that share `next` share the parts: each takes one after the other until there is none, so
    one that loses its core holds up nobody for longer than a part.
    """
    with _compiling:
        return _scan(path, row_type, dim)


@functools.cache
def _scan(path: Path, row_type: str, dim: int) -> Callable[..., None]:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features()
    if path.name == "generic":  # what any CPU runs, wherever it is tested
        target = binding.Target.from_default_triple().create_target_machine(opt=3, jit=True)
    else:
        target = binding.Target.from_default_triple().create_target_machine(
            cpu=binding.get_host_cpu_name(), features=features.flatten(), opt=3, jit=True
        )
    module = binding.parse_assembly(str(_build(path, row_type, dim, target.triple)))
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    passes = binding.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)
    engine = binding.create_mcjit_compiler(module, target)
    engine.finalize_object()
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    signature = ctypes.CFUNCTYPE(None, *[pointer] * 5, integer, *[pointer] * 4, integer, *[pointer] * 2)
    function = signature(engine.get_function_address("scan"))

    def call(*arguments: int | None, _engine: Any = engine) -> None:  # the code lives as long as its engine
        function(*arguments)

    return call


def lay_out(path: Path, queries: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """queries, each (m, d) float32 -> codes, bias, token scales, and the first block of each query.

    codes: [block][group of dimensions][token][dimension in the group], so that a step of the scan reads one line.
    Each query starts a block of its own.
    """
    dim = queries[0].shape[1]
    blocks = [-(-len(query) // path.tokens) for query in queries]
    first = np.concatenate([[0], np.cumsum(blocks)])
    dense = np.zeros((first[-1] * path.tokens, -(-dim // path.group) * path.group), np.float32)
    scales = np.zeros(len(dense), np.float32)
    for query, block in zip(queries, first[:-1], strict=True):
        at = slice(block * path.tokens, block * path.tokens + len(query))
        dense[at, :dim] = query
        scales[at] = 1
    bias = np.zeros(len(dense), np.int32)
    if path.limit:
        largest = np.abs(dense).max(axis=1)
        step = np.where(largest > 0, largest, 1) / np.float32(path.limit)
        dense = np.rint(dense / step[:, None])
        scales *= step
        if path.group == 4:
            bias = (-128 * dense.sum(axis=1)).astype(np.int32)
    codes = dense.astype({1: np.float32, 2: np.int16, 4: np.int8}[path.group])
    laid = codes.reshape(first[-1], path.tokens, -1, path.group).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(laid), bias, scales, first[:-1]


def scratch_bytes(path: Path, dim: int, blocks: int) -> int:
    """Bytes of scratch one call of the scan needs: widened rows, then the maxima of all blocks."""
    return path.rows * dim * 4 + blocks * path.tokens * 4


# ---- building the function ----------------------------------------------------------------------------------------


def _build(path: Path, row_type: str, dim: int, triple: str) -> ir.Module:
    module = ir.Module("maxsim")
    module.triple = triple
    arguments = [POINTER] * 5 + [I64] + [POINTER] * 4 + [I64] + [POINTER] * 2
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), "scan")
    rows, scales, starts, ends, edges, parts, taken, query, bias, token_scales, blocks, scratch, out = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))

    stored = ROW_TYPES[row_type]
    element = {1: F32, 2: I16, 4: I8}[path.group]  # what is multiplied
    codes = ir.VectorType(element, path.lanes * path.group)
    floats = ir.VectorType(F32, path.lanes)
    sums = ir.VectorType(I32, path.lanes) if path.limit else floats
    steps = dim // path.group
    maxima = _at(b, scratch, path.rows * dim * 4, I8)
    totals = [[b.alloca(sums) for _ in range(path.vectors)] for _ in range(path.rows)]

    take, body, done = (b.append_basic_block(name) for name in ("take", "body", "done"))
    b.branch(take)
    b.position_at_end(take)
    part = b.atomic_rmw("add", taken, I64(1), "monotonic")
    b.cbranch(b.icmp_signed("<", part, parts), body, done)
    b.position_at_end(body)
    first, last = (b.load(_at(b, edges, index, I64), typ=I64) for index in (part, b.add(part, I64(1))))
    with _loop(b, first, last) as item:
        start, end = (b.load(_at(b, pointer, item, I64), typ=I64) for pointer in (starts, ends))
        with _loop(b, I64(0), b.mul(blocks, I64(path.vectors))) as vector:
            b.store(ir.Constant(floats, [float("-inf")] * path.lanes), _at(b, maxima, vector, floats), align=4)

        with _loop(b, start, end, path.rows) as row:
            final = b.sub(end, I64(1))
            nexts = [b.add(row, I64(j)) for j in range(path.rows)]
            indices = [b.select(b.icmp_signed("<", index, final), index, final) for index in nexts]
            sources = [_at(b, rows, b.mul(index, I64(dim * SIZES[stored])), I8) for index in indices]
            if stored != element:
                targets = [_at(b, scratch, j * dim * SIZES[element], I8) for j in range(path.rows)]
                for source, target in zip(sources, targets, strict=True):
                    _widen(b, source, target, stored, element, dim)
                sources = targets
            factors = [b.load(_at(b, scales, i, F32), typ=F32) for i in indices] if row_type == "uint8" else None

            with _loop(b, I64(0), blocks) as block:
                first_vector = b.mul(block, I64(path.vectors))
                for v in range(path.vectors):
                    begin: ir.Value = ir.Constant(sums, None)
                    if path.group == 4:
                        begin = b.load(_at(b, bias, b.add(first_vector, I64(v)), sums), typ=sums, align=4)
                    for line in totals:
                        b.store(begin, line[v])
                with _loop(b, I64(0), I64(steps)) as step:
                    place = b.mul(b.add(b.mul(block, I64(steps)), step), I64(path.vectors))
                    tokens = [
                        b.load(_at(b, query, b.add(place, I64(v)), codes), typ=codes, align=4)
                        for v in range(path.vectors)
                    ]
                    for source, line in zip(sources, totals, strict=True):
                        value = _broadcast(b, source, step, path, codes)
                        for token, total in zip(tokens, line, strict=True):
                            b.store(_multiply_add(b, path, b.load(total, typ=sums), value, token), total)
                for v in range(path.vectors):
                    place = _at(b, maxima, b.add(first_vector, I64(v)), floats)
                    high = b.load(place, typ=floats, align=4)
                    for j, line in enumerate(totals):
                        value = b.load(line[v], typ=sums)
                        if path.limit:
                            value = b.sitofp(value, floats)
                        if factors:
                            value = b.fmul(value, _splat(b, factors[j], path.lanes))
                        high = b.select(b.fcmp_ordered(">", value, high), value, high)
                    b.store(high, place, align=4)

        with _loop(b, I64(0), blocks) as block:
            score: ir.Value = F32(0.0)
            for v in range(path.vectors):
                vector = b.add(b.mul(block, I64(path.vectors)), I64(v))
                high = b.load(_at(b, maxima, vector, floats), typ=floats, align=4)
                weighted = b.fmul(high, b.load(_at(b, token_scales, vector, floats), typ=floats, align=4))
                for lane in range(path.lanes):
                    score = b.fadd(score, b.extract_element(weighted, I32(lane)))
            b.store(score, _at(b, out, b.add(b.mul(item, blocks), block), F32))
    b.branch(take)
    b.position_at_end(done)
    b.ret_void()
    return module


def _multiply_add(b: ir.IRBuilder, path: Path, total: ir.Value, value: ir.Value, token: ir.Value) -> ir.Value:
    """total + value * token, summed over the dimensions of a group, for every lane."""
    if path.group == 1:
        fused = _declare(b, f"llvm.fmuladd.v{path.lanes}f32", total.type, [total.type] * 3)
        return b.call(fused, [value, token, total])
    if path.group == 4:
        as_words = [b.bitcast(x, total.type) for x in (value, token)]
        return b.call(_declare(b, path.instruction, total.type, [total.type] * 3), [total, *as_words])
    if path.instruction:
        return b.add(total, b.call(_declare(b, path.instruction, total.type, [token.type] * 2), [value, token]))
    wide = ir.VectorType(I32, path.lanes * 2)
    products = b.mul(b.sext(value, wide), b.sext(token, wide))
    for parity in (0, 1):
        pick = ir.Constant(ir.VectorType(I32, path.lanes), [2 * lane + parity for lane in range(path.lanes)])
        total = b.add(total, b.shuffle_vector(products, ir.Constant(wide, ir.Undefined), pick))
    return total


def _broadcast(b: ir.IRBuilder, source: ir.Value, step: ir.Value, path: Path, codes: ir.Type) -> ir.Value:
    """The step-th group of dimensions of a row, repeated for every lane."""
    word = F32 if path.group == 1 else I32
    value = _splat(b, b.load(_at(b, source, step, word), typ=word, align=1), path.lanes)
    return value if path.group == 1 else b.bitcast(value, codes)


def _widen(b: ir.IRBuilder, source: ir.Value, target: ir.Value, stored: ir.Type, element: ir.Type, dim: int) -> None:
    """Convert a row to the type that is multiplied; stored integers lose their 128."""

    def convert(index: ir.Value | int, count: int) -> None:
        narrow, wide = ir.VectorType(stored, count), ir.VectorType(element, count)
        value = b.load(_at(b, source, index, narrow), typ=narrow, align=1)
        if stored == I8 and element == I16:
            value = b.sub(b.zext(value, wide), ir.Constant(wide, [128] * count))
        elif stored == I8:
            value = b.fsub(b.uitofp(value, wide), ir.Constant(wide, [128.0] * count))
        else:
            value = b.fpext(value, wide)
        b.store(value, _at(b, target, index, wide), align=1)

    whole = dim // 16
    if whole:
        with _loop(b, I64(0), I64(whole)) as index:
            convert(index, 16)
    for index in range(whole * 16, dim):
        convert(index, 1)


def _splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(value.type, lanes)
    single = b.insert_element(ir.Constant(vector, ir.Undefined), value, I32(0))
    return b.shuffle_vector(
        single, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    )


def _declare(b: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    known = b.module.globals.get(name)
    return known or ir.Function(b.module, ir.FunctionType(result, arguments), name)


def _at(b: ir.IRBuilder, pointer: ir.Value, index: ir.Value | int, element: ir.Type) -> ir.Value:
    """The address of the index-th `element` behind `pointer`."""
    return b.gep(pointer, [I64(index) if isinstance(index, int) else index], source_etype=element)


@contextmanager
def _loop(b: ir.IRBuilder, start: ir.Value, end: ir.Value, step: int = 1) -> Iterator[ir.Value]:
    """for index in range(start, end, step)"""
    before = b.block
    head, body, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(I64)
    index.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", index, end), body, after)
    b.position_at_end(body)
    yield index
    index.add_incoming(b.add(index, I64(step)), b.block)
    b.branch(head)
    b.position_at_end(after)
