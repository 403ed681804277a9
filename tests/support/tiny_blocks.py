"""A pack of 4-bit integers with a tiny random BERT, and the same network in transformers."""

import struct

import numpy as np
import torch

from visret.encoders import _torch

DIM, LAYERS, HEADS, INNER, BLOCK = 32, 2, 2, 64, 32
PIECES = ("<s>", "<pad>", "</s>", "<unk>", "▁", "▁query", "▁passage", ":", "▁red", "▁green", "▁rot", "▁grün", "e", "s")


def network(longest):
    """A random network in transformers."""
    _torch.import_torchvision()
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=longest,
        initializer_range=0.3,
    )
    made = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for value in made.parameters():
            value += 0.05 * torch.randn_like(value)
    return made


def write(file, *, longest=64):
    """Write a pack, and return the network with the weights that are in it."""
    model = network(longest)
    state = dict(model.state_dict())
    tables = {"emb.word": "word_embeddings", "emb.pos": "position_embeddings", "emb.type": "token_type_embeddings"}
    names = {ours: f"embeddings.{theirs}.weight" for ours, theirs in tables.items()}
    names |= {f"emb.ln.{end[0]}": f"embeddings.LayerNorm.{end}" for end in ("weight", "bias")}
    parts = {"ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense"}
    parts |= {"fo": "output.dense", "oln": "output.LayerNorm"}
    parts |= {part[0]: f"attention.self.{part}" for part in ("query", "key", "value")}
    for layer in range(LAYERS):
        for ours, theirs in parts.items():
            names |= {
                f"l{layer}.{ours}.{end[0]}": f"encoder.layer.{layer}.{theirs}.{end}" for end in ("weight", "bias")
            }
    stored = []
    for ours, theirs in names.items():
        value = state[theirs].numpy()
        if value.ndim == 2 and ours not in ("emb.pos", "emb.type"):
            data, rounded = _in_blocks(value)
            state[theirs] = torch.from_numpy(rounded)
        else:
            data = value.astype("<f4").tobytes()
        stored.append((ours, value.size, data))
    model.load_state_dict(state)
    head = struct.pack("<4sI7ifi", b"E5S1", 1, DIM, LAYERS, HEADS, INNER, len(PIECES), longest, 2, 1e-12, BLOCK)
    text = [piece.encode() for piece in PIECES]
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, text)))
    head += np.cumsum([0, *map(len, text)]).astype("<u4").tobytes()
    head += np.linspace(-1, -2, len(PIECES)).astype("<f4").tobytes() + b"".join(text)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0xA0, 1, 0x20)
    head += struct.pack("<i", len(stored))
    at = len(head) + sum(2 + len(name) + 21 for name, _, _ in stored)
    for name, size, data in stored:
        head += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 0, size, at, len(data))
        at += len(data)
    file.write_bytes(head + b"".join(data for _, _, data in stored))
    return model


def _in_blocks(value):
    """The bytes of a matrix in blocks of 4 bits, and what they stand for."""
    blocks = value.reshape(-1, BLOCK)
    scales = (np.abs(blocks).max(axis=1) / 7).astype("<f2")
    codes = np.clip(np.round(blocks / scales.astype(np.float32)[:, None]) + 8, 0, 15).astype(np.uint8)
    made = np.empty(len(blocks), [("scale", "<f2"), ("halves", "u1", BLOCK // 2)])
    made["scale"], made["halves"] = scales, codes[:, : BLOCK // 2] | codes[:, BLOCK // 2 :] << 4
    rounded = (codes.astype(np.float32) - 8) * scales.astype(np.float32)[:, None]
    return made.tobytes(), rounded.reshape(value.shape)
