"""Sentence models of every architecture, token by token: the vectors are the token states of sentence-transformers."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny

from visret.encoders import _dtypes, _layout, _torch, load_encoder
from visret.errors import InvalidModelSpec, ShapeError, WeightsError
from visret.models import registry
from visret.types import Page

KINDS = ["bert", "roberta", "xlm-roberta", "mpnet", "modernbert", "distilbert", "electra"]
BY_NUMPY = ["bert", "roberta", "xlm-roberta", "mpnet"]
TEXTS = [
    "Where is the table of sales?",
    "red circle " * 60 + "in the report",  # distances of more than 128 pieces
    "unhyphenated",
]


def page_of(text):
    return Page.from_text(text, doc="a")


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("sentence") / request.param
    with _torch.quiet():
        return tiny.bert(path) if request.param == "bert" else tiny.sentence(path, request.param)


@pytest.fixture(scope="module")
def theirs(folder):
    """The token states of a text as sentence-transformers gives them, without those of the markers."""
    with _torch.quiet():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    def encode(text):
        states = model.encode(text, output_value="token_embeddings", convert_to_numpy=False)
        return torch.nn.functional.normalize(states, dim=-1).numpy()[1:-1]

    return encode


@pytest.fixture(scope="module")
def ours(folder):
    return load_encoder(folder, dtype="float32")


def test_its_vectors_are_the_token_states_of_its_library(ours, theirs):
    assert ours.spec.dim == 32
    for page, query, text in zip(
        ours.encode_pages([page_of(text) for text in TEXTS]), ours.encode_queries(TEXTS), TEXTS, strict=True
    ):
        expected = theirs(text)
        np.testing.assert_allclose(page.vectors, expected, atol=1e-5, rtol=0)
        np.testing.assert_allclose(query.vectors, expected, atol=1e-5, rtol=0)


def test_a_batch_changes_nothing(ours):
    for text, page in zip(TEXTS, ours.encode_pages([page_of(text) for text in TEXTS]), strict=True):
        np.testing.assert_allclose(ours.encode_pages([page_of(text)])[0].vectors, page.vectors, atol=1e-5, rtol=0)


def test_missing_weights_are_an_error(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    stored = load_file(tmp_path / "model.safetensors")
    name = next(name for name in sorted(stored) if "bias" in name or "norm" in name)
    save_file({key: value for key, value in stored.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=name.split(".")[-1]):
        load_encoder(tmp_path, dtype="float32")


@pytest.mark.long
@pytest.mark.parametrize("folder", sorted({*KINDS} - {"bert", "roberta"}), indirect=True)
def test_onnxruntime_gives_the_same_vectors(ours, folder, monkeypatch, tmp_path):
    """test_onnx.py has BERT, and RoBERTa computes as XLM-R does."""
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path))
    other = load_encoder(folder, options={"backend": "onnx"})
    for text, page in zip(TEXTS, ours.encode_pages([page_of(text) for text in TEXTS]), strict=True):
        np.testing.assert_allclose(other.encode_pages([page_of(text)])[0].vectors, page.vectors, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory):
    with _torch.quiet():
        return tiny.sentence(tmp_path_factory.mktemp("sentence") / "mpnet", "mpnet", dim=64)


def test_buckets_of_distances_are_those_of_transformers():
    with _torch.quiet():
        from transformers.models.mpnet.modeling_mpnet import MPNetEncoder
    distances = torch.arange(-600, 601)
    expected = MPNetEncoder.relative_position_bucket(distances).numpy()
    assert np.array_equal(_layout.buckets_of(distances.numpy(), 32), expected)


def test_prompts_of_a_checkpoint_are_read_and_are_no_vectors(mpnet, tmp_path):
    import shutil

    shutil.copytree(mpnet, tmp_path, dirs_exist_ok=True)
    prompts = {"query": "where is: ", "passage": "page: "}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    plain, prompted = load_encoder(mpnet, dtype="float32"), load_encoder(tmp_path, dtype="float32")
    for before, asked in ((prompts["query"], True), (prompts["passage"], False)):
        text = "red circle in the report"
        if asked:
            (whole,), (part,) = plain.encode_queries([before + text]), prompted.encode_queries([text])
        else:
            (whole,), (part,) = plain.encode_pages([page_of(before + text)]), prompted.encode_pages([page_of(text)])
        assert 0 < len(part.vectors) < len(whole.vectors)
        np.testing.assert_allclose(whole.vectors[-len(part.vectors) :], part.vectors, atol=1e-5, rtol=0)
    assert prompted.preprocessing["prompts"] == {"query": "where is: ", "document": "page: "}


def test_eight_bits_are_near_and_do_not_depend_on_the_batch(mpnet):
    whole, eight = load_encoder(mpnet, dtype="float32"), load_encoder(mpnet, dtype="int8")
    assert eight.preprocessing["dtype"] == "int8"
    pages = [page_of(text) for text in TEXTS]
    for page, exact, near in zip(pages, whole.encode_pages(pages), eight.encode_pages(pages), strict=True):
        assert (exact.vectors * near.vectors).sum(1).min() > 0.98
        (alone,) = eight.encode_pages([page])
        np.testing.assert_allclose(alone.vectors, near.vectors, atol=2e-2, rtol=0)  # a rounding may fall otherwise
        assert np.abs(alone.vectors - near.vectors).mean() < 1e-4


def test_eight_bits_without_the_instructions_are_the_same(mpnet, monkeypatch):
    found = []
    for native in (True, False):
        monkeypatch.setattr(_torch, "cpu_has_int8", lambda native=native: native)
        (page,) = load_encoder(mpnet, dtype="int8").encode_pages([page_of(TEXTS[1])])
        found.append(page.vectors)
    assert np.abs(found[0] - found[1]).mean() < 1e-4


@pytest.mark.parametrize(("native", "expected"), [(True, "int8"), (False, "float32")])
def test_an_entry_may_choose_eight_bits_where_the_cpu_is_fast_at_them(mpnet, monkeypatch, native, expected):
    monkeypatch.setattr(_torch, "cpu_has_int8", lambda: native)
    monkeypatch.setattr(_dtypes, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(_dtypes, "seconds", lambda: {torch.float32: 2, torch.int8: 1})
    encoder = load_encoder(mpnet, options={"eight_bit": True}, device="cpu")
    assert encoder.preprocessing["dtype"] == expected
    assert load_encoder(mpnet, device="cpu").preprocessing["dtype"] == "float32"


def test_eight_bits_are_refused_where_they_cannot_be(mpnet, tmp_path):
    with _torch.quiet():
        other = tiny.sentence(tmp_path / "other", "distilbert")
    with pytest.raises(ShapeError, match="dtype must be auto, float32, bfloat16, float16, got 'int8'"):
        load_encoder(other, dtype="int8")
    with pytest.raises(InvalidModelSpec, match="eight_bit: only for BERT and its kin"):
        load_encoder(other, options={"eight_bit": True})
    with pytest.raises(ShapeError, match="int8 is computed on the CPU, not on meta"):
        load_encoder(mpnet, dtype="int8", device="meta").encode_pages([page_of("red")])


def test_questions_need_no_torch_where_numpy_computes_them(folder):
    known = _layout.known(json.loads((folder / "config.json").read_text()))
    assert known is (folder.name in BY_NUMPY)
    assert registry.resolve(folder).options == {"token_by_token": True}
