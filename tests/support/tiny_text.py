"""ColBERT checkpoints in the layouts they are published in: the vocabulary and weights of all-minilm-l6-v2, which has
BERT's `[unused0]` and `[unused1]`, and a random projection to 128 dimensions."""

from __future__ import annotations

import json
import math
import shutil
import string
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer
from torch import nn

from support.tiny import write_json
from visret.models import registry, weights

DIM = 128
_WORDPIECE = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def minilm() -> Path:
    """The folder of the sentence model that the checkpoints are made from."""
    folder = weights.location(registry.get("all-minilm-l6-v2")).path
    assert folder is not None
    return folder


def projection() -> torch.Tensor:
    """(128, 384), the same in all layouts."""
    return torch.randn(DIM, 384, generator=torch.Generator().manual_seed(0)) / math.sqrt(384)


def stanford(folder: Path, *, query_length: int = 32, page_length: int = 180) -> Path:
    """As Stanford's ColBERT saves: everything in one file, conventions in artifact.metadata, markers by their id."""
    _tokenizer(folder)
    weights = {f"bert.{name}": value for name, value in _weights().items()}
    save_file({**weights, "linear.weight": projection()}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((minilm() / "config.json").read_text())
    write_json(folder / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    stanford_metadata(folder, query_length=query_length, page_length=page_length)
    return folder


def stanford_metadata(folder: Path, *, query_length: int = 32, page_length: int = 180) -> None:
    """Write artifact.metadata."""
    conventions = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "dim": DIM,
        "similarity": "cosine",
        "query_maxlen": query_length,
        "doc_maxlen": page_length,
        "attend_to_mask_tokens": False,
        "mask_punctuation": True,
        "checkpoint": "bert-base-uncased",
    }
    write_json(folder / "artifact.metadata", conventions)


def pylate(folder: Path) -> Path:
    """As PyLate saves: markers are added tokens with their space, words attend to the expansion."""
    _tokenizer(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken(marker, normalized=True, special=False) for marker in ("[Q] ", "[D] ")])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", {**settings, "pad_token": "[MASK]"})
    weights, table = _weights(), "embeddings.word_embeddings.weight"
    weights[table] = torch.cat([weights[table], weights[table][[1, 2]]])  # the markers mean what [unused0] does
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((minilm() / "config.json").read_text())
    write_json(folder / "config.json", {**config, "vocab_size": len(weights[table])})
    types = ("sentence_transformers.models.Transformer", "", "pylate.models.Dense.Dense", "1_Dense")
    modules = [{"idx": i, "name": str(i), "path": types[2 * i + 1], "type": types[2 * i]} for i in range(2)]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 59, "do_lower_case": False})
    conventions = {
        "model_type": "ColBERT",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 24,
        "document_length": 60,
        "attend_to_expansion_tokens": True,
        "skiplist_words": list(string.punctuation),
        "do_query_expansion": True,
    }
    conventions |= {"prompts": {}, "similarity_fn_name": "MaxSim"}
    write_json(folder / "config_sentence_transformers.json", conventions)
    (folder / "1_Dense").mkdir()
    identity = "torch.nn.modules.linear.Identity"
    dense = {"in_features": 384, "out_features": DIM, "bias": False, "activation_function": identity}
    write_json(folder / "1_Dense" / "config.json", {**dense, "use_residual": False})
    save_file({"linear.weight": projection()}, folder / "1_Dense" / "model.safetensors", metadata={"format": "pt"})
    return folder


def native(folder: Path) -> Path:
    """As sentence-transformers saves: prompts of words, nothing filled up, nothing skipped."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    dense = Dense(
        384,
        DIM,
        bias=False,
        activation_function=nn.Identity(),
        module_input_name="token_embeddings",
        init_weight=projection(),
    )
    backbone = Transformer(str(minilm()), query_length=24, document_length=60)
    modules = [backbone, dense, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    made = MultiVectorEncoder(modules=modules, prompts={"query": "query: ", "document": "passage: "}, device="cpu")
    made.save_pretrained(str(folder), create_model_card=False)
    return folder


def _weights() -> dict[str, torch.Tensor]:
    return load_file(minilm() / "model.safetensors")


def _tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in _WORDPIECE:
        shutil.copyfile(minilm() / name, folder / name)
