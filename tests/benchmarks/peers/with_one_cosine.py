"""One vector a page and a question, the mean of its vectors: the literature's "single vector" search, in NumPy."""

from pathlib import Path

import numpy as np
from worker import Data, Settings, best, serve


def prepare(data: Data, folder: Path) -> Settings:
    pages = np.array([page.mean(axis=0) for page in data.pages()])
    pages /= np.linalg.norm(pages, axis=1, keepdims=True)
    return {"float32": lambda: lambda queries, k: [best(pages @ query.mean(axis=0), k) for query in queries]}


serve(prepare)
