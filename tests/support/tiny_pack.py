"""A pack with a tiny random RoBERTa, and the same network in transformers."""

import json

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from visret.encoders import _torch
from visret.types import ModelSpec

DIM, LAYERS, HEADS, GROUP = 16, 2, 2, 8
WORDS = ("the", "boiler", "valve", "opens", "at", "two", "bar", "pump", "filter", "is", "cleaned", "weekly")


def spec(folder, dim=DIM, **options):
    """The entry of a model in a pack in this folder."""
    return ModelSpec("tiny", "packed", str(folder), "", "text", dim, "mit", 0.0, options=options, task="embed")


def tokenizer():
    """A byte-level tokenizer as RoBERTa's, which knows the bytes and a few words."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = []
    for word in WORDS:
        for at in range(2, len(word) + 1):
            pair = word[: at - 1], word[at - 1]
            if pair not in merges:
                merges.append(pair)
                pieces.append(word[:at])
    made = Tokenizer(models.BPE({piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, merges, unk_token="<unk>"))
    made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return made


def network(vocabulary, longest):
    """A random network in transformers, whose weights are rounded as the pack rounds them."""
    _torch.import_torchvision()
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=32,
        max_position_embeddings=longest + 2,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        pad_token_id=1,
        initializer_range=0.3,
    )
    made = RobertaModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for value in made.parameters():
            value += 0.05 * torch.randn_like(value)
    return made


def write(file, *, longest=64, **changes):
    """Write a pack, and return its tokenizer and its network in transformers. changes: to `meta`."""
    words = tokenizer()
    model = network(words.get_vocab_size(), longest)
    state = dict(model.state_dict())
    names = [("word_emb", "embeddings.word_embeddings.weight"), ("pos_emb", "embeddings.position_embeddings.weight")]
    names += [("type_emb", "embeddings.token_type_embeddings.weight")]
    names += [(f"emb_ln.{end[0]}", f"embeddings.LayerNorm.{end}") for end in ("weight", "bias")]
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."
        for end in ("weight", "bias"):
            parts = [state[f"{prefix}attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            state[f"{prefix}qkv.{end}"] = torch.cat(parts)
            for ours, theirs in (
                ("qkv", "qkv"),
                ("ao", "attention.output.dense"),
                ("aln", "attention.output.LayerNorm"),
                ("f1", "intermediate.dense"),
                ("f2", "output.dense"),
                ("fln", "output.LayerNorm"),
            ):
                names.append((f"l{layer}.{ours}.{end[0]}", f"{prefix}{theirs}.{end}"))
    tensors, blobs = [], []
    for ours, theirs in names:
        value = state[theirs].numpy()
        in_integers = value.ndim == 2 and ours not in ("pos_emb", "type_emb")
        blob, rounded = _in_integers(value) if in_integers else (value.astype("<f4").tobytes(), value)
        if "qkv" in theirs:
            for part, rows in zip(("query", "key", "value"), np.split(rounded, 3), strict=True):
                state[theirs.replace("qkv", f"attention.self.{part}")] = torch.from_numpy(rows.copy())
        else:
            state[theirs] = torch.from_numpy(np.array(rounded))
        about = {"dtype": "i8" if in_integers else "f32", "group": GROUP if in_integers else 0}
        tensors.append({"name": ours, "shape": list(value.shape), "len": len(blob), **about})
        blobs.append(blob)
    model.load_state_dict({name: value for name, value in state.items() if "qkv" not in name})
    text = words.to_str().encode()
    header = {
        "format": 1,
        "meta": {"model": "tiny", "pooling": "cls", "query_prefix": "", "passage_prefix": "", **changes},
        "arch": {
            "hidden": DIM,
            "layers": LAYERS,
            "heads": HEADS,
            "intermediate": 32,
            "vocab": words.get_vocab_size(),
            "max_positions": longest + 2,
            "type_vocab": 2,
            "layer_norm_eps": 1e-12,
            "position_offset": 2,
        },
        "quantization": "int8",
        "tokenizer_len": len(text),
        "tensors": tensors,
    }
    head = json.dumps(header).encode()
    file.write_bytes(b"HMSEMB01" + len(head).to_bytes(8, "little") + head + text + b"".join(blobs))
    return words, model


def _in_integers(value):
    """The bytes of a matrix in 8 bits, and what they stand for."""
    grouped = value.reshape(len(value), -1, GROUP)
    scales = (np.abs(grouped).max(axis=2, keepdims=True) / 127).astype("<f4")
    integers = np.round(grouped / scales).astype(np.int8)
    return integers.tobytes() + scales.tobytes(), (integers * scales).astype(np.float32).reshape(value.shape)
