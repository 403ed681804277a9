"""The vectors of ColBERT checkpoints are those of the conventions they were trained with."""

import dataclasses
import json
import logging
import string

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import tiny_text
from support.vectors import assert_same
from tokenizers import Tokenizer

from visret.encoders import _torch, load_encoder
from visret.errors import InvalidModelSpec, WeightsError
from visret.types import Page

pytestmark = pytest.mark.weights

QUESTION = "Where is the co-efficient of (thermal) expansion given?"
TEXT = 'Thermal expansion: see table 3.1, "Co-efficients of linear (thermal) expansion", and the notes - p. 7.'
LONG = f"{TEXT} Antidisestablishmentarianism & its electroencephalographic counter-arguments; [sic!] " * 14
CLS, UNUSED0, UNUSED1, SEP, MASK = 101, 1, 2, 102, 103


def page_of(text):
    return Page.from_text(text, doc="a")


class Stanford:
    """ColBERT (Khattab and Zaharia 2020) as its repository computes it, for one text at a time."""

    def __init__(self, folder):
        from transformers import BertModel

        self.bert = BertModel.from_pretrained(tiny_text.minilm(), add_pooling_layer=False).eval()
        self.linear = load_file(folder / "model.safetensors")["linear.weight"]
        self.tokenizer = Tokenizer.from_file(str(tiny_text.minilm() / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.skiplist = [self.pieces(sign)[0] for sign in string.punctuation]

    def pieces(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def query(self, text, length=32):
        ids = [CLS, UNUSED0, *self.pieces(text)[: length - 3], SEP]
        filling = length - len(ids)
        return self.vectors(ids + [MASK] * filling, [1] * len(ids) + [0] * filling)

    def document(self, text, length=180):
        ids = [CLS, UNUSED1, *self.pieces(text)[: length - 3], SEP]
        return self.vectors(ids, [1] * len(ids))[~np.isin(ids, self.skiplist)]

    @torch.inference_mode()
    def vectors(self, ids, mask):
        hidden = self.bert(input_ids=torch.tensor([ids]), attention_mask=torch.tensor([mask])).last_hidden_state[0]
        return torch.nn.functional.normalize(hidden @ self.linear.T, dim=-1).numpy()


def split(stanford, text, room):
    """The text in parts of whole words, each as long as fits."""
    parts = [""]
    for word in text.split():
        longer = f"{parts[-1]} {word}".strip()
        if len(stanford.pieces(longer)) <= room:
            parts[-1] = longer
        else:
            parts.append(word)
    return parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stanford's layout; the tests of lengths rewrite its artifact.metadata."""
    return tiny_text.stanford(tmp_path_factory.mktemp("golden") / "stanford")


@pytest.fixture(scope="module")
def stanford(folder):
    with _torch.quiet():
        return Stanford(folder)


@pytest.fixture(scope="module")
def ours(folder):
    return load_encoder(folder, dtype="float32")


@pytest.fixture(scope="module", params=["stanford", "pylate", "native"])
def layout(request, published):
    """A checkpoint in visret and in sentence-transformers."""
    with _torch.quiet():
        from sentence_transformers import MultiVectorEncoder

        path = published(request.param)
        theirs = MultiVectorEncoder(str(path), device="cpu", local_files_only=True)
    return load_encoder(path, dtype="float32"), theirs


def test_the_vocabulary_is_berts(stanford):
    ids = [stanford.tokenizer.token_to_id(token) for token in ("[CLS]", "[unused0]", "[unused1]", "[SEP]", "[MASK]")]
    assert ids == [CLS, UNUSED0, UNUSED1, SEP, MASK]


def test_a_question_is_32_rows_and_does_not_see_its_masks(ours, stanford):
    (query,) = ours.encode_queries([QUESTION])
    assert query.vectors.shape == (32, 128)
    assert query.tokens[:4] == ("[CLS]", "[unused0]", "Where", "is")
    assert query.tokens[-2:] == ("[MASK]", "[MASK]")
    assert_same(query.vectors, stanford.query(QUESTION))
    words = query.content.sum()
    ids = [CLS, UNUSED0, *stanford.pieces(QUESTION), SEP]
    assert words == len(ids) - 3
    assert_same(query.vectors[: len(ids)], stanford.vectors(ids, [1] * len(ids)))


def test_a_page_has_its_markers_and_no_punctuation(ours, stanford):
    (page,) = ours.encode_pages([page_of(TEXT)])
    assert_same(page.vectors, stanford.document(TEXT))
    placed = page.where[~np.isnan(page.where[:, 0])].astype(int)
    assert len(page.vectors) - len(placed) == 3
    assert not any(sign in string.punctuation for sign in (TEXT[a:b] for a, b in placed))


def test_a_long_question_is_cut_aloud(ours, stanford, caplog):
    question = f"{QUESTION} " * 4
    with caplog.at_level(logging.WARNING, "visret"):
        (query,) = ours.encode_queries([question])
    pieces = len(stanford.pieces(question))
    assert f"reads the first 29 of the {pieces} word pieces of this question" in caplog.text
    assert_same(query.vectors, stanford.query(question))
    assert query.tokens[-1] == "[SEP]"


@pytest.mark.parametrize("length", [180, 300, 512])
def test_windows_are_as_long_as_the_checkpoint_reads(folder, stanford, length):
    """Of whole words, as many as fit."""
    tiny_text.stanford_metadata(folder, page_length=length)
    encoder = load_encoder(folder, dtype="float32")
    parts = split(stanford, LONG, length - 3)
    (page,) = encoder.encode_pages([page_of(LONG)])
    assert encoder.preprocessing["page_length"] == length
    assert len(parts) > 1
    assert_same(page.vectors, np.concatenate([stanford.document(part, length) for part in parts]))


def test_each_layout_has_the_vectors_of_its_library(layout):
    ours, theirs = layout
    questions = ["red", QUESTION, f"{QUESTION} " * 4]
    for question, query in zip(questions, ours.encode_queries(questions), strict=True):
        assert_same(query.vectors, theirs.encode_query(question, convert_to_numpy=True))
    texts = ["red", TEXT, "Dilatation, 7."]
    for text, page in zip(texts, ours.encode_pages([page_of(text) for text in texts]), strict=True):
        assert_same(page.vectors, theirs.encode_document(text, convert_to_numpy=True))


def test_each_layout_reads_windows_of_its_own_length(layout, stanford):
    ours, theirs = layout
    word = theirs.preprocess(["red"], prompt=theirs.prompts["document"], task="document")["input_ids"]
    parts = split(stanford, LONG, ours.preprocessing["page_length"] - (word.shape[1] - 1))
    (page,) = ours.encode_pages([page_of(LONG)])
    assert ours.preprocessing["page_length"] == theirs[0].document_length
    assert len(parts) > 2
    assert_same(page.vectors, np.concatenate(theirs.encode_document(parts, convert_to_numpy=True)))


def test_a_batch_changes_nothing(layout):
    ours, _ = layout
    texts, questions = [TEXT, "red", LONG, "Dilatation, 7."], [QUESTION, "red", f"{QUESTION} " * 4]
    for text, page in zip(texts, ours.encode_pages([page_of(text) for text in texts]), strict=True):
        assert_same(ours.encode_pages([page_of(text)])[0].vectors, page.vectors)
    for question, query in zip(questions, ours.encode_queries(questions), strict=True):
        assert_same(ours.encode_queries([question])[0].vectors, query.vectors)


def with_options(encoder, **options):
    return load_encoder(dataclasses.replace(encoder.spec, options={**encoder.spec.options, **options}), dtype="float32")


def test_lengths_can_be_chosen(folder, stanford):
    tiny_text.stanford_metadata(folder)
    ours = load_encoder(folder, dtype="float32")
    chosen = with_options(ours, query_length=48, page_length=19)
    assert (ours.preprocessing["query_length"], ours.preprocessing["page_length"]) == (32, 180)
    assert (chosen.preprocessing["query_length"], chosen.preprocessing["page_length"]) == (48, 19)
    assert_same(chosen.encode_queries([QUESTION])[0].vectors, stanford.query(QUESTION, 48))
    text = "thermal expansion of steel"
    (page,) = chosen.encode_pages([page_of(f"{text} " * 8)])
    assert_same(page.vectors, np.tile(stanford.document(f"{text} " * 4), (2, 1)))


def test_impossible_lengths_are_refused(ours, minilm):
    with pytest.raises(InvalidModelSpec, match="reads at most 512 ids, not the 513 asked for a document"):
        with_options(ours, page_length=513)
    with pytest.raises(WeightsError, match=r"longest query \(3\) has no room for words"):
        with_options(ours, query_length=3).encode_queries(["red"])
    with pytest.raises(InvalidModelSpec, match="query_length and page_length are for ColBERT checkpoints"):
        with_options(minilm, page_length=100)


def test_a_question_can_be_filled_up_and_still_be_long(tmp_path):
    """The strategy "min": 8 ids at least, 24 at most."""
    folder = tiny_text.native(tmp_path / "native")
    settings = folder / "sentence_bert_config.json"
    expansion = {"strategy": "min", "attend": False, "length": 8, "token": "[unused5]"}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "query_expansion": expansion}))
    with _torch.quiet():
        from sentence_transformers import MultiVectorEncoder

        theirs = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    ours = load_encoder(folder, dtype="float32")
    for question, rows in (("red", 8), (QUESTION, 17), (f"{QUESTION} " * 4, 24)):
        (query,) = ours.encode_queries([question])
        assert_same(query.vectors, theirs.encode_query(question, convert_to_numpy=True))
        assert len(query.vectors) == rows
    assert ours.encode_queries(["red"])[0].tokens[5:] == ("[unused5]",) * 3


def test_a_checkpoint_that_pools_is_refused(tmp_path):
    """Its vectors would be given to the wrong words."""
    folder = tiny_text.native(tmp_path / "native")
    modules = json.loads((folder / "modules.json").read_text())
    kind = "sentence_transformers.multi_vector_encoder.modules.HierarchicalTokenPooling"
    modules.append({"idx": 4, "name": "4", "path": "4_Pooling", "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "4_Pooling").mkdir()
    (folder / "4_Pooling" / "config.json").write_text('{"pool_factor": 2}')
    with pytest.raises(WeightsError, match="it pools its vectors"):
        load_encoder(folder)


def test_every_piece_of_a_question_has_its_own_vector(ours):
    """Words the tokenizer drops, or does not know, shift nothing."""
    (plain,) = ours.encode_queries(["red circle"])
    (query,) = ours.encode_queries(["\u200b red circle"])
    assert query.tokens[:5] == ("[CLS]", "[unused0]", "red", "circle", "[SEP]")
    assert np.array_equal(query.vectors, plain.vectors)
    assert plain.content.tolist() == [False, False, True, True, *[False] * 28]
