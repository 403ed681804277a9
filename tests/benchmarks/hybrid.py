"""What ways of ranking cost in a large index: late interaction, BM25, and both fused.

    python tests/benchmarks/hybrid.py FOLDER [--pages 100000]    # as quality.py, which makes the index of real pages

The pages are the real ones of quality.py, then copies of them: each vector of a copy has noise of a length of .3 (a
cosine of .96 with the original), and its words are lines of all pages, drawn at random, with a word of its own. About
200 vectors a page are left (token pooling, done before the noise), and PCA leaves 128 dimensions, in int8: 26 KB a page
without its words. The index is made once, in FOLDER, at a hundred pages a second.

Each row: the median time of a question, of those of quality.py, in three rounds, one way after the other; with ten
explained hits, without explanations, and as a multiple of late interaction.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from lexical import made
from quality import questions

from visret import Retriever, reduction
from visret.choices import BM25, DENSE, HYBRID, LATE
from visret.index import PageIndex, Snapshot
from visret.reduction import Storage
from visret.types import PageEmbedding, PageRef

WAYS = (LATE, BM25, DENSE, HYBRID)
VECTORS = 200
DIM = 128
NOISE = 0.3
BATCH = 2000  # pages a commit
ROUNDS = 3


def real_pages(snapshot: Snapshot) -> Iterator[PageEmbedding]:
    """Yield every page with about VECTORS vectors."""
    for document in snapshot.documents():
        for page in document.pages:
            whole = snapshot.embedding((document.doc, page))
            yield reduction.pool(whole, max(1, round(len(whole.vectors) / VECTORS)))


def make(at: Path, real: PageIndex, count: int) -> None:
    """Write an index of `count` pages."""
    pages = list(real_pages(real.snapshot))
    texts = made([page.text for page in pages], count)
    rng = np.random.default_rng(0)
    storage = Storage("int8", dim=DIM)
    with PageIndex.create(at, model=real.model, storage=storage) as index, index.writing() as writer:
        for number, text in enumerate(texts):
            page, doc = pages[number % len(pages)], f"{number}"
            vectors = page.vectors
            if number >= len(pages):
                noise = rng.standard_normal(vectors.shape, np.float32) * np.float32(NOISE / np.sqrt(vectors.shape[1]))
                vectors = vectors + noise
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            one = replace(page, ref=PageRef(doc, 1), vectors=vectors, text=text, word_boxes=None)
            writer.put(writer.add(doc), one)
            if number % BATCH == BATCH - 1:
                writer.commit()


def median(retriever: Retriever, way: str, times: list[float], *, explain: bool) -> None:
    """Add the seconds of each question."""
    for question in questions():
        start = time.perf_counter()
        retriever.search(question["query"], by=way, explain=explain)
        times.append(time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--pages", type=int, default=0, help="so many, of which most are copies; the real ones if unset"
    )
    arguments = parser.parse_args()
    logging.getLogger("visret").setLevel(logging.ERROR)  # which words no page has
    path = arguments.folder / "all-minilm-l6-v2.visret"
    if arguments.pages:
        real, path = path, arguments.folder / f"hybrid-{arguments.pages}.visret"
        if not path.exists():
            with PageIndex.open(real) as index:
                make(path, index, arguments.pages)
    with Retriever.open(path) as retriever:
        facts = retriever.info()
        print(f"{facts['pages']:,} pages, {facts['vectors']:,} vectors, {facts['bytes'] / 1e9:.1f} GB\n")
        times: dict[tuple[str, bool], list[float]] = {(way, explain): [] for way in WAYS for explain in (True, False)}
        for number in range(ROUNDS + 1):
            for (way, explain), seconds in times.items():
                median(retriever, way, seconds, explain=explain)
                if not number:
                    seconds.clear()  # the first round maps files and compiles
    print("| way | ms with ten explained hits | times late | ms, ranked only | times late |\n|---|---|---|---|---|")
    for way in WAYS:
        row = [way]
        for explain in (True, False):
            mine, late = (np.median(times[name, explain]) * 1000 for name in (way, LATE))
            row += [f"{mine:.1f}", f"{mine / late:.2f}"]
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
