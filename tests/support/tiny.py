"""Tiny checkpoints with random weights, written as a model hub serves them: real architectures, a megabyte each.

Matrices are drawn from N(0, 1 / fan-in), embeddings from N(0, 1), and norms are jittered: with the libraries' own
initialisation attention is nearly uniform, and a wrong mask or position would hardly show.
"""

from __future__ import annotations

import json
import math
import string
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn

WORDS = [
    "a",
    "and",
    "box",
    "circle",
    "column",
    "figure",
    "green",
    "hyphen",
    "in",
    "is",
    "line",
    "of",
    "on",
    "page",
    "red",
    "report",
    "sales",
    "table",
    "text",
    "the",
    "where",
]
TEXTS = [
    "the red box is on the page",
    "a table of sales",
    "the circle is green and the line is in the column",
    "report",
    "the box, the box: a hyphen in the text? on the page.",
]
PIECES = ["ation", "ing", "s", "un", "where"]


def bert(folder: Path, *, dim: int = 32, layers: int = 2) -> Path:
    """A sentence-transformers folder of a BERT sentence model, without a head."""
    from transformers import BertConfig, BertModel

    tokenizer = _wordpiece(folder)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * dim,
        max_position_embeddings=512,
    )
    save(folder, BertModel(config, add_pooling_layer=False), config)
    write_json(
        folder / "modules.json",
        [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}],
    )
    return folder


def sentence(folder: Path, kind: str, *, dim: int = 32) -> Path:
    """A sentence-transformers folder of another architecture, by its `model_type`, with the tokenizer of `bert`."""
    import transformers as hf

    bert(folder, dim=dim)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": dim,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * dim,
        "pad_token_id": 0,
    }
    roberta = {**sizes, "max_position_embeddings": 513, "type_vocab_size": 1}
    makers = {
        "xlm-roberta": lambda: hf.XLMRobertaModel(hf.XLMRobertaConfig(**roberta), add_pooling_layer=False),
        "roberta": lambda: hf.RobertaModel(hf.RobertaConfig(**roberta), add_pooling_layer=False),
        "mpnet": lambda: hf.MPNetModel(
            hf.MPNetConfig(**{**sizes, "pad_token_id": 1, "max_position_embeddings": 514}), add_pooling_layer=False
        ),
        "modernbert": lambda: hf.ModernBertModel(
            hf.ModernBertConfig(**sizes, local_attention=16, global_attn_every_n_layers=2)
        ),
        "distilbert": lambda: hf.DistilBertModel(
            hf.DistilBertConfig(vocab_size=vocabulary, dim=dim, hidden_dim=2 * dim, n_layers=2, n_heads=4)
        ),
        "electra": lambda: hf.ElectraModel(hf.ElectraConfig(**sizes, embedding_size=dim)),
    }
    model = makers[kind]()
    save(folder, model, model.config)
    return folder


def colbert(folder: Path, *, dim: int = 16, query_length: int = 12, page_length: int = 40) -> Path:
    """A ColBERT checkpoint in Stanford's format, on `bert`: markers, [MASK] expansion, a punctuation skiplist."""
    bert(folder)
    (folder / "modules.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    from safetensors.torch import load_file

    weights = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    weights["linear.weight"] = noise("linear.weight", (dim, config["hidden_size"])) / math.sqrt(config["hidden_size"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(
        folder / "artifact.metadata",
        {
            "query_token_id": "[unused0]",
            "doc_token_id": "[unused1]",
            "dim": dim,
            "query_maxlen": query_length,
            "doc_maxlen": page_length,
            "attend_to_mask_tokens": False,
            "mask_punctuation": True,
        },
    )
    return folder


def _wordpiece(folder: Path) -> Tokenizer:
    """BERT's tokenizer with a vocabulary of letters and a few words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*special, "[unused0]", "[unused1]", *signs, *(f"##{sign}" for sign in signs)]
    pieces += [word for word in WORDS if len(word) > 1] + [f"##{piece}" for piece in PIECES if len(piece) > 1]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    add_specials(tokenizer, special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    names = zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True)
    save_tokenizer(folder, tokenizer, {"tokenizer_class": "BertTokenizer", "model_max_length": 512, **dict(names)})
    # as in published sentence models: settings of its training that must not cut a page
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def byte_tokenizer(folder: Path, controls: list[str]) -> Tokenizer:
    """Qwen's tokenizer with a vocabulary of bytes and a few words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: number for number, sign in enumerate(alphabet)}
    merges = []
    for word in ("Ġ" + word for word in WORDS if len(word) > 1):
        for end in range(1, len(word)):
            merges.append((word[:end], word[end]))
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, list(dict.fromkeys(merges))))
    split = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    add_specials(tokenizer, controls)
    settings = {"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    save_tokenizer(folder, tokenizer, {**settings, "additional_special_tokens": controls[1:]})
    return tokenizer


def add_specials(tokenizer: Tokenizer, names: list[str]) -> None:
    """Tokens that are never part of a text."""
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])


def save_tokenizer(folder: Path, tokenizer: Tokenizer, settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", settings)


def save(folder: Path, model: nn.Module, config: Any, *, seed: int = 0, embedding: float = 1) -> None:
    """Weights drawn by `seed`, and the configuration. embedding: the size of an embedding's components."""
    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    weights = {}
    for name, value in model.state_dict().items():
        if "lm_head" in name:  # of no use here, and published ones have none
            continue
        drawn = noise(f"{name}{seed or ''}", value.shape)
        if name in embeddings:
            weights[name] = drawn * embedding
        elif value.ndim > 1:
            weights[name] = drawn / math.sqrt(value[0].numel())
        else:
            weights[name] = drawn * 0.1 + (1 if name.endswith("weight") else 0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", {**config.to_dict(), "architectures": [type(model).__name__]})


def noise(name: str, shape: Any) -> torch.Tensor:
    """The same for the same name, whatever was drawn before."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), "utf-8")
