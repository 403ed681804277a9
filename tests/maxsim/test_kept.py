"""Machine code is kept between processes, and is compiled again wherever it might not be the right one."""

import os

import pytest

from visret import codec
from visret.codec import FORMS
from visret.maxsim import _check, _kept, _kernel, _paths, linear

PATH = next(path for path in _paths.available() if path.kind == "float")


@pytest.fixture
def compiled(own_cache, monkeypatch):
    """Compile the scan for rows of a codec as a new process would, check it, and return how often LLVM was asked."""
    made = []
    build = _kernel.build
    monkeypatch.setattr(_kernel, "build", lambda *arguments: made.append(arguments) or build(*arguments))

    def compile_again(name="int8", dim=24):
        made.clear()
        bind = _kernel._scan.__wrapped__(PATH, name, dim)
        assert _check.differences(PATH, name, dim, bind) is None
        return len(made)

    return compile_again


@pytest.fixture
def file(compiled, own_cache):
    assert compiled() == 1
    (one,) = (own_cache / "machine-code").iterdir()
    return one


def test_code_is_compiled_once(compiled, file):
    assert compiled() == 0


def test_each_codec_and_size_has_its_own(compiled, file):
    assert [compiled(dim=32), compiled("float16"), compiled(dim=32), compiled("float16"), compiled()] == [1, 1, 0, 0, 0]


def test_products_are_kept_too(own_cache):
    for _ in range(2):
        assert linear.differences(PATH, linear.compiled(PATH)) is None
    assert [path.name for path in (own_cache / "machine-code").iterdir()] == [f"{PATH.name}-product.o"]


@pytest.mark.parametrize("at", [0, 40, 100, -1])
def test_a_damaged_file_is_replaced(compiled, file, at):
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[at] ^= 1
    for content in (bytes(damaged), whole[:at], b""):
        file.write_bytes(content)
        assert compiled() == 1
        assert compiled() == 0


@pytest.mark.parametrize("what", ["llvm", "sources", "codec", "cpu"])
def test_code_of_something_else_is_not_used(compiled, file, monkeypatch, what):
    with monkeypatch.context() as patch:
        if what == "llvm":
            patch.setattr(_kept.llvmlite, "__version__", "0.0.1")
        elif what == "sources":
            patch.setattr(_kept, "_sources", lambda: "others")
        elif what == "codec":
            patch.setitem(FORMS, "int8", codec.FORMS["int8"]._replace(learned=None))
        else:
            patch.setattr(_kernel.binding, "get_host_cpu_name", lambda: "x86-64" if PATH.name != "neon" else "generic")
        assert compiled() == 1
    assert compiled() == 1  # its place was taken
    assert compiled() == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_others_can_write_is_not_run(compiled, file):
    file.chmod(0o666)
    assert compiled() == 1
    assert file.stat().st_mode & 0o077 == 0
    assert compiled() == 0


def test_without_sources_nothing_is_kept(compiled, own_cache, monkeypatch):
    monkeypatch.setattr(_kept, "_sources", _kept._sources.__wrapped__)
    monkeypatch.setattr(_kept, "__file__", str(own_cache / "bundle.zip" / "visret" / "maxsim" / "_kept.py"))
    assert [compiled(), compiled()] == [1, 1]
    assert not own_cache.exists()


def test_nothing_is_needed_from_the_folder(compiled, own_cache):
    own_cache.write_text("a file in the place of the folder")
    assert [compiled(), compiled()] == [1, 1]
