"""First stages that look at 64 bytes of a page: how many of the exact ten best pages are among their candidates.

    pip install -e ".[bench]"                                                # faiss-cpu
    python tests/benchmarks/first_stage.py FOLDER --pdfs DIRECTORY --only    # encodes every PDF there, once
    python tests/benchmarks/few_bytes.py FOLDER --pages 200000

At 10^9 pages a search can look at no more than that of every page (docs/scaling.md). Pages are those of FOLDER/more:
vectors of the default model through PCA to 128 dimensions, neighbours merged until about 200 are left. Questions are
those of questions.jsonl. Beyond the real pages, pages repeat them with noise, as in engines.py and million.py.

    mean            the mean of the page's vectors through PCA to 64 dimensions, int8
    binary means    4 centroids of the page (spherical k-means), the signs of their 128 dimensions
    PQ, one mean    the mean of the page, 64 bytes of product quantization
    PQ, 2 means     2 centroids of the page, 32 bytes each
    PQ, 4 means     4 centroids of the page, 16 bytes each
    LEMUR           64 weights of a page, int8 (first_stage.py); learned on some of the pages, applied to all

Scales, where there are any, are left out of the count: 4 bytes a page for `mean` and `LEMUR`. Recall is of the exact
(float32) ten best of all pages, among the first 1,000 and 10,000 candidates. The last table is of the real pages alone:
the shortlist that keeps .9 and .95 of the ten best, as the collection grows (random parts of it).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from visret import load_encoder, reduction
from visret.reduction import summarise

sys.path.append(str(Path(__file__).parent / "peers"))
from worker import Data

HERE = Path(__file__).parent
MODEL = "all-minilm-l6-v2"
DIM, PAGE_VECTORS, K = 128, 200, 10
BYTES = 64
TOKENS, TARGETS, LEARNED_FROM = 1024, 512, 16_384  # of LEMUR: for the weights of a page; pages; for the network
CANDIDATES = (1_000, 10_000)
TARGET_RECALLS = (0.9, 0.95)
BLOCK = 128  # pages
FEW = 2, 4  # centroids of a page
SAMPLE = 1 << 16  # pages that a product quantizer is learned from
ROUNDS = 3  # random parts of the real pages

Scores = Callable[[np.ndarray], np.ndarray]  # the vectors of a question -> a score for each page


def collection(folder: Path, pages: int) -> tuple[Data, list[np.ndarray]]:
    """The pages, and the vectors of the questions."""
    parts: list[np.ndarray] = []
    files = sorted((folder / "more").glob("[!.]*.npz"))
    sample = np.concatenate([np.load(file)["vectors"][::16] for file in files]).astype(np.float32)
    projection = reduction.fit_projection(sample[: 1 << 18], DIM)
    for file in files:
        with np.load(file) as found:
            rows = reduction.project(found["vectors"].astype(np.float32), projection)
            ends = np.cumsum([0, *found["lens"]])
        parts += [merged(rows[start:stop]) for start, stop in pairwise(ends) if stop > start]
    lines = (HERE / "questions.jsonl").read_text("utf8").splitlines()
    asked = load_encoder(MODEL, dtype="float32").encode_queries([json.loads(line)["query"] for line in lines])
    queries = [reduction.project(query.vectors, projection) for query in asked]
    offsets = np.cumsum([0, *map(len, parts)])
    return Data(np.concatenate(parts).astype(np.float16), offsets, queries, max(pages, len(parts))), queries


def merged(rows: np.ndarray) -> np.ndarray:
    """A page with neighbours merged until about PAGE_VECTORS are left."""
    edges = np.unique(np.linspace(0, len(rows), min(len(rows), PAGE_VECTORS) + 1).astype(int))[:-1]
    return units(np.add.reduceat(rows, edges))


def units(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


class Seen:
    """What is kept of every page: its exact scores, its mean, some centroids, and its best matches for LEMUR."""

    def __init__(self, data: Data, queries: list[np.ndarray]) -> None:
        rng = np.random.default_rng(0)
        count = data.count
        self.exact = np.empty((len(queries), count), np.float32)
        self.mean = np.empty((count, DIM), np.float32)
        self.few = {k: np.empty((count, k, DIM), np.float16) for k in FEW}
        self.best = np.empty((count, TOKENS), np.float16)
        self.tokens = np.asarray(data.vectors[np.sort(rng.permutation(len(data.vectors))[:TOKENS])], np.float32)
        asked, starts = np.concatenate(queries), np.cumsum([0, *map(len, queries[:-1])])
        columns = np.concatenate([asked, self.tokens]).T.copy()
        for first in range(0, count, BLOCK):
            pages = data.pages(first, first + BLOCK)
            there = slice(first, first + len(pages))
            ends = np.cumsum([0, *map(len, pages[:-1])])
            best = np.maximum.reduceat(np.concatenate(pages) @ columns, ends)
            self.exact[:, there] = np.add.reduceat(best[:, : len(asked)], starts, axis=1).T
            self.best[there] = best[:, len(asked) :]
            for at, page in enumerate(pages, first):
                self.mean[at] = page.mean(axis=0)
                for k, kept in self.few.items():
                    kept[at] = np.resize(summarise(page, k), (k, DIM))


def quantized(vectors: np.ndarray, size: int) -> np.ndarray:
    """Vectors (n, d) as so many bytes of product quantization hold them; the dimensions are turned first."""
    import faiss

    count = len(vectors)
    some = np.sort(np.random.default_rng(0).permutation(count)[:SAMPLE])
    quantizer = faiss.ProductQuantizer(vectors.shape[1], size, 8)
    quantizer.train(np.ascontiguousarray(vectors[some], np.float32))
    out = np.empty(vectors.shape, np.float16)
    for first in range(0, count, 1 << 14):
        block = np.ascontiguousarray(vectors[first : first + (1 << 14)], np.float32)
        out[first : first + len(block)] = quantizer.decode(quantizer.compute_codes(block))
    return out


def eight_bit(vectors: np.ndarray) -> np.ndarray:
    """Vectors with 8 bits a dimension and a scale each."""
    scale = np.abs(vectors).max(axis=1, keepdims=True) / 127
    return (np.rint(vectors / np.maximum(scale, 1e-12)) * scale).astype(np.float32)


def single(vectors: np.ndarray, question: Callable[[np.ndarray], np.ndarray]) -> Scores:
    """Scores by one vector a page."""
    return lambda query: product(vectors, question(query)[:, None])[:, 0]


def several(vectors: np.ndarray) -> Scores:
    """MaxSim with a few vectors a page, (pages, k, DIM)."""
    count, k, dim = vectors.shape
    return lambda query: product(vectors.reshape(-1, dim), query.T).reshape(count, k, -1).max(axis=1).sum(axis=1)


def product(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A product in blocks, for rows that are kept as float16."""
    blocks = (rows[first : first + (1 << 16)] for first in range(0, len(rows), 1 << 16))
    return np.concatenate([block.astype(np.float32) @ columns for block in blocks])


