"""`backend: onnx` gives the vectors of torch, from a file that is made once."""

import dataclasses
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from support.vectors import assert_same

from visret.encoders import _onnx, load_encoder
from visret.errors import InvalidModelSpec, MissingExtra, WeightsError
from visret.models import registry
from visret.types import Page

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, exc_type=ImportError)

TEXTS = ["red", "where is the sales figure, of the report? " * 40, "the page " * 7]
PAGES = [Page.from_text(text, doc="a") for text in TEXTS]


def entry(folder, **options):
    spec = registry.resolve(folder)
    return dataclasses.replace(spec, options={**spec.options, "backend": "onnx", **options})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _kept(cache, monkeypatch):
    """What one test exports, the next ones find."""
    monkeypatch.setenv("VISRET_CACHE", str(cache))


@pytest.fixture(params=["bert", "colbert"])
def folder(request, checkpoints):
    return checkpoints / request.param


def test_the_vectors_are_those_of_torch(folder):
    theirs, ours = load_encoder(folder, dtype="float32"), load_encoder(entry(folder))
    assert ours.preprocessing == theirs.preprocessing
    for expected, found in zip(theirs.encode_pages(PAGES), ours.encode_pages(PAGES), strict=True):
        assert_same(found.vectors, expected.vectors)
        np.testing.assert_array_equal(found.where, expected.where)
    for expected, found in zip(theirs.encode_queries(TEXTS), ours.encode_queries(TEXTS), strict=True):
        assert_same(found.vectors, expected.vectors)
        assert found.tokens == expected.tokens


def test_a_batch_changes_nothing(folder):
    encoder = load_encoder(entry(folder))
    for page, together in zip(PAGES, encoder.encode_pages(PAGES), strict=True):
        (alone,) = encoder.encode_pages([page])
        assert_same(alone.vectors, together.vectors)


def test_threads_change_nothing(folder):
    pages = PAGES * 5
    expected = load_encoder(entry(folder), threads=1).encode_pages(pages)
    for threads in (2, 3):
        for one, same in zip(expected, load_encoder(entry(folder), threads=threads).encode_pages(pages), strict=True):
            np.testing.assert_array_equal(one.vectors, same.vectors)


def test_it_is_exported_once(folder, cache, monkeypatch, capfd):
    """The second time there is nothing to export with."""
    load_encoder(entry(folder))
    capfd.readouterr()
    files = {file: file.stat().st_mtime_ns for file in (cache / "onnx").iterdir()}
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
    load_encoder(entry(folder)).encode_queries(["red"])
    assert {file: file.stat().st_mtime_ns for file in (cache / "onnx").iterdir()} == files
    assert capfd.readouterr() == ("", "")


def test_where_it_cannot_be_kept_it_is_exported_all_the_same(checkpoints, caplog, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "file"))
    load_encoder(entry(checkpoints / "bert")).encode_queries(["red"])
    assert "cannot be kept there" in caplog.text


def test_a_checkpoint_with_another_configuration_is_exported_anew_and_quietly(checkpoints, cache, tmp_path, capfd):
    load_encoder(entry(checkpoints / "bert"))
    before = set((cache / "onnx").iterdir())
    shutil.copytree(checkpoints / "bert", tmp_path, dirs_exist_ok=True)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 0.5'))
    capfd.readouterr()
    changed = load_encoder(entry(tmp_path))
    assert capfd.readouterr() == ("", "")
    (file,) = set((cache / "onnx").iterdir()) - before
    assert file.suffix == ".onnx"
    (expected,) = load_encoder(tmp_path, dtype="float32").encode_queries(["red"])
    assert_same(changed.encode_queries(["red"])[0].vectors, expected.vectors)


@pytest.mark.parametrize("package", ["onnxruntime", "onnx", "onnxscript"])
def test_a_missing_package_is_named(checkpoints, tmp_path, monkeypatch, package):
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf'needs {package}: pip install "visret\[onnx\]"'):
        load_encoder(entry(checkpoints / "bert"))
    assert not list(tmp_path.rglob("*.onnx*"))


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"a\.onnx: damaged; remove it"):
        _onnx.Network(tmp_path / "a.onnx")


@pytest.mark.parametrize("given", [np.zeros((1, 3, 8)), np.zeros((1, 2, 8), np.float32), np.zeros((3, 8), np.float32)])
def test_a_file_that_is_another_network_is_told(tmp_path, monkeypatch, given):
    session = types.SimpleNamespace(run=lambda *_: (given,))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: session)
    ids = torch.ones(1, 3, dtype=torch.int64)
    with pytest.raises(WeightsError, match=r"a\.onnx: damaged; remove it, .* for \(1, 3\) ids"):
        _onnx.Network(tmp_path / "a.onnx")(ids, ids)


def test_what_cannot_be_exported_is_told_and_leaves_nothing(checkpoints, cache):
    class Forks(torch.nn.Module):
        def forward(self, ids, mask):
            return ids if ids.sum() > mask.sum() else mask

    with pytest.raises(WeightsError, match="cannot export it to ONNX; leave out backend: onnx"):
        _onnx.network(Forks(), checkpoints / "colqwen2")
    assert {file.suffix for file in (cache / "onnx").iterdir()} <= {".onnx"}


def test_other_backends_devices_and_types_are_refused(checkpoints):
    with pytest.raises(InvalidModelSpec, match="backend: must be torch or onnx, got 'jax'"):
        load_encoder(entry(checkpoints / "bert", backend="jax"))
    for chosen in ({"device": "cuda"}, {"dtype": "bfloat16"}):
        with pytest.raises(InvalidModelSpec, match="backend onnx computes float32 on the CPU"):
            load_encoder(entry(checkpoints / "bert"), **chosen)
