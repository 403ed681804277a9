"""Questions in NumPy are those of torch, in float32: every activation, length, mask and stored type."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from support.texts import LONG, ODD, benchmark_questions
from support.vectors import assert_same
from torch import nn

from visret.encoders import _layout, _numpy, _torch, load_encoder
from visret.encoders._bert import Bert
from visret.errors import WeightsError
from visret.models import registry, weights
from visret.models.weights import Tensors
from visret.types import Page

TORCH = {
    "gelu": nn.GELU(),
    "gelu_new": nn.GELU("tanh"),
    "gelu_pytorch_tanh": nn.GELU("tanh"),
    "relu": nn.ReLU(),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
}


def numpy_bert(folder, **changed):
    layout = dataclasses.replace(_layout.Layout.of(json.loads((folder / "config.json").read_text())), **changed)
    return _numpy.Bert(layout, Tensors(folder / "model.safetensors"))


def by_torch(encoder, ids):
    """The vectors of one sequence of ids of a sentence model, by torch."""
    (vectors,) = encoder._model._by_torch([ids], "query")
    return vectors


def sequences_of(encoder, question):
    reading = encoder.read(question, "query")
    return [reading.framed(cut) for cut in encoder._windows(reading, "query")]


def test_erf_is_right_to_the_last_digits_of_float32():
    x = np.linspace(-6, 6, 20_001, dtype=np.float32)
    expected = np.array([math.erf(value) for value in x.tolist()])
    assert np.abs(_numpy.erf(x) - expected).max() < 5e-7


@pytest.mark.parametrize("name", sorted(_numpy.ACTIVATIONS))
def test_activations_are_those_of_torch(name):
    x = np.concatenate([np.linspace(-12, 12, 10_001), [-1e4, 1e4, 0.0]]).astype(np.float32)
    expected = TORCH[name](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(_numpy.ACTIVATIONS[name](x), expected, atol=3e-6, rtol=1e-6)


@pytest.mark.parametrize("activation", sorted(_numpy.ACTIVATIONS))
def test_it_computes_what_transformers_computes(checkpoints, tmp_path, activation):
    """With an activation of its own, and with ids that nobody looks at."""
    shutil.copytree(checkpoints / "bert", tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_act": activation}))
    with _torch.quiet():
        from transformers import BertModel

        theirs = BertModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    ours = numpy_bert(tmp_path)
    for count, seen in ((1, 1), (2, 1), (9, 5), (70, 70), (150, 40)):
        ids = [(3 + 11 * i) % 90 for i in range(count)]
        mask = torch.tensor([[1] * seen + [0] * (count - seen)])
        with torch.inference_mode():
            expected = theirs(input_ids=torch.tensor([ids]), attention_mask=mask).last_hidden_state[0].numpy()
        attended = None if seen == count else np.arange(count) < seen
        np.testing.assert_allclose(ours(ids, attended).T, expected, atol=2e-5, rtol=0)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=200))
def test_any_sequence_is_that_of_torch(sentences, ids):
    (found,) = sentences._model.encode([ids], "query")
    assert_same(found.vectors, by_torch(sentences, ids))


@given(st.text(min_size=1, max_size=80).filter(lambda text: text.strip() and text.isprintable()))
def test_any_question_is_that_of_torch(sentences, question):
    (query,) = sentences.encode_queries([question])
    sequences = sequences_of(sentences, question)
    expected = np.concatenate([by_torch(sentences, ids) for ids in sequences])
    inside = np.concatenate([[False, *[True] * (len(ids) - 2), False] for ids in sequences])
    kept = inside if inside.any() else np.ones(len(inside), bool)  # markers, where nothing else is known
    assert_same(query.vectors, expected[kept])


@pytest.mark.weights
def test_real_questions_of_the_default_are_those_of_torch(minilm):
    for question in [*benchmark_questions(), *ODD, LONG]:
        for ids in sequences_of(minilm, question):
            (found,) = minilm._model.encode([ids], "query")
            assert_same(found.vectors, by_torch(minilm, ids))


@pytest.mark.weights
def test_questions_are_float32_whatever_the_pages_are(minilm):
    half = load_encoder("all-minilm-l6-v2", dtype="bfloat16")
    for question, expected, found in zip(ODD, minilm.encode_queries(ODD), half.encode_queries(ODD), strict=True):
        np.testing.assert_array_equal(found.vectors, expected.vectors, err_msg=question)
    pages = [Page.from_text("the red circle", doc="a")]
    (exact,), (rounded,) = minilm.encode_pages(pages), half.encode_pages(pages)
    assert 1e-4 < np.abs(exact.vectors - rounded.vectors).max() < 0.1
    assert (minilm.preprocessing["dtype"], half.preprocessing["dtype"]) == ("float32", "bfloat16")


def test_a_question_does_not_depend_on_the_others(sentences):
    texts = [*ODD, LONG]
    for text, together in zip(texts, sentences.encode_queries(texts), strict=True):
        (alone,) = sentences.encode_queries([text])
        np.testing.assert_array_equal(alone.vectors, together.vectors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_of_every_stored_type_are_read(checkpoints, tmp_path, dtype):
    stored = {name: value.to(dtype) for name, value in load_file(checkpoints / "bert" / "model.safetensors").items()}
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tensors = Tensors(tmp_path / "model.safetensors")
    assert set(tensors) == set(stored)
    assert len(tensors) == len(stored)
    for name, value in stored.items():
        np.testing.assert_array_equal(tensors[name], value.float().numpy())
        assert tensors[name].dtype == np.float32


def test_weights_are_not_copied(checkpoints):
    tensors = Tensors(checkpoints / "bert" / "model.safetensors")
    for array in tensors.values():
        assert not array.flags.writeable
        assert not array.flags.owndata


def test_another_stored_type_is_refused(tmp_path):
    save_file({"a": torch.zeros(3, dtype=torch.int64)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="a is I64, expected one of F32, F16, BF16"):
        Tensors(tmp_path / "model.safetensors")["a"]


@pytest.mark.parametrize("kept", [4, 100, -8])
def test_half_a_file_is_refused(checkpoints, tmp_path, kept):
    whole = (checkpoints / "bert" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:kept])
    with pytest.raises(SafetensorError):
        Tensors(tmp_path / "model.safetensors")
    shutil.copytree(checkpoints / "bert", tmp_path / "folder")
    (tmp_path / "folder" / "model.safetensors").write_bytes(whole[:kept])
    with pytest.raises(WeightsError, match="not a complete checkpoint"):
        load_encoder(tmp_path / "folder")


@pytest.mark.long
@pytest.mark.parametrize("model", ["bert", "colbert"])
def test_a_question_loads_neither_torch_nor_transformers_and_a_page_does(checkpoints, model):
    load_encoder(checkpoints / model)  # a checkpoint's conventions are noted the first time
    code = f"""
