"""fast-plaid on the CPU."""

from functools import cache
from pathlib import Path

import torch
from fast_plaid.search import FastPlaid
from worker import Data, Search, Settings, build, serve

# Of n_full_scores pages a quarter is scored on the residuals; more than there are does no harm.
PROBES_AND_SCORES = ((2, 256), (4, 512), (8, 1024), (8, 4096), (32, 8192))


def prepare(data: Data, folder: Path) -> Settings:
    @cache
    def index(bits: int) -> FastPlaid:
        def make(at: Path) -> None:
            pages = [torch.from_numpy(page).half() for page in data.pages()]
            FastPlaid(str(at), device="cpu").create(pages, nbits=bits).close()

        return FastPlaid(str(build(folder / f"{bits} bits", make)), device="cpu")

    def search(bits: int, probes: int, scores: int) -> Search:
        pages = index(bits)

        def found(queries: list, k: int) -> list[list[int]]:
            asked = [torch.from_numpy(query) for query in queries]
            ranked = pages.search(asked, k, n_full_scores=scores, n_ivf_probe=probes, show_progress=False)
            return [[page for page, _ in one] for one in ranked]

        return found

    return {
        f"{bits} bits, {probes} probes, {scores} scores": lambda bits=bits, probes=probes, scores=scores: search(
            bits, probes, scores
        )
        for bits in (4,)
        for probes, scores in PROBES_AND_SCORES
    }


serve(prepare)
