"""The table of architectures: the classes of checkpoints that visret can load, with a row for each class.

A family adds the classes that it loads here. Recognising a folder, checking an entry of models.yaml and loading weights
all read this table. It is data, so that a checkpoint can be recognised before torch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["ARCHITECTURES", "CONFIG", "CROSS_ENCODER", "SENTENCE_TRANSFORMERS", "Architecture", "of"]

CONFIG = "config.json"
SENTENCE_TRANSFORMERS = "config_sentence_transformers.json"
CROSS_ENCODER = "CrossEncoder"
"""The class that stands for every checkpoint that sentence-transformers loads as a CrossEncoder."""

_COLPALI_ENGINE = "colpali_engine.models"


class Architecture(NamedTuple):
    """A class of checkpoints, and what its configuration does not say.

    family: a file in visret/encoders/, or in the folder of another task. modality: "text" or "image".
    dim: the dimensions of a vector, unless the configuration has the key `dim_key`, or is that of a text model, which
        has them elsewhere.
    options: the options in the entry of a folder that is recognised.
    named_in: the file that names the class: in `architectures` of config.json (for an adapter, in `auto_mapping` of
        adapter_config.json), or in `model_type` of config_sentence_transformers.json; "" for a class that chat models
        have too, so that only an entry can say that a checkpoint is a reranker.
    library, processor: the module that has a class of this name, and its class that prepares pages and questions; ""
        if the family does not load by class.
    task: as in `ModelSpec`.
    """

    family: str
    modality: str
    dim: int = 128
    dim_key: str = ""
    options: Mapping[str, Any] = {}
    named_in: str = CONFIG
    library: str = ""
    processor: str = ""
    task: str = "encode"


def _colpali_engine(family: str, processor: str, *, dim: int = 128, dim_key: str = "") -> Architecture:
    """Make the row of a class of colpali-engine, which has most dimensions in its code."""
    return Architecture(family, "image", dim, dim_key, library=_COLPALI_ENGINE, processor=processor)


def _bi(processor: str) -> Architecture:
    """Make the row of a class of colpali-engine with a single vector, whose dimensions are known when it is loaded."""
    return Architecture("bi", "image", 0, "hidden_size", library=_COLPALI_ENGINE, processor=processor, task="embed")


def _transformers(family: str, processor: str) -> Architecture:
    """Make the row of a class of transformers, which names the dimensions in the configuration."""
    return Architecture(family, "image", dim_key="embedding_dim", library="transformers", processor=processor)


def _sentence_transformers(options: Mapping[str, Any] = {}) -> Architecture:
    """Make the row of a text model that is a folder of sentence-transformers."""
    return Architecture("colbert", "text", options=options, named_in=SENTENCE_TRANSFORMERS)


ARCHITECTURES: Mapping[str, Architecture] = {
    "HF_ColBERT": Architecture("colbert", "text"),
    "ColBERT": _sentence_transformers(),
    "MultiVectorEncoder": _sentence_transformers(),
    "SentenceTransformer": _sentence_transformers({"token_by_token": True}),
    "ColPali": _colpali_engine("colpali", "ColPaliProcessor"),
    "ColPaliForRetrieval": _transformers("colpali", "ColPaliProcessor"),
    "ColQwen2": _colpali_engine("colqwen", "ColQwen2Processor"),
    "ColQwen2ForRetrieval": _transformers("colqwen", "ColQwen2Processor"),
    "ColQwen2_5": _colpali_engine("colqwen", "ColQwen2_5_Processor"),
    "ColQwen2_5Omni": _colpali_engine("colqwen", "ColQwen2_5OmniProcessor"),
    "ColQwen3": _colpali_engine("colqwen", "ColQwen3Processor", dim=320, dim_key="dim"),
    "ColQwen3_5": _colpali_engine("colqwen", "ColQwen3_5Processor", dim_key="dim"),
    "ColIdefics3": _colpali_engine("colidefics", "ColIdefics3Processor"),
    "ColModernVBert": _colpali_engine("colidefics", "ColModernVBertProcessor"),
    "ColModernVBertForRetrieval": _transformers("colidefics", "ColModernVBertProcessor"),
    "ColGemma3": _colpali_engine("colgemma", "ColGemmaProcessor3"),
    "BiQwen2": _bi("BiQwen2Processor"),
    "BiQwen2_5": _bi("BiQwen2_5_Processor"),
    "BiQwen3": _bi("BiQwen3Processor"),
    "BiQwen3_5": _bi("BiQwen3_5Processor"),
    "BiIdefics3": _bi("BiIdefics3Processor"),
    "BiModernVBert": _bi("BiModernVBertProcessor"),
    "BiPali": _bi("ColPaliProcessor"),
    "CLIPModel": Architecture("sentence", "image", 0, "projection_dim", task="embed"),
    "SiglipModel": Architecture("sentence", "image", 0, "projection_dim", task="embed"),
    "SparseEncoder": Architecture("sentence", "text", 0, named_in=SENTENCE_TRANSFORMERS, task="sparse"),
    CROSS_ENCODER: Architecture("cross_encoder", "text", 0, named_in=SENTENCE_TRANSFORMERS, task="rerank"),
    "JinaVLForRanking": Architecture("jina_vl", "image", 0, task="rerank"),
    "Qwen2VLForConditionalGeneration": Architecture("mono_qwen", "image", 0, named_in="", task="rerank"),
    "Qwen3ForCausalLM": Architecture("qwen3", "text", 0, named_in="", task="rerank"),
    "Qwen3VLForConditionalGeneration": Architecture("qwen3_vl", "image", 0, named_in="", task="rerank"),
}


def of(family: str) -> dict[str, Architecture]:
    """Return the rows of a family by name; none for a family whose weights have no class."""
    return {name: row for name, row in ARCHITECTURES.items() if row.family == family}
