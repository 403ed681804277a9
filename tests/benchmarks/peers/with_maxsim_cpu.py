"""maxsim-cpu: equal lengths as one array, ragged pages as a list; it has no batch of queries, and no top k."""

from pathlib import Path

import maxsim_cpu
import numpy as np
from worker import Data, Settings, best, serve


def prepare(data: Data, folder: Path) -> Settings:
    pages = data.pages()
    lengths = {len(page) for page in pages}
    whole = np.stack(pages) if len(lengths) == 1 else None

    def equal(query: np.ndarray, k: int) -> list[int]:
        return best(maxsim_cpu.maxsim_scores(query, whole), k)

    def ragged(query: np.ndarray, k: int) -> list[int]:
        return best(maxsim_cpu.maxsim_scores_variable(query, pages), k)

    settings = {"maxsim_scores_variable": lambda: lambda queries, k: [ragged(query, k) for query in queries]}
    if whole is not None:
        settings["maxsim_scores"] = lambda: lambda queries, k: [equal(query, k) for query in queries]
    return settings


serve(prepare)
