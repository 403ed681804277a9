"""Questions of ColBERT checkpoints without their library: what it makes of a checkpoint is noted, and held to."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny
from support.texts import LONG, ODD, benchmark_questions
from support.vectors import assert_same

from visret.encoders import _checkpoint, _multivector, _torch, load_encoder
from visret.types import Page


@pytest.fixture
def notes(own_cache):
    """The folder of the notes, empty."""
    return own_cache / "questions"


def load(folder):
    return load_encoder(folder, dtype="float32")


def assert_same_as_torch(encoder, question):
    """Its vectors, and which of them count, are those of the library in float32."""
    model = encoder._model
    reading = encoder.read(question, "query")
    ids = reading.framed(slice(0, encoder._room(reading, "query")))
    (found,) = model.encode([ids], "query")
    (expected,) = model._model().encode([ids], "query", width=model._width)
    assert_same(found.vectors, expected.vectors)
    np.testing.assert_array_equal(found.counts, expected.counts)


@pytest.fixture(scope="module", params=["stanford", "pylate", "native"])
def layout(request, published):
    return published(request.param)


@pytest.mark.weights
def test_every_layout_has_its_questions_in_numpy(layout):
    encoder = load(layout)
    assert encoder._model._questions is not None
    for question in [*benchmark_questions()[:20], *ODD, LONG]:
        assert_same_as_torch(encoder, question)


@pytest.mark.weights
def test_what_is_noted_is_what_was_found(layout, notes, monkeypatch):
    """The second time, without the library, the encoder is the same in all it says and gives."""
    first = load(layout)
    (note,) = notes.iterdir()
    monkeypatch.setattr(_multivector, "MultiVector", None)  # nobody needs it any more
    second = load(layout)
    assert second.preprocessing == first.preprocessing
    for expected, found in zip(first.encode_queries(ODD), second.encode_queries(ODD), strict=True):
        np.testing.assert_array_equal(found.vectors, expected.vectors)
        np.testing.assert_array_equal(found.content, expected.content)
        assert found.tokens == expected.tokens
    assert json.loads(note.read_text("utf-8"))["network"]["layout"]["layers"] == 6


def changed(checkpoints, folder, **config):
    shutil.copytree(checkpoints / "colbert", folder, dirs_exist_ok=True)
    there = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**there, **config}))
    return folder


@pytest.mark.parametrize("activation", ["gelu_new", "relu", "silu"])
def test_other_activations_are_computed(checkpoints, notes, tmp_path, activation):
    encoder = load(changed(checkpoints, tmp_path / activation, hidden_act=activation))
    assert encoder._model._questions is not None
    assert_same_as_torch(encoder, "where is the red circle")


def test_an_activation_that_is_not_known_goes_through_torch(checkpoints, notes, tmp_path):
    encoder = load(changed(checkpoints, tmp_path / "quick", hidden_act="quick_gelu"))
    assert encoder._model._questions is None
    assert_same_as_torch(encoder, "where is the red circle")
    assert load(tmp_path / "quick")._model._questions is None  # as it is noted


def dense(folder, *, bias, activation, residual, square):
    """A sentence-transformers checkpoint with two layers behind the encoder."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    tiny.bert(folder / "bert")
    generator = torch.Generator().manual_seed(1)

    def layer(inside, outside):
        return Dense(
            inside,
            outside,
            bias=bias,
            activation_function=activation,
            module_input_name="token_embeddings",
            init_weight=torch.randn(outside, inside, generator=generator) / inside**0.5,
            init_bias=torch.randn(outside, generator=generator) if bias else None,
            use_residual=residual,
        )

    backbone = Transformer(str(folder / "bert"), query_length=24, document_length=60)
    mask = MultiVectorMask(skiplist_words=[",", "the"], skiplist_tasks=["query", "document"])
    modules = [backbone, layer(32, 32 if square else 24), layer(32 if square else 24, 16), mask]
    modules.append(Normalize(module_input_name="token_embeddings"))
    made = MultiVectorEncoder(modules=modules, device="cpu")
    made.save_pretrained(str(folder / "made"), create_model_card=False)
    return folder / "made"


