"""A model of eight words, of which each is a little like the next."""

import numpy as np

from visret import PageEmbedding
from visret.types import ModelSpec, QueryEmbedding

WORDS = ["red", "green", "blue", "grey", "pink", "brown", "black", "white"]


def vector(word):
    """Words that are alike: each leans towards the next."""
    number = WORDS.index(word)
    made = np.zeros(8, np.float32)
    made[[number, (number + 1) % 8]] = 1, 0.25
    return made / np.linalg.norm(made)


class Words:
    """An encoder of pages of such words: one vector a word, and in front a marker that lies nowhere."""

    def __init__(self):
        self.preprocessing = {}
        self.spec = ModelSpec("words", "words", "", "1", "text", 8, "", 0.0, options={"weak_below": 0.2})
        self.encoded = 0

    def can_read(self, page):
        return bool(page.text)

    def encode_pages(self, pages):
        return [self.page(page) for page in pages]

    def page(self, page):
        words = page.text.split()
        vectors = np.stack([-vector("grey"), *map(vector, words)])
        if page.plain is not None:
            starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
            where = np.stack([starts, starts + [len(word) for word in words]], axis=1).astype(np.float32)
            boxes = None
        else:
            where = boxes = np.array([word.box for word in page.words], np.float32)
        where = np.concatenate([np.full((1, where.shape[1]), np.nan, np.float32), where])
        return PageEmbedding(page.ref, page.size_pt, vectors, where, page.text, boxes, page.metadata)

    def encode_queries(self, texts):
        self.encoded += len(texts)
        return [self.query(text) for text in texts]

    def query(self, text):
        tokens = ("[Q]", *text.split())
        vectors = np.stack([vector("white"), *map(vector, text.split())])
        return QueryEmbedding(text, vectors, tokens, np.arange(len(tokens)) > 0)
