"""The scan as machine code: one small function, compiled for this CPU when it is first needed.

It is built with llvmlite (a tenth of a second, nothing cached on disk, no compiler needed) and called through ctypes,
which releases the GIL. It scores one page after another, some rows at a time (`GROUP`):

    unpack     rows that are not stored in the form that is multiplied are brought into it (in a buffer that stays in
               the L1 cache)
    multiply   lanes are query tokens: one value of a row (or the 2 or 4 that one instruction takes) is broadcast and
               multiplied with that dimension of all tokens, so no sum runs across lanes before the row's end
    maximum    the sums of each row are scaled, and the larger ones are kept, per token

At the end of the page, the maxima times the tokens' scales are summed. Past a page's last row the last row is taken
again, which cannot change a maximum; surplus lanes hold tokens of zeros with scale 0. No row is padded, and a page's
score depends on nothing but the page and the query. `_paths` describes how a row meets the query.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from llvmlite import binding, ir

from visret import forks
from visret.codec import FORMS, Codec, Rows, levels
from visret.errors import ShapeError
from visret.maxsim import _paths
from visret.maxsim._kept import Kept
from visret.maxsim._paths import CHUNK, Path, Queries, Tile

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()
POINTER = ir.PointerType()

Arguments = Mapping[str, np.ndarray | int | None]


class Array(NamedTuple):
    """An array as the machine code reads it. Machine code cannot check what it is given.

    dtype: None if the codec decides on it, and on whether there is such an array. shape: the length of each axis, or
    the name of a length, which is the same wherever the name stands. written: whether the machine code writes there.
    """

    dtype: str | None
    shape: tuple[str | int, ...]
    written: bool = False


# The arguments of the scan, in this order: addresses of arrays, and numbers (None); int64 each. `check` checks them.
ARGUMENTS: Mapping[str, Array | None] = {
    "codes": Array(None, ("rows", "values of a row")),
    "scales": Array(None, ("rows",)),  # a factor for each row: float32, or float16 of residual rows
    "centroid_of": Array(None, ("rows",)),
    "centroids": Array(None, ("last_centroid + 1", "dim")),
    "last_centroid": None,
    "weights": Array(None, ("levels",)),
    "starts": Array("int64", ("pages",)),  # the first row of each page
    "ends": Array("int64", ("pages",)),
    "edges": Array("int64", ("parts + 1",)),  # part i is the pages edges[i] to edges[i + 1]
    "parts": None,
    "taken": Array("int64", (1,), written=True),  # the first part that no thread has taken
    "counts": Array("int64", ("kinds of tiles",)),
    "stream": Array("uint8", ("bytes of the tiles",)),
    "bias": Array("int32", ("registers", "lanes")),
    "token_scales": Array("float32", ("registers", "lanes")),
    "owners": Array("int64", ("registers", "lanes")),  # all as in _paths.Queries
    "registers": None,
    "queries": None,
    "scratch": Array("uint8", ("bytes of scratch",), written=True),
    "out": Array("float32", ("pages", "queries"), written=True),  # zeros
}

GROUP = 24  # rows of a page that meet one tile of tokens after the other, while both stay in the L1 cache


def row_bytes(codec: str, dim: int) -> int:
    """Return the bytes of a stored row."""
    return -(-dim * FORMS[codec].bits // 8)


def width(dim: int) -> int:
    """Return the dimensions of a row as it is read: a multiple of 16."""
    return -(-dim // 16) * 16


def scratch_bytes(path: Path, dim: int, registers: int) -> int:
    """Return the bytes of scratch that a call needs, all zeros: for unpacked rows, then the maxima of all registers."""
    return GROUP * width(dim) * 4 + registers * path.lanes * 4


def tile_bytes(path: Path, tile: Tile, dim: int) -> int:
    """Return the bytes of the stream that one tile reads."""
    steps = width(dim) // (path.group * tile.spread)
    if path.kind == "pairs":  # starting sums stand before each chunk, and before each step that is left over
        steps += steps // CHUNK + steps % CHUNK
    return steps * tile.vectors * path.lanes * path.group * {"words": 2, "float": 4}.get(path.kind, 1)


def arguments(
    rows: Rows, codec: Codec, starts: np.ndarray, ends: np.ndarray, laid: Queries, queries: int
) -> dict[str, Any]:
    """Return the arguments of a scan of all pages in one part, except the scratch."""
    return of_rows(rows, codec) | of_queries(laid, queries) | of_pages(starts, ends, queries)


def of_rows(rows: Rows, codec: Codec) -> dict[str, Any]:
    """Return the arguments that are the same in all scans of these rows."""
    return {
        "codes": rows.codes,
        "scales": rows.scales,
        "centroid_of": rows.centroids,
        "centroids": codec.centroids,
        "last_centroid": 0 if codec.centroids is None else len(codec.centroids) - 1,
        "weights": codec.weights,
    }


def of_queries(laid: Queries, queries: int) -> dict[str, Any]:
    """Return the arguments that are the same in all scans for these queries."""
    return {
        "counts": laid.counts,
        "stream": laid.stream,
        "bias": laid.bias,
        "token_scales": laid.scales,
        "owners": laid.owners,
        "registers": len(laid.owners),
        "queries": queries,
    }


def of_pages(starts: np.ndarray, ends: np.ndarray, queries: int, edges: np.ndarray | None = None) -> dict[str, Any]:
    """Return the arguments of one scan of these pages. edges: of the parts, as in ARGUMENTS; None for one part."""
    edges = np.array([0, len(starts)], np.int64) if edges is None else edges
    return {
        "starts": starts,
        "ends": ends,
        "edges": edges,
        "parts": len(edges) - 1,
        "taken": np.zeros(1, np.int64),
        "out": np.zeros((len(starts), queries), np.float32),
    }


class Known(NamedTuple):
    """Arguments that were checked.

    values: the arguments. words: what the machine code gets for each of them. lengths: the sizes that they agree on.

    A search makes dozens of scans of a few pages each, of the same rows and with the same queries: these are checked
    once.
    """

    values: Arguments
    words: Mapping[str, int]
    lengths: Mapping[str | int, int]


def check(path: Path, codec: str, dim: int, given: Arguments, *known: Known) -> Known:
    """Return arguments with those that are known already. Raises ShapeError if the machine code would misread them."""
    lengths: dict[str | int, int] = {"lanes": path.lanes, "kinds of tiles": len(path.tiles), "dim": dim}
    values, words = dict(given), dict[str, int]()
    for one in known:
        values |= one.values
        words |= one.words
        lengths |= one.lengths
    for name, number in given.items():
        if ARGUMENTS[name] is None:
            if type(number) is not int or number < 0:
                raise ShapeError(f"{name}: a scan takes a whole number, got {number!r:.80}")
            words[name] = lengths[name] = number
            lengths[f"{name} + 1"] = number + 1
    arrays = _arrays(codec, dim)
    for name in given:
        if name not in arrays:
            continue
        (dtype, shape, written), array = arrays[name], given[name]
        if dtype is None or not isinstance(array, np.ndarray):
            if dtype is None and array is None:
                words[name] = 0
                continue
            raise ShapeError(f"{name}: a scan of {codec} rows takes {dtype or 'none'}, got {type(array).__name__}")
        flags = array.flags
        fits = array.dtype == dtype and flags.c_contiguous and flags.aligned and (flags.writeable or not written)
        fits &= array.ndim == len(shape)
        for size, length in zip(shape, array.shape, strict=False):
            fits &= length == (lengths.setdefault(size, length) if isinstance(size, str) else size)
        if not fits:
            expected = ", ".join(str(lengths.get(size, size)) for size in shape)
            raise ShapeError(
                f"{name}: a scan of {codec} rows takes {dtype} ({expected}), contiguous{' and writable' * written}, "
                f"got {array.dtype} {array.shape}"
            )
        words[name] = array.ctypes.data
        if name == "counts":
            sizes = zip(array.tolist(), path.tiles, strict=True)
            lengths["bytes of the tiles"] = sum(count * tile_bytes(path, tile, dim) for count, tile in sizes)
    return Known(values, words, lengths)


@functools.cache
def _arrays(codec: str, dim: int) -> dict[str, tuple[np.dtype[Any] | None, tuple[str | int, ...], bool]]:
    """Return for each array its dtype (None if this codec has no such array), its shape, and if it is written."""
    rows, form = Codec(codec, dim).empty(0), FORMS[codec]
    stored = {"codes": rows.codes, "scales": rows.scales, "centroid_of": rows.centroids}
    dtypes = {name: None if array is None else array.dtype for name, array in stored.items()}
    dtypes |= dict.fromkeys(("centroids", "weights"), np.dtype(np.int8) if form.learned else None)
    sizes = {"values of a row": rows.codes.shape[1], "levels": 1 << form.bits if form.is_packed else 1}
    return {
        name: (
            dtypes[name] if array.dtype is None else np.dtype(array.dtype),
            tuple(sizes.get(str(size), size) for size in array.shape),
            array.written,
        )
        for name, array in ARGUMENTS.items()
        if array is not None and name != "scratch"
    }


compiling = forks.Lock(whole=True)


Scan = Callable[[], None]


class Bind(Protocol):
    """Makes a scan of arguments, some of which are known already."""

    def __call__(self, given: Arguments, *known: Known) -> Scan:
        """Return the scan. Raises ShapeError for arguments that do not fit."""
        ...


def scan(path: Path, codec: str, dim: int) -> Bind:
    """Compile the scan for rows of `dim` dimensions stored by `codec`.

    The result takes the ARGUMENTS by name, except the scratch and those that are known (`check`), and returns a call
    for any number of threads. It raises ShapeError for arguments that do not fit. Threads that share `taken` share the
    parts: each takes one after the other until none is left, so a thread that loses its core delays the others by no
    more than a part.
    """
    with compiling:
        return _scan(path, codec, dim)


@functools.cache
def _scan(path: Path, codec: str, dim: int) -> Bind:
    function, engine = machine_code(
        path, lambda triple: build(path, codec, dim, triple), "scan", f"{codec} {dim}", repr(FORMS[codec])
    )
    place = list(ARGUMENTS).index("scratch")

    def bind(given: Arguments, *known: Known) -> Scan:
        values, of_each, _ = check(path, codec, dim, given, *known)
        shared = np.array([0 if name == "scratch" else of_each[name] for name in ARGUMENTS], np.int64)
        size = scratch_bytes(path, dim, of_each["registers"])

        def call(_keep: Any = (values, engine)) -> None:  # keeps the arrays and the code alive
            scratch = np.zeros(size, np.uint8)
            words = shared.copy()
            words[place] = scratch.ctypes.data
            function(words.ctypes.data)

        return call

    return bind


def machine_code(
    path: Path, make: Callable[[str], ir.Module], name: str, label: str = "", *made_of: str
) -> tuple[Callable[[int], None], Any]:
    """Compile a module, made for a triple, for this CPU as far as a path may use it, unless its code was kept.

    label: tells modules with the same function apart. made_of: what the module depends on besides path and sources.

    Returns its function of that name, which takes the address of its arguments, and what must live as long as it.
    Raises RuntimeError if LLVM cannot compile it.
    """
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    if path.name == "generic" or _paths.on_arm():
        # Compile for any CPU that has what the path needs. LLVM's models of some ARM CPUs are incomplete: with oryon-1
        # (Snapdragon X) version 22 ends the process.
        cpu, features = "", ",".join(f"+{feature}" for feature in sorted(path.needs[0]))
    else:
        cpu, features = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    default = binding.Target.from_default_triple()
    target = default.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
    shape = path.kind, path.lanes, path.tiles, path.limit, bool(path.needs[0])
    kept = Kept(f"{path.name} {name} {label}".strip(), repr(shape), cpu, features, target.triple, *made_of)
    code = kept.load()
    if code is None:
        module = binding.parse_assembly(str(make(target.triple)))
        module.verify()
        optimise(module, target)
    else:
        module = binding.parse_assembly(f'target triple = "{target.triple}"')
    engine = binding.create_mcjit_compiler(module, target)
    engine.set_object_cache(lambda _, made: kept.keep(bytes(made)), lambda _: code)
    engine.finalize_object()
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address(name)), engine


def optimise(module: binding.ModuleRef, target: binding.TargetMachine) -> None:
    """Optimise a module: put variables into registers, compute common parts once, simplify loops.

    There are no more passes, since LLVM's own choice of them reorders sums, which takes more registers than there are.
    """
    passes = binding.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_new_gvn_pass()
    passes.add_simplify_cfg_pass()
    passes.add_loop_rotate_pass()
    passes.run(module, binding.create_pass_builder(target, binding.create_pipeline_tuning_options(speed_level=3)))


def build(path: Path, codec: str, dim: int, triple: str) -> ir.Module:
    """Build the module with the function `scan`."""
    module = ir.Module("maxsim")
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER]), "scan")
    # CPUs that have none of what paths need may lack F16C too, and LLVM would call a library that is not there.
    _Builder(path, codec, dim, function, halves=bool(path.needs[0]) or triple.startswith(("aarch64", "arm64"))).scan()
    return module


@dataclass
class _Row:
    """A row in the loop over rows: the address of what is multiplied, and its factor (None: 1)."""

    source: ir.Value
    factor: ir.Value | None


class _Builder:
    def __init__(self, path: Path, codec: str, dim: int, function: ir.Function, *, halves: bool) -> None:
        self.path, self.codec, self.dim, self.form = path, codec, dim, FORMS[codec]
        self.halves = halves  # the CPU converts float16
        self.width = width(dim)
        self.element = {"float": F32, "words": I16}.get(path.kind, I8)
        self.stored = {np.float32: F32, np.float16: F16, None: I8}[self.form.floats]
        as_stored = self.stored == self.element and path.kind != "signed"
        self.unpacks = not as_stored or self.form.is_packed or dim != self.width
        self.codes = ir.VectorType(self.element, path.lanes * path.group)
        self.floats = ir.VectorType(F32, path.lanes)
        self.sums = ir.VectorType(I32, path.lanes) if path.limit else self.floats
        self.b = b = ir.IRBuilder(function.append_basic_block("entry"))
        self.given = {name: b.load(_at(b, function.args[0], i, I64), typ=I64) for i, name in enumerate(ARGUMENTS)}

    def pointer(self, name: str) -> ir.Value:
        return self.b.inttoptr(self.given[name], POINTER)

    def load(self, name: str, index: ir.Value | int, kind: ir.Type) -> ir.Value:
        return self.b.load(_at(self.b, self.pointer(name), index, kind), typ=kind, align=1)

    def scan(self) -> None:
        b, given = self.b, self.given
        self.maxima = _at(b, self.pointer("scratch"), GROUP * self.width * 4, I8)
        most = max(tile.rows * tile.vectors for tile in self.path.tiles)
        self.totals = [b.alloca(self.sums) for _ in range(most)]
        self.partial = [b.alloca(ir.VectorType(I16, self.path.lanes * 2)) for _ in range(most)]
        self.stream, self.register = b.alloca(POINTER), b.alloca(I64)
        take, body, done = (b.append_basic_block(name) for name in ("take", "body", "done"))
        b.branch(take)
        b.position_at_end(take)
        part = b.atomic_rmw("add", self.pointer("taken"), I64(1), "monotonic")
        b.cbranch(b.icmp_signed("<", part, given["parts"]), body, done)
        b.position_at_end(body)
        first, last = (self.load("edges", index, I64) for index in (part, b.add(part, I64(1))))
        with _loop(b, first, last) as page:
            start, end = (self.load(name, page, I64) for name in ("starts", "ends"))
            with _loop(b, I64(0), given["registers"]) as register:
                lowest = ir.Constant(self.floats, [float("-inf")] * self.path.lanes)
                b.store(lowest, _at(b, self.maxima, register, self.floats), align=4)
            with _loop(b, start, end, GROUP) as row:
                left = b.sub(end, row)
                self.rows(row, b.select(b.icmp_signed("<", left, I64(GROUP)), left, I64(GROUP)))
            self.sum(page)
        b.branch(take)
        b.position_at_end(done)
        b.ret_void()

    def rows(self, first: ir.Value, count: ir.Value) -> None:
        """Multiply some rows of a page with all tokens."""
        b = self.b
        if self.unpacks:
            with _loop(b, I64(0), count) as place:
                self.unpack(b.add(first, place), self.unpacked(place))
        b.store(self.pointer("stream"), self.stream)
        b.store(I64(0), self.register)
        for kind, tile in enumerate(self.path.tiles):
            with _loop(b, I64(0), self.load("counts", kind, I64)):
                here, register = b.load(self.stream, typ=POINTER), b.load(self.register, typ=I64)
                with _loop(b, I64(0), count, tile.rows) as place:
                    size = self.tile(tile, self.some(tile, first, count, place), here, register)
                b.store(_at(b, here, size, I8), self.stream)
                b.store(b.add(register, I64(tile.vectors)), self.register)

    def some(self, tile: Tile, first: ir.Value, count: ir.Value, place: ir.Value) -> list[_Row]:
        """Return the rows of a tile, from row `place` of `count` on; the last one is repeated if there are no more."""
        b, rows = self.b, []
        for j in range(tile.rows):
            wanted, final = b.add(place, I64(j)), b.sub(count, I64(1))
            at = b.select(b.icmp_signed("<", wanted, final), wanted, final)
            index = b.add(first, at)
            rows.append(_Row(self.unpacked(at) if self.unpacks else self.stored_row(index), self.factor(index)))
        return rows

    def stored_row(self, index: ir.Value) -> ir.Value:
        return _at(self.b, self.pointer("codes"), self.b.mul(index, I64(row_bytes(self.codec, self.dim))), I8)

    def unpacked(self, place: ir.Value) -> ir.Value:
        return _at(self.b, self.pointer("scratch"), self.b.mul(place, I64(self.width * 4)), I8)

    def factor(self, index: ir.Value) -> ir.Value | None:
        if self.form.scales is None:
            return None
        if self.form.scales is np.float32:
            return self.load("scales", index, F32)
        return _widened_half(self.b, self.load("scales", index, I16))

    def tile(self, tile: Tile, rows: list[_Row], stream: ir.Value, register: ir.Value) -> int:
        """Multiply, keep the maxima, and return the number of bytes of the stream that were read."""
        b, path = self.b, self.path
        steps = self.width // (path.group * tile.spread)
        totals = [self.totals[j * tile.vectors : (j + 1) * tile.vectors] for j in range(len(rows))]
        for v in range(tile.vectors):
            begin: ir.Value = ir.Constant(self.sums, None)
            if path.kind == "dot":
                begin = self.load("bias", b.add(register, I64(v)), self.sums)
            for line in totals:
                b.store(begin, line[v])
        line_bytes = path.lanes * path.group * {F32: 4, I16: 2, I8: 1}[self.element] * tile.vectors
        if path.kind == "pairs":
            whole = steps // CHUNK
            read = whole * (CHUNK + 1) * line_bytes
            with _loop(b, I64(0), I64(whole)) as chunk:
                here = _at(b, stream, b.mul(chunk, I64((CHUNK + 1) * line_bytes)), I8)
                self.chunk(tile, rows, totals, here, b.mul(chunk, I64(CHUNK)), CHUNK)
            for step in range(whole * CHUNK, steps):
                self.chunk(tile, rows, totals, _at(b, stream, read, I8), I64(step), 1)
                read += 2 * line_bytes
        else:
            read = steps * line_bytes
            with _loop(b, I64(0), I64(steps)) as step:
                here = _at(b, stream, b.mul(step, I64(line_bytes)), I8)
                tokens = [b.load(_at(b, here, v, self.codes), typ=self.codes, align=4) for v in range(tile.vectors)]
                for row, line in zip(rows, totals, strict=True):
                    value = self.broadcast(row, step, tile)
                    for token, total in zip(tokens, line, strict=True):
                        b.store(self.multiply_add(b.load(total, typ=self.sums), value, token), total)
        for v in range(tile.vectors):
            place = _at(b, self.maxima, b.add(register, I64(v)), self.floats)
            high = b.load(place, typ=self.floats, align=4)
            for row, line in zip(rows, totals, strict=True):
                value = self.over_parts(b.load(line[v], typ=self.sums), tile.spread)
                if path.limit:
                    value = b.sitofp(value, self.floats)
                if row.factor is not None:
                    value = b.fmul(value, _splat(b, row.factor, path.lanes))
                high = b.select(b.fcmp_ordered(">", value, high), value, high)
            b.store(high, place, align=4)
        return read

    def chunk(
        self, tile: Tile, rows: list[_Row], totals: list[list[ir.Value]], stream: ir.Value, first: ir.Value, steps: int
    ) -> None:
        """Sum some steps modulo 2**16, and add the sums to the totals; see _paths."""
        b, path = self.b, self.path
        words = ir.VectorType(I16, path.lanes * 2)
        ones = ir.Constant(words, [1] * path.lanes * 2)
        bits = path.lanes * 32
        pair_sums = f"llvm.x86.avx512.pmaddubs.w.{bits}" if bits == 512 else "llvm.x86.avx2.pmadd.ub.sw"
        word_sums = f"llvm.x86.avx512.pmaddw.d.{bits}" if bits == 512 else "llvm.x86.avx2.pmadd.wd"
        partial = [self.partial[j * tile.vectors : (j + 1) * tile.vectors] for j in range(len(rows))]
        for line in partial:
            for v, some in enumerate(line):
                b.store(b.load(_at(b, stream, v, words), typ=words, align=4), some)
        # This is a loop because LLVM would reorder the sums of unrolled steps, and run out of registers.
        with _loop(b, I64(0), I64(steps)) as step:
            at = b.mul(b.add(step, I64(1)), I64(tile.vectors))
            tokens = [
                b.load(_at(b, stream, b.add(at, I64(v)), self.codes), typ=self.codes, align=4)
                for v in range(tile.vectors)
            ]
            for row, line in zip(rows, partial, strict=True):
                value = self.broadcast(row, b.add(first, step), tile)
                for some, token in zip(line, tokens, strict=True):
                    product = b.call(_declare(b, pair_sums, words, [self.codes] * 2), [value, token])
                    b.store(b.add(b.load(some, typ=words), product), some)
        for line, sums in zip(totals, partial, strict=True):
            for total, some in zip(line, sums, strict=True):
                wide = b.call(_declare(b, word_sums, self.sums, [words] * 2), [b.load(some, typ=words), ones])
                b.store(b.add(b.load(total, typ=self.sums), wide), total)

    def multiply_add(self, total: ir.Value, value: ir.Value, token: ir.Value) -> ir.Value:
        """Return total + value * token, summed over the dimensions of a group, for every lane."""
        b, lanes = self.b, self.path.lanes
        if self.path.kind == "float":
            fused = _declare(b, f"llvm.fmuladd.v{lanes}f32", total.type, [total.type] * 3)
            return b.call(fused, [value, token, total])
        if self.path.kind == "dot":
            dot = _declare(b, f"llvm.x86.avx512.vpdpbusd.{lanes * 32}", total.type, [total.type] * 3)
            return b.call(dot, [total, *(b.bitcast(x, total.type) for x in (value, token))])
        if self.path.kind == "signed":
            dot = _declare(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", total.type, [total.type, *[token.type] * 2])
            return b.call(dot, [total, value, token])
        wide = ir.VectorType(I32, lanes * 2)
        products = b.mul(b.sext(value, wide), b.sext(token, wide))
        for parity in (0, 1):
            total = b.add(total, _pick(b, products, [2 * lane + parity for lane in range(lanes)]))
        return total

    def over_parts(self, value: ir.Value, spread: int) -> ir.Value:
        """Return the sum of the parts of each token, in all its lanes."""
        add = self.b.add if self.path.limit else self.b.fadd
        distance = 1
        while distance < spread:
            value = add(value, _pick(self.b, value, [lane ^ distance for lane in range(self.path.lanes)]))
            distance *= 2
        return value

    def broadcast(self, row: _Row, step: ir.Value, tile: Tile) -> ir.Value:
        """Return the step-th groups of dimensions of a row, one for each part of a token, repeated for every token."""
        b = self.b
        word = F32 if self.path.kind == "float" else I32
        if tile.spread == 1:
            part = b.load(_at(b, row.source, step, word), typ=word, align=1)
            value = _splat(b, part, self.path.lanes)
        else:
            parts = ir.VectorType(word, tile.spread)
            some = b.load(_at(b, row.source, step, parts), typ=parts, align=1)
            value = _pick(b, some, [lane % tile.spread for lane in range(self.path.lanes)])
        return value if self.path.kind == "float" else b.bitcast(value, self.codes)

    def unpack(self, index: ir.Value, target: ir.Value) -> None:
        """Bring a stored row into the type that is multiplied. What lies beyond `dim` is multiplied by zeros."""
        b = self.b
        source = self.stored_row(index)
        whole = self.dim // 16
        centroid = None
        if self.form.learned:
            number, last = b.zext(self.load("centroid_of", index, I16), I64), self.given["last_centroid"]
            number = b.select(b.icmp_unsigned("<", number, last), number, last)  # a damaged file may hold any number
            centroid = _at(b, self.pointer("centroids"), b.mul(number, I64(self.dim)), I8)
        if whole:
            with _loop(b, I64(0), I64(whole)) as index:
                self.convert(source, target, centroid, index, 16)
        for place in range(whole * 16, self.dim):
            self.convert(source, target, centroid, I64(place), 1)

    def convert(
        self, source: ir.Value, target: ir.Value, centroid: ir.Value | None, index: ir.Value, count: int
    ) -> None:
        """Bring the index-th `count` dimensions of a row into the type that is multiplied."""
        b = self.b
        wide = ir.VectorType(self.element, count)
        if self.stored != I8:
            by_hand = self.stored == F16 and not self.halves
            narrow = ir.VectorType(I16 if by_hand else self.stored, count)
            value = b.load(_at(b, source, index, narrow), typ=narrow, align=1)
            if by_hand:
                value = _widened_half(b, value)
            elif self.stored == F16:
                value = b.fpext(value, wide)
        else:
            value = self.biased(source, centroid, index, count)
            if self.element == I16:
                value = b.sub(b.zext(value, wide), ir.Constant(wide, [128] * count))
            elif self.element == F32:
                value = b.fsub(b.uitofp(value, wide), ir.Constant(wide, [128.0] * count))
            elif self.path.kind == "signed":
                value = b.xor(value, ir.Constant(wide, [128] * count))
        b.store(value, _at(b, target, index, wide), align=1)

    def biased(self, source: ir.Value, centroid: ir.Value | None, index: ir.Value, count: int) -> ir.Value:
        """Return the index-th `count` dimensions as value + 128, uint8."""
        b = self.b
        octets = ir.VectorType(I8, count)
        if self.form.is_biased:
            return b.load(_at(b, source, index, octets), typ=octets, align=1)
        bits = self.form.bits
        if self.form.learned:
            values = [_splat(b, self.load("weights", i, I8), count) for i in range(1 << bits)]
        else:
            values = [ir.Constant(octets, [int(level) & 255] * count) for level in levels(None)]
        for which in range(bits):  # each bit of the code halves the values that it may stand for
            bit = self.bit(source, index, count, bits, which)
            values = [b.select(bit, high, low) for low, high in zip(values[::2], values[1::2], strict=True)]
        (value,) = values
        if centroid is not None:
            value = b.add(value, b.load(_at(b, centroid, index, octets), typ=octets, align=1))
        return b.xor(value, ir.Constant(octets, [128] * count))

    def bit(self, source: ir.Value, index: ir.Value, count: int, bits: int, which: int) -> ir.Value:
        """Return bit `which` of the code of each dimension, (count,) i1; dimension i has its bits from i * bits on."""
        b = self.b
        octets = ir.VectorType(I8, count)
        places = [(i * bits + which) % 8 for i in range(count)]
        if count == 1:
            first = b.mul(index, I64(bits))
            octet = b.load(_at(b, source, b.lshr(first, I64(3)), I8), typ=I8, align=1)
            place = b.add(b.trunc(b.and_(first, I64(7)), I8), I8(which))
            spread, masks = _splat(b, octet, 1), _splat(b, b.shl(I8(1), place), 1)
        else:
            stored = ir.VectorType(I8, count * bits // 8)
            packed = b.load(_at(b, source, index, stored), typ=stored, align=1)
            spread = _pick(b, packed, [i * bits // 8 for i in range(count)])
            masks = ir.Constant(octets, [1 << place for place in places])
        return b.icmp_unsigned("!=", b.and_(spread, masks), ir.Constant(octets, None))

    def sum(self, page: ir.Value) -> None:
        """Add up the maxima of a page, for each query."""
        b, given = self.b, self.given
        line = b.mul(page, given["queries"])
        with _loop(b, I64(0), given["registers"]) as register:
            high = b.load(_at(b, self.maxima, register, self.floats), typ=self.floats, align=4)
            weighted = b.fmul(high, self.load("token_scales", register, self.floats))
            for lane in range(self.path.lanes):
                place = b.add(b.mul(register, I64(self.path.lanes)), I64(lane))
                out = _at(b, self.pointer("out"), b.add(line, self.load("owners", place, I64)), F32)
                b.store(b.fadd(b.load(out, typ=F32), b.extract_element(weighted, I32(lane))), out)


# ---- pieces --------------------------------------------------------------------------------------------------------


def _widened_half(b: ir.IRBuilder, half: ir.Value) -> ir.Value:
    """Convert the bits of a finite float16, or of a vector of them, to float32, exactly and on CPUs without float16."""
    count = half.type.count if isinstance(half.type, ir.VectorType) else None

    def alike(kind: ir.Type, value: float) -> ir.Constant:
        return ir.Constant(kind, value) if count is None else ir.Constant(ir.VectorType(kind, count), [value] * count)

    bits = b.zext(half, alike(I32, 0).type)
    number = b.shl(b.and_(bits, alike(I32, 0x7FFF)), alike(I32, 13))
    sign = b.shl(b.and_(bits, alike(I32, 0x8000)), alike(I32, 16))
    size = b.fmul(b.bitcast(number, alike(F32, 0).type), alike(F32, 2.0**112))
    return b.bitcast(b.or_(b.bitcast(size, bits.type), sign), size.type)


def _pick(b: ir.IRBuilder, value: ir.Value, lanes: list[int]) -> ir.Value:
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
    return b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def _splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    single = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    return _pick(b, b.insert_element(single, value, I32(0)), [0] * lanes)


def _declare(b: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    known = b.module.globals.get(name)
    return known or ir.Function(b.module, ir.FunctionType(result, arguments), name)


def _at(b: ir.IRBuilder, pointer: ir.Value, index: ir.Value | int, element: ir.Type) -> ir.Value:
    """Return the address of the index-th `element` behind `pointer`."""
    return b.gep(pointer, [I64(index) if isinstance(index, int) else index], source_etype=element)


@contextmanager
def _loop(b: ir.IRBuilder, start: ir.Value, end: ir.Value, step: int = 1) -> Iterator[ir.Value]:
    """Build the loop `for index in range(start, end, step)` around the block."""
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