@pytest.mark.parametrize(
    ("activation", "known"),
    [(torch.nn.Identity(), True), (torch.nn.Tanh(), True), (torch.nn.GELU(), True), (torch.nn.Hardswish(), False)],
)
@pytest.mark.parametrize(
    ("bias", "residual", "square"), [(False, False, False), (True, True, True), (True, True, False)]
)
def test_layers_behind_the_encoder(notes, tmp_path, activation, known, bias, residual, square):
    with _torch.quiet():
        folder = dense(tmp_path, bias=bias, activation=activation, residual=residual, square=square)
    encoder = load(folder)
    assert (encoder._model._questions is not None) == known
    for question in ("red", "the red circle, on the page", "a " * 40):
        assert_same_as_torch(encoder, question)


def test_words_that_a_checkpoint_skips_in_questions_have_no_vector(notes, tmp_path):
    with _torch.quiet():
        folder = dense(tmp_path, bias=False, activation=torch.nn.Identity(), residual=False, square=False)
    (query,) = load(folder).encode_queries(["the red, circle"])
    assert query.tokens == ("[CLS]", "red", "circle", "[SEP]")


def test_a_network_that_comes_out_otherwise_is_not_used(checkpoints, notes, monkeypatch):
    """As a library that does something else with the same configuration."""
    scale = _multivector.Questions.__call__

    def other(self, ids, *, width):
        scored = scale(self, ids, width=width)
        return scored._replace(vectors=scored.vectors + np.float32(2e-4))

    monkeypatch.setattr(_multivector.Questions, "__call__", other)
    encoder = load(checkpoints / "colbert")
    assert encoder._model._questions is None
    assert json.loads(next(notes.iterdir()).read_text("utf-8"))["network"] is None
    monkeypatch.undo()
    assert_same_as_torch(encoder, "where is the red circle")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"network": {}}', '{"tokenizer": 3}'])
def test_a_damaged_note_is_made_again(checkpoints, notes, content):
    load(checkpoints / "colbert")
    (note,) = notes.iterdir()
    whole = note.read_text("utf-8")
    note.write_text(content, "utf-8")
    assert_same_as_torch(load(checkpoints / "colbert"), "where is the red circle")
    assert json.loads(note.read_text("utf-8")) == json.loads(whole)


def test_another_checkpoint_or_library_has_another_note(checkpoints, notes, tmp_path, monkeypatch):
    load(checkpoints / "colbert")
    tiny.colbert(tmp_path / "other", query_length=9)
    load(tmp_path / "other")
    assert len(list(notes.iterdir())) == 2
    monkeypatch.setattr(_checkpoint, "version", lambda library: "0.0")
    load(checkpoints / "colbert")
    assert len(list(notes.iterdir())) == 3


def test_without_a_cache_folder_it_is_found_out_each_time(checkpoints, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "visret"):
        assert_same_as_torch(load(checkpoints / "colbert"), "where is the red circle")
    assert not caplog.messages


def test_pages_are_those_of_the_library(checkpoints, notes):
    """Whether they are encoded by the encoder that found out, or by one that read the note."""
    pages = [Page.from_text("the red circle, on a page.", doc="a")]
    first, second = load(checkpoints / "colbert"), load(checkpoints / "colbert")
    np.testing.assert_array_equal(first.encode_pages(pages)[0].vectors, second.encode_pages(pages)[0].vectors)


def test_half_precision_is_for_pages(checkpoints, notes):
    exact, half = load(checkpoints / "colbert"), load_encoder(checkpoints / "colbert", dtype="bfloat16")
    (expected,), (found,) = exact.encode_queries(["where is it"]), half.encode_queries(["where is it"])
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert half.preprocessing["dtype"] == "bfloat16"


def test_a_network_in_half_precision_is_computed_in_full(checkpoints, notes, tmp_path):
    shutil.copytree(checkpoints / "colbert", tmp_path / "half")
    weights = load_file(tmp_path / "half" / "model.safetensors")
    save_file({k: v.half() for k, v in weights.items()}, tmp_path / "half" / "model.safetensors", {"format": "pt"})
    encoder = load(tmp_path / "half")
    assert encoder._model._questions is not None
    assert_same_as_torch(encoder, "where is the red circle")
