"""Ways to choose which pages are scored exactly: what each costs, and how much of the exact ten best pages it keeps.

    pip install -e ".[bench]"                                          # faiss-cpu
    python tests/benchmarks/first_stage.py FOLDER --pdfs DIRECTORY     # encodes every PDF there, once, into FOLDER/more
    python tests/benchmarks/first_stage.py FOLDER --dim 384            # with what FOLDER has; --dim 128 if not said

The pages are real and all different: the default model's vectors, those that are alike merged until about 200 are left
(token pooling), through PCA to --dim dimensions. The questions are those of quality.py and as many lines
taken from the pages again. Exact means float32 scores of these vectors.

    exact              every page with the int8 kernel
    summaries          visret.reduction: centroids of each page's own vectors: a smaller page
    cheaper summaries  vectors at equal distances; neighbours merged
    MUVERA             fixed dimensional encodings (Dhulipala et al. 2024): one long vector a page, int8, scanned;
                       centred: the mean of all vectors is taken off first, so that cells are filled evenly
    LEMUR              a network of one hidden layer, learned for these pages, turns tokens of a question into a
                       vector; a page has that which predicts its MaxSim best (least squares; arXiv 2601.21853)
    IVF-PQ             every vector in faiss, 1,000 lists, 32 x 8 bits, 32 probed; the pages of each token's best hits
    PLAID              centroids of all pages (those of residual codes): the pages in the nearest cells of a token,
                       ranked by their centroids at or above a threshold (Santhanam et al. 2022)
    cells              the same centroids and lists alone: a token's match on a page is the best centroid of its nearest
                       cells that the page has, and that of the last of these cells where it has none

Not tried: clusters of the vectors of each token of the vocabulary (TACHIOM, arXiv 2604.28142), since what is stored
does not say which token a vector is of, and models of pictures have none.

Each row: what the way adds to a page, how long it took to build, and for .95 and .99 recall the smallest shortlist that
reaches it, with milliseconds a question: finding the shortlist, and all, with the exact top ten of it. Times are
medians of questions asked one after another; a row that has no time does not reach the recall with any shortlist. Then
what a search does, which has no fixed shortlist: it stops where summaries leave no hope (visret/maxsim/_settle.py).
Where the machine has two cores, everything has two threads.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from quality import questions

from visret import Page, PageEmbedding, PageRef, VisretError, codec, documents, load_encoder, reduction
from visret.maxsim import PackedPages, _settle, pack
from visret.maxsim._settle import largest
from visret.reduction import summarise, summary_size
from visret.search.late_interaction import Staged, best_pages

MODEL = "all-minilm-l6-v2"
K = 10
VECTORS = 200  # of a page, about
SAMPLE = 1 << 17  # vectors that something is fitted to
PAGES_A_DOCUMENT = 40
TIMED = 24  # questions
TARGETS = (0.95, 0.99)
SIZES = [round(16 * 2 ** (i / 2)) for i in range(24)]  # of shortlists
DEFAULT_HOPE = _settle.HOPE


@dataclass(frozen=True, eq=False)
class Collection:
    """vectors (N, d) float32, offsets (P + 1,), the same packed, queries, and the exact scores (queries, pages)."""

    vectors: np.ndarray
    offsets: np.ndarray
    packed: PackedPages
    queries: list[np.ndarray]
    exact: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def best(self) -> np.ndarray:
        """(queries, K) the numbers of the best pages."""
        return top(self.exact)

    def pages(self) -> Iterator[np.ndarray]:
        for start, stop in pairwise(self.offsets):
            yield self.vectors[start:stop]


@dataclass(frozen=True, eq=False)
class Stage:
    """A way to choose pages. scores: of a query, one a page (P,), -inf for pages that cannot be chosen."""

    name: str
    bytes: int
    seconds: float
    scores: Callable[[np.ndarray], np.ndarray]


# ---- the collection


def encode_pdfs(folder: Path, pdfs: Path) -> None:
    """Every PDF under `pdfs` as a file in `folder`: vectors (N, 384) float16, lens and texts of its first pages."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(MODEL)
    paths = {path.resolve() for path in pdfs.rglob("*") if path.name.endswith((".pdf", ".pdf.gz")) and path.is_file()}
    for path in sorted(paths):
        target = folder / f"{hashlib.sha1(str(path).encode()).hexdigest()[:16]}.npz"
        if target.exists():
            continue
        try:
            pages = list(read_pages(path))
        except (VisretError, OSError) as error:
            print(f"left out: {error}")
            continue
        made = encoder.encode_pages(pages)
        unfinished = target.with_suffix(".part.npz")
        np.savez(
            unfinished,
            vectors=np.concatenate(
                [np.empty((0, encoder.spec.dim)), *(page.vectors for page in made)], dtype=np.float16
            ),
            lens=np.array([len(page.vectors) for page in made], np.int64),
            texts=np.array([page.text for page in pages]),
        )
        unfinished.rename(target)


