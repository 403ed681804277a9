"""The scan on ARM CPUs: machine code for them can be made and read anywhere, and runs here where QEMU is.

apt install qemu-user gcc-aarch64-linux-gnu
"""

import shutil
import subprocess

import numpy as np
import pytest
from llvmlite import binding

from visret import codec as codecs
from visret.codec import Codec, Rows
from visret.maxsim import PackedPages, _check, _kernel, _paths, linear, reference

# Reads an image of the arguments: how many words, then of each whether it is an address in the image and its value.
# Calls the scan, and writes the image back, changed as the scan has changed it.
MAIN = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
void scan(int64_t *);
int main(int count, char **names) {
    FILE *file = fopen(names[1], "rb+");
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    char *image = aligned_alloc(64, (size + 63) / 64 * 64);
    rewind(file);
    if (fread(image, 1, size, file) != (size_t)size) return 1;
    int64_t *header = (int64_t *)image, words[64];
    for (int64_t i = 0; i < header[0]; i++)
        words[i] = header[2 + 2 * i] + (header[1 + 2 * i] ? (int64_t)image : 0);
    scan(words);
    rewind(file);
    return fwrite(image, 1, size, file) != (size_t)size;
}
"""


LINUX = "aarch64-unknown-linux-gnu"


def compiled(path, made, triple, **options):
    """A target machine and the optimised module, as they are made on an ARM CPU."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = binding.parse_assembly(str(made))
    module.verify()
    features = ",".join(f"+{name}" for name in sorted(path.needs[0]))
    machine = binding.Target.from_triple(triple).create_target_machine(features=features, opt=3, **options)
    _kernel.optimise(module, machine)
    return machine, module


@pytest.mark.parametrize("codec", ["int8", "residual2", "residual1", "binary"])
@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin", "aarch64-pc-windows-msvc"])
def test_neon_multiplies_with_sdot_and_keeps_its_sums_in_registers(codec, triple):
    path = _paths.PATHS["neon"]
    machine, module = compiled(path, _kernel.build(path, codec, 128, triple), triple)
    names = [line.split()[0] for line in machine.emit_assembly(module).splitlines() if line.startswith("\t")]
    products = [i for i, name in enumerate(names) if name.startswith("sdot")]  # macOS writes sdot.4s
    assert len(products) == sum(tile.vectors * tile.rows for tile in path.tiles)
    size = path.tiles[0].rows * path.tiles[0].vectors
    loop = names[products[0] : products[size - 1]]  # of the largest tile
    assert not [name for name in loop if name.startswith("st")]