def stages(seen: Seen, data: Data) -> Iterator[tuple[str, int, Scores]]:
    """The ways, with the bytes of a page."""
    projection = reduction.fit_projection(seen.mean[:SAMPLE], BYTES)
    mean = eight_bit(seen.mean @ projection)
    yield "mean, 64 dimensions", BYTES, single(mean, lambda query: query.sum(axis=0) @ projection)
    middle = np.asarray(seen.few[4][:SAMPLE], np.float32).mean(axis=(0, 1))
    signs = np.sign(seen.few[4].astype(np.float32) - middle).astype(np.float16)
    yield "binary means", BYTES, several(signs)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))
    turn = rotation.astype(np.float32)
    one = quantized(seen.mean @ turn, BYTES)
    yield "PQ, one mean", BYTES, single(one, lambda query: query.sum(axis=0) @ turn)
    for k, kept in seen.few.items():
        rows = quantized(product(kept.reshape(-1, DIM), turn), BYTES // k).reshape(kept.shape)
        scores = several(rows)
        yield f"PQ, {k} means", BYTES, lambda query, scores=scores: scores(query @ turn)
    weights, features = lemur(seen, data)
    yield "LEMUR", BYTES, single(eight_bit(weights), lambda query: features(query).sum(axis=0))
    for k, kept in seen.few.items():
        yield f"({k} means, float16)", 2 * k * DIM, several(kept)


def lemur(seen: Seen, data: Data) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The weights of every page, and what turns vectors of a question into features; as in first_stage.py.

    The network is learned from some real pages; for another page, its best matches with TOKENS vectors are enough.
    """
    import torch

    rng = np.random.default_rng(1)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    some = np.asarray(data.vectors[np.sort(rng.permutation(len(data.vectors))[:LEARNED_FROM])], np.float32)
    there = len(data.offsets) - 1
    chosen = [data.pages(int(page), int(page) + 1)[0] for page in rng.permutation(there)[:TARGETS]]
    best = np.stack([(some @ page.T).max(axis=1) for page in chosen], axis=1)
    best -= best.mean(axis=1, keepdims=True)
    given, wanted = torch.from_numpy(some), torch.from_numpy(best)
    layer = torch.nn.Sequential(torch.nn.Linear(DIM, BYTES), torch.nn.LayerNorm(BYTES), torch.nn.GELU())
    last = torch.nn.Linear(BYTES, wanted.shape[1])
    optimiser = torch.optim.Adam([*layer.parameters(), *last.parameters()], 3e-3)
    for _ in range(30):
        for batch in torch.randperm(len(given)).split(512):
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(last(layer(given[batch])), wanted[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def features(vectors: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(layer(torch.from_numpy(np.ascontiguousarray(vectors))).numpy())

    found = features(seen.tokens).astype(np.float64)
    inverse = np.linalg.solve(found.T @ found + 1e-3 * len(found) * np.eye(BYTES), found.T).astype(np.float32)
    usual = seen.best[:SAMPLE].astype(np.float32).mean(axis=0)
    blocks = (seen.best[first : first + (1 << 13)].astype(np.float32) for first in range(0, len(seen.best), 1 << 13))
    return np.concatenate([(block - usual) @ inverse.T for block in blocks]), features


def places(scores: np.ndarray, best: np.ndarray) -> np.ndarray:
    """How many pages come before each of the best."""
    return np.array([(scores > scores[page]).sum() for page in best])


def shortlist(ranks: np.ndarray, target: float) -> int:
    """The shortest shortlist that keeps this share."""
    return int(np.sort(ranks.ravel())[int(np.ceil(target * ranks.size)) - 1]) + 1


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=200_000)
    arguments = parser.parse_args()
    data, queries = collection(arguments.folder, arguments.pages)
    real = len(data.offsets) - 1
    rows = len(data.vectors) / real
    print(f"{data.count:,} pages of {rows:.0f} vectors, {real:,} of them real; {len(queries)} questions", flush=True)
    start = time.perf_counter()
    seen = Seen(data, queries)
    print(f"all pages seen after {time.perf_counter() - start:.0f} s", file=sys.stderr)
    best = np.argsort(-seen.exact, axis=1, kind="stable")[:, :K]
    rng = np.random.default_rng(2)
    parts = [
        np.sort(rng.permutation(real)[: real // share])
        for share in (8, 4, 2, 1)
        for _ in range(ROUNDS if share > 1 else 1)
    ]
    lists = []
    print(
        "| first stage | bytes a page | "
        + " | ".join(f"recall among {n:,}" for n in CANDIDATES)
        + " |\n|---|---|---|---|"
    )
    for name, size, scores in stages(seen, data):
        found = [scores(query) for query in queries]
        ranks = np.stack([places(one, pages) for one, pages in zip(found, best, strict=True)])
        print(f"| {name} | {size} | " + " | ".join(f"{(ranks < n).mean():.3f}" for n in CANDIDATES) + " |", flush=True)
        grown: dict[int, list[np.ndarray]] = {}
        for part in parts:
            exact = seen.exact[:, part]
            top = np.argsort(-exact, axis=1, kind="stable")[:, :K]
            some = np.stack([places(one[part], pages) for one, pages in zip(found, top, strict=True)])
            grown.setdefault(len(part), []).append(some)
        lists.append((name, {count: np.concatenate(some) for count, some in grown.items()}))
    sizes = list(lists[0][1])
    for target in TARGET_RECALLS:
        print(
            f"\n| shortlist for {target} | " + " | ".join(f"of {size:,}" for size in sizes) + " |\n" + "|---" * 5 + "|"
        )
        for name, found in lists:
            print(f"| {name} | " + " | ".join(f"{shortlist(found[size], target):,}" for size in sizes) + " |")


if __name__ == "__main__":
    main()
