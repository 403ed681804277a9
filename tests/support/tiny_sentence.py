"""Tiny models of sentence-transformers as they are added to an index: single vectors, SPLADE, and one without inference
for questions."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer

from support.tiny import bert, noise, save, write_json


def single(
    folder: Path, *, longest: int = 32, similarity: str = "cosine", prompts: dict[str, str] | None = None
) -> Path:
    """A BERT whose mean token vector is the vector of a text, as all-MiniLM-L6-v2 is laid out."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    plain = _untruncated(bert(folder.parent / f"{folder.name}-plain"))
    backbone = Transformer(str(plain), max_seq_length=longest)
    made = SentenceTransformer(
        modules=[backbone, Pooling(32, "mean")], device="cpu", similarity_fn_name=similarity, prompts=prompts or {}
    )
    made.save_pretrained(str(folder), create_model_card=False)
    return folder


def static(folder: Path) -> Path:
    """A vector for each token, of which a text has the mean, and no network: as model2vec's models are."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    plain = _untruncated(bert(folder.parent / f"{folder.name}-plain"))
    tokenizer = Tokenizer.from_file(str(plain / "tokenizer.json"))
    module = StaticEmbedding(tokenizer, embedding_weights=noise("static", (tokenizer.get_vocab_size(), 32)).numpy())
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def splade(folder: Path, *, longest: int = 32) -> Path:
    """A BERT whose guesses of words, joined by their maxima, are the vector of a text."""
    from sentence_transformers import SparseEncoder

    made = SparseEncoder(modules=_splade_modules(folder, longest), device="cpu")
    made.save_pretrained(str(folder), create_model_card=False)
    return folder


def inference_free(folder: Path, *, longest: int = 32) -> Path:
    """The same for pages; a question's tokens have fixed weights, as OpenSearch's models for documents only."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    modules = _splade_modules(folder, longest)
    tokenizer = modules[0].tokenizer
    weight = noise("idf", (len(tokenizer),)).abs()
    question = SparseStaticEmbedding(tokenizer, weight=weight, frozen=True)
    router = Router.for_query_document(query_modules=[question], document_modules=modules)
    made = SparseEncoder(modules=[router], device="cpu", similarity_fn_name="dot")
    made.save_pretrained(str(folder), create_model_card=False)
    return folder


def pictures(folder: Path, kind: str) -> Path:
    """A CLIP or a SigLIP, of transformers alone: vectors of pictures and of texts in one space."""
    import transformers as hf

    plain = _untruncated(bert(folder))
    (plain / "modules.json").unlink()
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    words = {"vocab_size": json.loads((plain / "config.json").read_text())["vocab_size"], "max_position_embeddings": 32}
    text, vision = {**size, **words, "eos_token_id": 3, "pad_token_id": 0}, {**size, "image_size": 32, "patch_size": 8}
    if kind == "CLIP":
        config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    else:
        config = hf.SiglipConfig(text_config={**text, "projection_size": 32}, vision_config=vision)
        named = json.loads((plain / "tokenizer_config.json").read_text())  # without a mask, as it was trained
        write_json(plain / "tokenizer_config.json", {**named, "model_input_names": ["input_ids"]})
    save(plain, getattr(hf, type(config).__name__.replace("Config", "Model"))(config), config)
    edges = {"height": 32, "width": 32}
    image = {"image_processor_type": f"{type(config).__name__.removesuffix('Config')}ImageProcessor", "do_resize": True}
    shaped = {"size": {"shortest_edge": 32}, "crop_size": edges} if kind == "CLIP" else {"size": edges}
    write_json(
        folder / "preprocessor_config.json", {**image, **shaped, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    )
    return folder


def _splade_modules(folder: Path, longest: int) -> list[torch.nn.Module]:
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling
    from transformers import BertConfig, BertForMaskedLM

    plain = _untruncated(bert(folder.parent / f"{folder.name}-plain"))
    (plain / "modules.json").unlink()
    config = BertConfig(**json.loads((plain / "config.json").read_text()))
    save(plain, BertForMaskedLM(config), config, embedding=32**-0.5)
    return [Transformer(str(plain), transformer_task="fill-mask", max_seq_length=longest), SpladePooling("max")]


def _untruncated(folder: Path) -> Path:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(folder / "tokenizer.json"))
    named = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", named)
    return folder