@pytest.fixture
def run(tmp_path):
    """A function that runs machine code under QEMU: given its arguments by their names, it fills the array `out`."""
    emulator, compiler = shutil.which("qemu-aarch64"), shutil.which("aarch64-linux-gnu-gcc")
    if not emulator or not compiler:
        pytest.skip("qemu-aarch64 and aarch64-linux-gnu-gcc are needed (qemu-user, gcc-aarch64-linux-gnu)")
    (tmp_path / "main.c").write_text(MAIN)

    def linked(path, made, function):
        machine, module = compiled(path, made, LINUX, reloc="pic", codemodel="default")
        (tmp_path / "made.o").write_bytes(machine.emit_object(module))
        command = [compiler, "-O1", "-static", f"-Dscan={function}", "main.c", "made.o", "-o", function]
        subprocess.run(command, cwd=tmp_path, check=True)
        return lambda given: call(function, given)

    def call(function, given):
        place = -(-(1 + 2 * len(given)) * 8 // 64) * 64
        header, body, places = [len(given)], [], {}
        for name, value in given.items():
            if not isinstance(value, np.ndarray):
                header += [0, value or 0]
                continue
            header += [1, place]
            places[name] = place
            body.append(value.tobytes().ljust(-(-value.nbytes // 64) * 64, b"\0"))
            place += len(body[-1])
        head = np.array(header, np.int64).tobytes()
        image = head.ljust(-(-len(head) // 64) * 64, b"\0") + b"".join(body)
        (tmp_path / "image").write_bytes(image)
        subprocess.run(
            [emulator, "-cpu", "neoverse-n1", f"./{function}", "image"], cwd=tmp_path, check=True, timeout=60
        )
        out = given["out"]
        changed = (tmp_path / "image").read_bytes()
        out[:] = np.frombuffer(changed, out.dtype, out.size, places["out"]).reshape(out.shape)

    return linked


@pytest.fixture
def emulated(monkeypatch, run):
    """Every scan runs as ARM code under QEMU."""

    def scan(path, codec, dim):
        call = run(path, _kernel.build(path, codec, dim, LINUX), "scan")

        def bind(given, *known):
            given = dict(_kernel.check(path, codec, dim, given, *known).values)
            given |= {"scratch": np.zeros(_kernel.scratch_bytes(path, dim, given["registers"]), np.uint8)}
            return lambda: call({name: given[name] for name in _kernel.ARGUMENTS})

        return bind

    monkeypatch.setattr(_kernel, "scan", scan)
    monkeypatch.setattr(_paths, "available", lambda: [_paths.PATHS[name] for name in ("neon", "generic", "float")])
    _check._trusted.cache_clear()  # each is checked against the definition as on an ARM CPU
    yield
    _check._trusted.cache_clear()


@pytest.mark.parametrize("path", ["neon", "generic"])
def test_integers_do_not_saturate(emulated, path):
    dim = 2560
    query = np.stack([np.full(dim, 1, np.float32), np.full(dim, -1, np.float32), np.tile([1, -1], dim // 2)])
    codes = np.repeat(np.array([255, 1, 0, 255], np.uint8), dim).reshape(4, dim)
    codes[3, 1::2] = 1  # 127 and -127 in turn
    pages = PackedPages(Rows(codes, np.ones(4, np.float32)), np.arange(5), Codec("int8", dim), 1, path)
    for token, expected in zip(query, ([127, -127, -128, 0], [-127, 127, 128, 0], [0, 0, 0, 127]), strict=True):
        assert pages.scores(token[None]) == pytest.approx(np.array(expected) * dim)


@pytest.mark.parametrize("name", codecs.CODECS)
def test_scores_are_the_definition(emulated, name):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 100)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    offsets, query = np.array([0, 1, 9, 40, 117, 300]), vectors[[3, 50, 120, 200, 280]] + vectors[:5] / 2
    query = np.concatenate([query, -query, query[:3]])  # 13 tokens
    codec = codecs.fit(name, vectors)
    rows = codecs.encode(vectors, codec)
    pages = PackedPages(rows, offsets, codec, 1, "neon")
    expected = reference.page_scores(query, codecs.decode(rows, codec), offsets)
    assert pages.exact_scores(query) == pytest.approx(expected, abs=1e-4)
    assert pages.scores(query) == pytest.approx(expected, abs=0.05)
    if rows.codes.dtype == np.uint8:  # with the query that the scan multiplies, it is exact
        step = np.abs(query).max(axis=1, keepdims=True) / np.float32(127)
        rounded = reference.page_scores(np.rint(query / step) * step, codecs.decode(rows, codec), offsets)
        assert pages.scores(query) == pytest.approx(rounded, abs=1e-4)


def test_products_are_those_of_numpy(run):
    path = _paths.PATHS["float"]
    call = run(path, linear.build(path, LINUX), "product")

    def product(weights, columns):
        (rows, dim), width = weights.shape, columns.shape[1]
        if weights.dtype == np.uint8 and dim < path.lanes:
            weights = weights.astype(np.float32)
        scratch = np.zeros((8, dim), np.float32) if weights.dtype == np.uint8 else 0
        out = np.zeros((rows, width), np.float32)
        values = (weights, columns, out, rows, dim, width, scratch)
        call(dict(zip(linear._ARGUMENTS, values, strict=True)))
        return out

    assert linear.differences(path, product) is None
