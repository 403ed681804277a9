"""Models of a few lines that are added to an index in tests: their vectors follow from the words of a text."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from visret.types import ModelSpec, SparseVector

DIM = 64


class Words:
    """An embedder in which a word has a dimension, by its checksum. task: "embed" or "sparse"."""

    def __init__(self, task="embed", name="words", *, similarity="dot"):
        self.spec = ModelSpec(name, "sentence", "", f"revision of {name}", "text", DIM, "mit", 0.0, task=task)
        self.preprocessing = {"similarity": similarity}
        self.pages = 0  # that it was given
        self.stop_at = None  # raises KeyboardInterrupt when it has been given so many

    def can_read(self, page):
        return bool(page.text.strip())

    def embed_pages(self, pages):
        if self.stop_at is not None and self.pages + len(pages) > self.stop_at:
            raise KeyboardInterrupt
        self.pages += len(pages)
        return [self._made(page.text, split=True) for page in pages]

    def embed_queries(self, texts):
        return [self._made(text, split=False) for text in texts]

    def _made(self, text, *, split):
        """A single vector for each half of a page, or the sparse vector of all of it."""
        words = text.split()
        if self.spec.task == "sparse":
            counts = np.bincount([number(word) for word in words], minlength=DIM)
            ids = np.flatnonzero(counts)
            return SparseVector(ids.astype(np.uint32), np.sqrt(counts[ids]).astype(np.float32))
        halves = [words[: len(words) // 2 + 1], words[len(words) // 2 + 1 :]] if split else [words]
        rows = [np.bincount([number(word) for word in half], minlength=DIM) for half in halves if half]
        return np.array(rows, np.float32)


def number(word):
    """The dimension of a word."""
    return zlib.crc32(word.encode()) % DIM


class Colours(Words):
    """An embedder that looks at pages: the vector of one is its mean colour, that of a question names the colours."""

    def __init__(self):
        super().__init__(name="colours")
        self.spec = replace(self.spec, modality="image", dim=3)

    def can_read(self, page):
        return page.image is not None

    def embed_pages(self, pages):
        return [np.asarray(page.image, np.float32).mean(axis=(0, 1))[None] / 255 + 0.001 for page in pages]

    def embed_queries(self, texts):
        return [np.array([[name in text for name in ("red", "green", "blue")]], np.float32) for text in texts]
