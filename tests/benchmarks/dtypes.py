"""What a text model computes in costs and brings: pages a second, and right pages, in each dtype that it has.

    python tests/benchmarks/dtypes.py FOLDER [--model NAME] [--threads N] [--rounds N]    # the FOLDER of quality.py

Speed is that of some pages of the manuals, in rounds, in which each dtype reads them once: the median of the rates, and
of the ratios to float32 within a round. Quality is nDCG@5 of plain MaxSim over all pages and questions of quality.py:
pages in this dtype, questions in float32, as a search has them. "Apart" is 1 minus the mean cosine of these vectors to
those in float32.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import statistics
import time
from pathlib import Path

import numpy as np
import storage
from encoders import pages_of
from quality import fetch

from visret import documents, load_encoder
from visret.choices import DEFAULT_MODEL
from visret.types import Encoder

DTYPES = ("float32", "bfloat16", "int8")
TIMED_PAGES = 24


def in_dtype(collection: storage.Collection, folder: Path, encoder: Encoder) -> storage.Collection:
    """The same pages, read by another encoder."""
    rows, opened = [], None
    for ref in collection.refs:
        if opened is None or opened[0] != ref.doc:
            opened = ref.doc, documents.open_document(fetch(folder) / ref.doc)
        (made,) = encoder.encode_pages([opened[1].page(ref.page, doc=ref.doc, image=False)])
        rows.append(made.vectors.astype(np.float16))
    return dataclasses.replace(collection, vectors=np.concatenate(rows))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages, the PDFs and the vectors are kept")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    made = {
        dtype: load_encoder(arguments.model, dtype=dtype, device="cpu", threads=arguments.threads) for dtype in DTYPES
    }
    pages = pages_of(fetch(arguments.folder), TIMED_PAGES)
    seconds: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    for turn in range(arguments.rounds + 1):
        for dtype in random.Random(turn).sample(DTYPES, len(DTYPES)):
            start = time.perf_counter()
            made[dtype].encode_pages(pages)
            if turn:  # the first one warms up
                seconds[dtype].append(time.perf_counter() - start)
    print("| dtype | pages/s | times float32 | nDCG@5 | apart |\n|---|---|---|---|---|")
    collection, exact = storage.load(arguments.folder, arguments.model), None
    for dtype, encoder in made.items():
        read = in_dtype(collection, arguments.folder, encoder)
        exact = exact or read
        found = storage.ndcg(storage.ranked(read, storage.store(read, storage.Storage("float32")).scores))
        apart = 1 - np.einsum("nd,nd->n", *(one.vectors.astype(np.float32) for one in (read, exact))).mean()
        rate = statistics.median(len(pages) / taken for taken in seconds[dtype])
        ratio = statistics.median(a / b for a, b in zip(seconds["float32"], seconds[dtype], strict=True))
        print(f"| {dtype} | {rate:.1f} | {ratio:.2f} | {found.mean():.3f} | {apart:.4f} |", flush=True)


if __name__ == "__main__":
    main()
