"""A reranker that needs no weights."""

import numpy as np

from visret.types import ModelSpec


class Judge:
    """Scores pages by a table of their documents, and remembers what it was shown."""

    def __init__(self, table, *, modality="text", batch=2, options=None):
        self.spec = ModelSpec("judge", "judge", "", "1", modality, 0, "", 0.0, options=options or {}, task="rerank")
        self.batch = batch
        self.table = table
        self.shown = []

    def can_read(self, page):
        return bool(page.text.strip()) if self.spec.modality == "text" else page.image is not None

    def scores(self, question, pages):
        self.shown.append([(page.ref.doc, page.text, page.image is not None) for page in pages])
        return np.array([self.table[page.ref.doc] for page in pages], np.float32)