import sys
from visret import Page, load_encoder
encoder = load_encoder({str(checkpoints / model)!r}, dtype="float32")
encoder.encode_queries(["where is the circle"])
heavy = ("torch", "transformers", "sentence_transformers", "scipy", "onnxruntime")
print([name for name in heavy if name in sys.modules])
encoder.encode_pages([Page.from_text("the red circle", doc="a")])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True"]


def test_a_device_that_is_none_is_refused_when_the_model_is_loaded(checkpoints):
    with pytest.raises(RuntimeError, match="device"):
        load_encoder(checkpoints / "bert", device="abacus")


def test_the_sizes_of_a_checkpoint_are_read(checkpoints):
    layout = _layout.read(checkpoints / "bert")
    assert (layout.dim, layout.heads, layout.layers, layout.longest, layout.activation) == (32, 4, 2, 512, "gelu")
    assert sorted(layout.names()) == sorted(Tensors(checkpoints / "bert" / "model.safetensors"))
    assert Bert.of(checkpoints / "bert", device=torch.device("cpu"), dtype=torch.float32).dim == layout.dim


@pytest.mark.weights
def test_glyph_asks_without_torch():
    code = """
import sys
from visret import load_encoder
load_encoder("glyph", dtype="float32").encode_queries(["the red circle"])
print("torch" in sys.modules)
"""
    assert weights.location(registry.get("glyph")).here
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
