"""What this machine can do at most: bytes read and 8- or 16-bit multiply-adds a second, by all its cores, as JSON.

Both are loops without anything else in them: loads of 1 GiB that is in no cache, and multiplications of registers,
each added to a running sum, enough of them at once to hide their latency.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import binding, ir

REGISTERS = 12  # sums at once
BYTES = 1 << 30
I64 = ir.IntType(64)
MULTIPLICATIONS = {  # features it takes; intrinsic; bits of a register, an operand and a sum; multiply-adds of one
    "vpdpbusd 512": (("avx512f", "avx512vnni"), ("llvm.x86.avx512.vpdpbusd.512", 512, 32, 32, 64)),
    "vpdpbusd 256": (("avxvnni",), ("llvm.x86.avx512.vpdpbusd.256", 256, 32, 32, 32)),
    "vpmaddubsw 512": (("avx512bw",), ("llvm.x86.avx512.pmaddubs.w.512", 512, 8, 16, 64)),
    "vpmaddubsw 256": (("avx2",), ("llvm.x86.avx2.pmadd.ub.sw", 256, 8, 16, 32)),
    "vpmaddwd 256": (("avx2",), ("llvm.x86.avx2.pmadd.wd", 256, 16, 32, 16)),
}
Step = Callable[[ir.IRBuilder, ir.Value, ir.Value, ir.Value], ir.Value]  # sum, what was read, round -> the next sum


def loop(kind: ir.VectorType, advance: int, step: Step) -> Callable[[int, int], int]:
    """A compiled function of an address and a number of rounds. A round reads a register's worth of bytes for each sum,
    one behind the other, and steps the sum with it; the next reads `advance` bytes further on."""
    module = ir.Module()
    module.triple = binding.get_default_triple()
    function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), "loop")
    before, body, after = (function.append_basic_block(name) for name in ("before", "body", "after"))
    b = ir.IRBuilder(before)
    b.branch(body)
    b.position_at_end(body)
    turn = b.phi(I64)
    sums = [b.phi(kind) for _ in range(REGISTERS)]
    turn.add_incoming(I64(0), before)
    address = b.add(function.args[0], b.mul(turn, I64(advance)))
    stepped = []
    for i, total in enumerate(sums):
        at = b.inttoptr(b.add(address, I64(i * width(kind) // 8)), ir.PointerType())
        stepped.append(step(b, total, b.load(at, typ=kind, align=8), turn))
        total.add_incoming(ir.Constant(kind, None), before)
        total.add_incoming(stepped[-1], body)
    following = b.add(turn, I64(1))
    turn.add_incoming(following, body)
    b.cbranch(b.icmp_signed("<", following, function.args[1]), body, after)
    b.position_at_end(after)
    total = functools.reduce(b.xor, stepped)
    b.ret(b.extract_element(b.bitcast(total, ir.VectorType(I64, width(kind) // 64)), I64(0)))
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3, jit=True
    )
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
    engine.finalize_object()
    made = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(engine.get_function_address("loop"))
    made.engine = engine  # type: ignore[attr-defined]  # the code lives as long as its engine
    return made


def rate(work: Callable[[int], object], amount: float) -> float:
    """`amount` times the threads, over the seconds they take; the best of five."""
    threads, times = len(os.sched_getaffinity(0)), []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(work, range(threads)))
            times.append(time.perf_counter() - start)
    return amount * threads / min(times)


def bandwidth() -> float:
    """Bytes a second."""
    data = np.ones(BYTES, np.uint8)
    one_round = 32 * REGISTERS
    read = loop(ir.VectorType(I64, 4), one_round, lambda b, total, value, turn: b.xor(total, value))
    rounds = BYTES // len(os.sched_getaffinity(0)) // one_round
    return rate(lambda thread: read(data.ctypes.data + thread * rounds * one_round, rounds), rounds * one_round)


def multiply_adds(intrinsic: str, bits: int, operand_bits: int, sum_bits: int, count: int) -> float:
    """Multiply-adds a second, of rows that change every round with tokens that stay in the nearest cache."""
    kind = ir.VectorType(ir.IntType(sum_bits), bits // sum_bits)
    operand = ir.VectorType(ir.IntType(operand_bits), bits // operand_bits)
    sums_itself = "vpdp" in intrinsic

    def step(b: ir.IRBuilder, total: ir.Value, token: ir.Value, turn: ir.Value) -> ir.Value:
        words = ir.VectorType(I64, bits // 64)
        one = b.insert_element(ir.Constant(words, ir.Undefined), turn, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), words.count), None)
        row = b.bitcast(b.shuffle_vector(one, ir.Constant(words, ir.Undefined), zeros), operand)
        operands = [*([total] if sums_itself else []), row, b.bitcast(token, operand)]
        signature = ir.FunctionType(kind, [value.type for value in operands])
        called = b.module.globals.get(intrinsic) or ir.Function(b.module, signature, intrinsic)
        product = b.call(called, operands)
        return product if sums_itself else b.add(total, product)

    tokens, rounds = np.ones(REGISTERS * bits // 8, np.uint8), 20_000_000
    multiply = loop(kind, 0, step)
    return rate(lambda thread: multiply(tokens.ctypes.data, rounds), rounds * REGISTERS * count)


def width(kind: ir.VectorType) -> int:
    """Bits."""
    return int(kind.count * kind.element.width)


if __name__ == "__main__":
    features = binding.get_host_cpu_features()
    peaks = {
        f"multiply-adds by {name}": multiply_adds(*how)
        for name, (needed, how) in MULTIPLICATIONS.items()
        if all(features.get(feature) for feature in needed)
    }
    print(json.dumps({"bytes read": bandwidth()} | peaks))