def read_pages(path: Path) -> Iterator[Page]:
    """The first pages of a PDF, or of one that is gzipped, that have some text."""
    with tempfile.TemporaryDirectory() as unpacked:
        if path.suffix == ".gz":
            plain = Path(unpacked) / path.stem
            plain.write_bytes(gzip.decompress(path.read_bytes()))
            path = plain
        with documents.open_document(path) as document:
            for number in range(1, min(len(document), PAGES_A_DOCUMENT) + 1):
                page = document.page(number, doc=path.name, image=False)
                if len(page.text.split()) >= 20:
                    yield page


def load(folder: Path, dim: int) -> Collection:
    """What FOLDER/more has; the vectors are pooled once, and kept in FOLDER/pooled."""
    files = sorted((folder / "more").glob("[!.]*.npz"))
    if not files:
        raise SystemExit(f"{folder / 'more'} has no pages: say with --pdfs where there are some")
    parts, lengths, texts = [], [], []
    for file in files:
        with np.load(pooled(file, folder / "pooled")) as some:
            parts.append(some["v"])
            lengths += some["lens"].tolist()
        with np.load(file) as some:
            texts += some["texts"].tolist()
    offsets = np.cumsum([0, *lengths])
    step = -(-int(offsets[-1]) // SAMPLE)
    projection = reduction.fit_projection(np.concatenate([some[::step] for some in parts]).astype(np.float32), dim)
    rows, filled = np.empty((offsets[-1], dim), np.float32), 0
    for some in parts:
        rows[filled : filled + len(some)] = reduction.project(some.astype(np.float32), projection)
        filled += len(some)
    del parts
    queries = [reduction.project(query, projection) for query in ask(folder, texts)]
    return Collection(rows, offsets, pack(rows, offsets), queries, exact_scores(rows, offsets, queries))


def pooled(file: Path, folder: Path) -> Path:
    """The file with about VECTORS vectors a page: `v` and `lens`."""
    target = folder / file.name
    if not target.exists():
        folder.mkdir(exist_ok=True)
        with np.load(file) as whole:
            rows, ends = whole["vectors"].astype(np.float32), np.cumsum([0, *whole["lens"]])
        pages = [fewer(rows[start:stop]) for start, stop in pairwise(ends) if stop > start]
        unfinished = target.with_suffix(".part.npz")
        lens = np.array([len(page) for page in pages], np.int64)
        np.savez(unfinished, v=np.concatenate([rows[:0], *pages]).astype(np.float16), lens=lens)
        unfinished.rename(target)
    return target


def fewer(page: np.ndarray) -> np.ndarray:
    """The page with about VECTORS vectors."""
    nowhere = np.zeros((len(page), 2), np.float32)
    return reduction.pool(
        PageEmbedding(PageRef("", 1), None, page, nowhere), max(1, round(len(page) / VECTORS))
    ).vectors


def ask(folder: Path, texts: Sequence[str]) -> list[np.ndarray]:
    """The vectors of the questions, and of as many lines of 5 to 15 words; they are drawn once."""
    kept = folder / "asked.npz"
    if not kept.exists():
        rng = np.random.default_rng(0)
        asked = [question["query"] for question in questions()]
        for number in rng.permutation(len(texts)):
            lines = [line for line in texts[number].split("\n") if 5 <= len(line.split()) <= 15]
            lines = [line for line in lines if sum(map(str.isalpha, line)) > 0.6 * len(line)]
            if lines:
                asked.append(lines[rng.integers(len(lines))])
            if len(asked) == 200:
                break
        made = [query.vectors for query in load_encoder(MODEL, dtype="float32").encode_queries(asked)]
        np.savez(kept, vectors=np.concatenate(made), offsets=np.cumsum([0, *map(len, made)]))
    with np.load(kept) as found:
        return [found["vectors"][a:b] for a, b in pairwise(found["offsets"])]


def exact_scores(vectors: np.ndarray, offsets: np.ndarray, queries: Sequence[np.ndarray]) -> np.ndarray:
    """(queries, pages) float32 by the definition."""
    asked, starts, parts = np.concatenate(queries), np.cumsum([0, *map(len, queries[:-1])]), []
    for first in range(0, len(offsets) - 1, 256):
        ends = offsets[first : first + 257]
        best = np.maximum.reduceat(vectors[ends[0] : ends[-1]] @ asked.T, ends[:-1] - ends[0])
        parts.append(np.add.reduceat(best, starts, axis=1))
    return np.ascontiguousarray(np.concatenate(parts).T)


def top(scores: np.ndarray) -> np.ndarray:
    """(queries, pages) -> (queries, K) the numbers of the best."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


# ---- the ways to choose


def summaries(pages: Collection, name: str, summarise: Callable[[np.ndarray], np.ndarray]) -> tuple[Stage, PackedPages]:
    """Smaller pages for the same kernel."""
    start = time.perf_counter()
    small = [summarise(page) for page in pages.pages()]
    packed = pack(np.concatenate(small), np.cumsum([0, *map(len, small)]))
    seconds = time.perf_counter() - start
    return Stage(name, len(packed.rows.codes) * packed.codec.bytes_a_vector, seconds, packed.scores), packed


def default(pages: Collection) -> tuple[Stage, PackedPages]:
    """As an index does it."""
    return summaries(pages, "summaries, the default", lambda page: summarise(page, summary_size(len(page))))


def stages(pages: Collection, folder: Path, only: Sequence[str]) -> Iterator[Stage]:
    """What is compared."""
    if "summaries" in only:
        yield default(pages)[0]
        for share in (8, 16, 32, 64):
            yield summaries(
                pages,
                f"summaries, 1 for {share} vectors",
                lambda page, n=share: summarise(page, max(1, len(page) // n)),
            )[0]
        for k in (4, 8, 16, 32, 64):
            yield summaries(pages, f"summaries of {k}", lambda page, k=k: summarise(page, k))[0]
    if "cheap" in only:
        for name, choose in (("vectors at equal distances", evenly_spaced), ("neighbours merged", neighbours_merged)):
            yield summaries(pages, f"{name}, 1 of 16", lambda page, choose=choose: choose(page, -(-len(page) // 16)))[0]
    if "muvera" in only:
        for shape in ((8, 4, 16), (20, 4, 16), (20, 5, 8), (16, 5, 16)):
            yield muvera(pages, *shape)
            yield muvera(pages, *shape, centred=True)
    if "lemur" in only:
        for hidden in (64, 256, 1024):
            yield lemur(pages, hidden)
    if "ivf-pq" in only:
        yield from ivf_pq(pages)
    if "cells" in only:
        yield from cells(pages, folder)


def evenly_spaced(page: np.ndarray, k: int) -> np.ndarray:
    return page[np.arange(k) * len(page) // k]


def neighbours_merged(page: np.ndarray, k: int) -> np.ndarray:
    sums = np.add.reduceat(page, np.arange(k) * len(page) // k)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def muvera(pages: Collection, repetitions: int, bits: int, dim: int, *, centred: bool = False) -> Stage:
    """Each repetition cuts space into 2**bits cells by the signs of random projections; a page has the mean of its
    vectors in each cell (or, where there is none, the vector in the nearest cell), a query the sum of its own, both
    through a random projection to `dim` dimensions."""
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    d, cells = pages.vectors.shape[1], 1 << bits
    planes = rng.standard_normal((d, repetitions * bits)).astype(np.float32)
    shorter = rng.choice(np.float32([-1, 1]), (d, repetitions * dim)) / np.float32(np.sqrt(dim))
    far = np.bitwise_count(np.arange(cells)[:, None] ^ np.arange(cells)).astype(np.uint8)
    middle = pages.vectors[:: max(1, len(pages.vectors) // SAMPLE)].mean(axis=0) * np.float32(centred)

    def spread(vectors: np.ndarray, *, of_page: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The cell of each vector in each repetition, the sums in all cells, and the projected vectors."""
        signs = ((vectors - middle) @ planes > 0).reshape(len(vectors), repetitions, bits)
        cell = signs @ (1 << np.arange(bits))
        # Every page loses the same products with the middle, so that no rank changes.
        short = ((vectors - middle if of_page else vectors) @ shorter).reshape(len(vectors), repetitions, dim)
        sums = np.zeros((repetitions, cells, dim), np.float32)
        np.add.at(sums, (np.arange(repetitions), cell), short)
        return cell, sums, short

    def page_encoding(vectors: np.ndarray) -> np.ndarray:
        cell, sums, short = spread(vectors, of_page=True)
        every = np.arange(repetitions)
        counts = np.zeros((repetitions, cells), np.float32)
        np.add.at(counts, (every, cell), 1)
        nearest = far[:, cell].argmin(axis=1)  # (cells, repetitions) of the vectors
        return np.where(
            counts.T[:, :, None] > 0, (sums / np.maximum(counts, 1)[:, :, None]).swapaxes(0, 1), short[nearest, every]
        )

    encodings = np.stack([page_encoding(page).ravel() for page in pages.pages()])
    packed = pack(encodings, np.arange(len(pages) + 1))
    seconds = time.perf_counter() - start
    size = encodings.shape[1]
    return Stage(
        f"MUVERA{', centred' * centred}, {repetitions} x {cells} x {dim} = {size:,} dimensions",
        len(pages) * packed.codec.bytes_a_vector,
        seconds,
        lambda query: packed.scores(spread(query, of_page=False)[1].swapaxes(0, 1).reshape(1, size)),
    )


def lemur(pages: Collection, hidden: int, *, tokens: int = 16_384, targets: int = 512, epochs: int = 30) -> Stage:
    """The hidden layer learns to predict, from a vector of any page, its best match on some pages, less the mean of
    these (which changes no rank). Then each page gets the weights that predict its own best matches."""
    import torch

    start = time.perf_counter()
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    some = pages.vectors[np.sort(rng.permutation(len(pages.vectors))[:tokens])]
    best = np.concatenate(
        [
            np.maximum.reduceat(pages.vectors[ends[0] : ends[-1]] @ some.T, ends[:-1] - ends[0])
            for ends in (pages.offsets[first : first + 65] for first in range(0, len(pages), 64))
        ]
    ).T
    best -= best.mean(axis=1, keepdims=True)
    learned = torch.from_numpy(best[:, rng.permutation(len(pages))[:targets]])
    given = torch.from_numpy(some)
    layer = torch.nn.Sequential(torch.nn.Linear(given.shape[1], hidden), torch.nn.LayerNorm(hidden), torch.nn.GELU())
    last = torch.nn.Linear(hidden, learned.shape[1])
    optimiser = torch.optim.Adam([*layer.parameters(), *last.parameters()], 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(given)).split(512):
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(last(layer(given[batch])), learned[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def features(vectors: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(layer(torch.from_numpy(vectors)).numpy())

    seen = features(some).astype(np.float64)
    weights = np.linalg.solve(seen.T @ seen + 1e-3 * len(seen) * np.eye(hidden), seen.T @ best).T.astype(np.float32)
    packed = pack(np.ascontiguousarray(weights), np.arange(len(pages) + 1))
    seconds = time.perf_counter() - start
    size = len(pages) * packed.codec.bytes_a_vector
    return Stage(
        f"LEMUR, {hidden} dimensions", size, seconds, lambda query: packed.scores(features(query).sum(0)[None])
    )


def ivf_pq(pages: Collection) -> list[Stage]:
    """Token-level search; a token that did not find a page is given its last hit's score there."""
    import faiss

    d, parts = pages.vectors.shape[1], 32
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    index = faiss.index_factory(d, f"IVF1000,PQ{parts}x8", faiss.METRIC_INNER_PRODUCT)
    index.train(pages.vectors[np.sort(rng.permutation(len(pages.vectors))[:SAMPLE])])
    index.add(pages.vectors)
    index.nprobe = 32
    seconds = time.perf_counter() - start
    page_of = np.repeat(np.arange(len(pages)), np.diff(pages.offsets))
    size = len(pages.vectors) * (parts + 8) + 4 * d * (1000 + 256)  # codes and 64-bit ids, centroids and codebooks

    def search(hits: int) -> Callable[[np.ndarray], np.ndarray]:
        def scores(query: np.ndarray) -> np.ndarray:
            values, rows = index.search(query, hits)
            seen = np.zeros(len(pages), bool)
            total = np.zeros(len(pages), np.float32)
            for value, row in zip(values[:, ::-1], rows[:, ::-1], strict=True):
                found = row >= 0
                best = np.full(len(pages), value[found][0])
                best[page_of[row[found]]] = value[found]  # rising: the best of a page is written last
                seen[page_of[row[found]]] = True
                total += best
            return np.where(seen, total, -np.inf)

        return scores

    return [Stage(f"IVF-PQ, {hits:,} hits a token", size, seconds, search(hits)) for hits in (100, 1000)]


class Cells:
    """Centroids of the whole collection, and which pages have each: what residual codes know anyway."""

    def __init__(self, pages: Collection, kept: Path) -> None:
        if not kept.exists():
            start = time.perf_counter()
            sample = pages.vectors[np.sort(np.random.default_rng(0).permutation(len(pages.vectors))[:SAMPLE])]
            fitted = codec.fit("residual1", sample, count=len(pages.vectors))
            of = codec.encode(pages.vectors, fitted).centroids
            np.savez(
                kept, centroids=fitted.centroids * np.float32(fitted.step), of=of, seconds=time.perf_counter() - start
            )
        with np.load(kept) as found:
            self.centroids, self.of, self.seconds = found["centroids"], found["of"], float(found["seconds"])
        self.offsets, self.count = pages.offsets, len(pages)
        page_of = np.repeat(np.arange(self.count, dtype=np.int32), np.diff(self.offsets))
        entries = np.unique(self.of.astype(np.int64) * self.count + page_of)
        self.pages = (entries % self.count).astype(np.int32)
        self.starts = np.searchsorted(entries, np.arange(len(self.centroids) + 1) * self.count)

    @property
    def bytes(self) -> int:
        return self.of.nbytes + self.pages.nbytes + self.starts.nbytes + self.centroids.nbytes // 4

    def holders(self, cells: np.ndarray) -> np.ndarray:
        """The pages of these cells, one cell after the other."""
        return np.concatenate([self.pages[self.starts[cell] : self.starts[cell + 1]] for cell in cells])

    def scores(self, query: np.ndarray, probes: int) -> np.ndarray:
        """From the nearest cells of each token alone."""
        total = np.zeros(self.count, np.float32)
        for near in query @ self.centroids.T:
            cells = np.argpartition(near, -probes)[-probes:]
            cells = cells[np.argsort(near[cells])]
            best = np.full(self.count, near[cells[0]])
            best[self.holders(cells)] = np.repeat(near[cells], self.starts[cells + 1] - self.starts[cells])
            total += best  # rising: the best of a page was written last
        return total

    def plaid(self, query: np.ndarray, probes: int, threshold: float) -> np.ndarray:
        """The pages of the nearest cells, by all their centroids at or above the threshold."""
        near = np.ascontiguousarray((query @ self.centroids.T).T)
        cells = np.unique(np.argpartition(near, -probes, axis=0)[-probes:])
        chosen = np.unique(self.holders(cells))
        lengths = self.offsets[chosen + 1] - self.offsets[chosen]
        ends = np.cumsum(lengths)
        rows = np.arange(ends[-1]) + np.repeat(self.offsets[chosen] - ends + lengths, lengths)
        of, page = self.of[rows], np.repeat(np.arange(len(chosen)), lengths)
        strong = (near.max(axis=1) >= threshold)[of]
        of, page = of[strong], page[strong]
        total = np.full(self.count, -np.inf, np.float32)
        total[chosen] = 0
        if len(of):
            there, first = np.unique(page, return_index=True)
            total[chosen[there]] = np.maximum.reduceat(near[of], first).sum(axis=1)
        return total


def cells(pages: Collection, folder: Path) -> list[Stage]:
    made = Cells(pages, folder / f"cells {pages.vectors.shape[1]} {len(pages.vectors)}.npz")
    count = f"{len(made.centroids):,}"
    published = [
        Stage(
            f"PLAID, {probes} of {count} cells, threshold {threshold}",
            made.bytes,
            made.seconds,
            lambda query, probes=probes, threshold=threshold: made.plaid(query, probes, threshold),
        )
        for probes, threshold in ((1, 0.5), (2, 0.45), (4, 0.4), (16, 0.4))
    ]
    return published + [
        Stage(
            f"cells, {probes} of {count}",
            made.bytes,
            made.seconds,
            lambda query, probes=probes: made.scores(query, probes),
        )
        for probes in (16, 64, 256)
    ]


# ---- measuring


def ranks(scores: np.ndarray, best: np.ndarray) -> np.ndarray:
    """(K,) how many pages come before each of the best; as many as there are where a page cannot be chosen."""
    order = np.argsort(-scores, kind="stable")
    place = np.empty(len(scores), np.int64)
    place[order] = np.arange(len(scores))
    return np.where(np.isfinite(scores[best]), place[best], len(scores))


def row(pages: Collection, stage: Stage) -> str:
    """A line of the table."""
    found = np.stack([ranks(stage.scores(query), best) for query, best in zip(pages.queries, pages.best, strict=True)])
    parts = [stage.name, f"{stage.bytes / len(pages):,.0f}", f"{stage.seconds:,.0f}"]
    for target in TARGETS:
        enough = [size for size in [*SIZES, len(pages)] if size <= len(pages) and (found < size).mean() >= target]
        if enough:
            choosing, whole = timed(pages, stage, enough[0])
            parts += [f"{(found < enough[0]).mean():.3f}", f"{enough[0]:,}", f"{choosing:.1f}", f"{whole:.1f}"]
        else:
            parts += [f"{(found < len(pages)).mean():.3f}", "", "", ""]
    return "| " + " | ".join(parts) + " |"


def timed(pages: Collection, stage: Stage, size: int) -> tuple[float, float]:
    """Median milliseconds of finding a shortlist, and of that with the exact top ten of it."""
    choosing, whole = [], []
    for number in np.linspace(0, len(pages.queries) - 1, TIMED).astype(int):
        query = pages.queries[number]
        start = time.perf_counter()
        shortlist = np.sort(largest(stage.scores(query), size))
        choosing.append(time.perf_counter() - start)
        pages.packed.top_k(query, K, only=shortlist)
        whole.append(time.perf_counter() - start)
    return float(np.median(choosing)) * 1000, float(np.median(whole)) * 1000


def exact(pages: Collection) -> str:
    """The line of the scan of all pages."""
    times, kept = [], []
    for query, best in zip(pages.queries, pages.best, strict=True):
        start = time.perf_counter()
        found, _ = pages.packed.top_k(query, K)
        times.append(time.perf_counter() - start)
        kept.append(np.isin(best, found).mean())
    reached = f"{np.mean(kept):.3f} | {len(pages):,} | | {np.median(times) * 1000:.1f}"
    return f"| exact, int8 | 0 | 0 | {reached} | {reached} |"


def staged(pages: Collection, summaries: PackedPages) -> Iterator[str]:
    """What a search does, which settles by itself how many pages are scored: recall and time by `_settle.HOPE`, for all
    pages and for random parts of them."""
    order = np.random.default_rng(0).permutation(len(pages))
    for part in (16, 4, 1):
        some = np.sort(order[: len(pages) // part])
        best = top(pages.exact[:, some])
        given = [Staged(pages.packed, summaries, some)]
        for hope in (0.9, 1.0, 1.1, 1.2, 1.3, None):
            _settle.HOPE = hope or DEFAULT_HOPE
            times, kept = [], []
            for query, wanted in zip(pages.queries, best, strict=True):
                start = time.perf_counter()
                ((_, found, _),) = best_pages(given, [query], K, exact=hope is None)
                times.append(time.perf_counter() - start)
                kept.append(np.isin(some[wanted], found).mean())
            what = f"a hope of {hope}" if hope else "exact"
            yield f"{len(some):,} pages, {what}: recall {np.mean(kept):.3f}, {np.median(times) * 1000:.1f} ms"
    _settle.HOPE = DEFAULT_HOPE


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the vectors are kept")
    parser.add_argument("--pdfs", type=Path, help="PDFs to encode first, where that is not done")
    parser.add_argument("--dim", type=int, default=128, help="dimensions of the vectors, by PCA")
    parser.add_argument("--only", nargs="+", default=("summaries", "cheap", "muvera", "lemur", "ivf-pq", "cells"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if arguments.pdfs:
        encode_pdfs(folder / "more", arguments.pdfs)
    pages = load(folder, arguments.dim)
    print(
        f"{len(pages):,} pages of {len(pages.vectors) / len(pages):.0f} vectors, {arguments.dim} dimensions; "
        f"{len(pages.queries)} questions of {np.mean([len(query) for query in pages.queries]):.0f} tokens\n"
    )
    head = " | ".join(f"recall | shortlist | ms to find it | ms in all, at {target}" for target in TARGETS)
    print(f"| first stage | bytes a page | s to build | {head} |\n" + "|---" * 11 + "|")
    print(exact(pages), flush=True)
    for stage in stages(pages, folder, arguments.only):
        print(row(pages, stage), flush=True)
    print(f"\nwhat a search does; by default with a hope of {DEFAULT_HOPE}")
    for line in staged(pages, default(pages)[1]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
