"""How long a search of single vectors takes: every page scanned by visret, and by faiss, exactly and approximately.

    pip install -e ".[bench]"                          # faiss-cpu
    python tests/benchmarks/single_vectors.py [PAGES ...]

Random unit vectors around random centres, of 384 dimensions, one a page; 20 questions near pages, one at a time, after
one that is not counted. Medians of wall clock and of CPU time; recall is the share of the ten best of float32 vectors.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from visret.codec import Codec, Rows, encode
from visret.maxsim.packed import PackedPages, top_k_of_parts

DIM, K, QUESTIONS, CENTRES = 384, 10, 20, 1000


def vectors(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, d) float32 unit rows."""
    centres = rng.standard_normal((CENTRES, DIM)).astype(np.float32)
    made = centres[rng.integers(0, CENTRES, count)]
    for start in range(0, count, 1 << 16):
        part = made[start : start + (1 << 16)]
        part += rng.standard_normal(part.shape, np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made


def by_faiss(index):
    """A function that asks an index of faiss."""
    return lambda question: index.search(question, K)[1][0].tolist()


def by_visret(pages: PackedPages):
    """A function that scans pages."""
    return lambda question: top_k_of_parts([(pages, None)], [question], K)[0][1].tolist()


def median(ask, questions: np.ndarray) -> tuple[float, float, list[set[int]]]:
    """ms of wall clock and of CPU time for a question, and what was found."""
    ask(questions[:1])
    walls, cpus, found = [], [], []
    for question in questions:
        wall, cpu = time.perf_counter(), time.process_time()
        found.append(set(ask(question[None])))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return float(np.median(walls)) * 1000, float(np.median(cpus)) * 1000, found


def main() -> None:
    """Print a line for each number of pages and each system."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(2)
    print("| pages | system | ms | CPU ms | recall of ten | bytes a page | made in s |\n|---|---|---|---|---|---|---|")
    for count in arguments.pages:
        rng = np.random.default_rng(0)
        pages = vectors(rng, count)
        questions = pages[rng.integers(0, count, QUESTIONS)] + 0.05 * rng.standard_normal((QUESTIONS, DIM))
        questions = (questions / np.linalg.norm(questions, axis=1, keepdims=True)).astype(np.float32)

        def told(name, ask, size, seconds, truth=None, questions=questions, count=count):
            wall, cpu, found = median(ask, questions)
            recall = (
                "" if truth is None else f"{np.mean([len(a & b) / K for a, b in zip(found, truth, strict=True)]):.3f}"
            )
            print(
                f"| {count:,} | {name} | {wall:.2f} | {cpu:.2f} | {recall} | {size:.0f} | {seconds:.1f} |", flush=True
            )
            return found

        flat = faiss.IndexFlatIP(DIM)
        flat.add(pages)
        truth = told("faiss, float32, every page", by_faiss(flat), 4 * DIM, 0)
        del flat
        start = time.perf_counter()
        rows: Rows = encode(pages, Codec("int8", DIM))
        packed = PackedPages(rows, np.arange(count + 1), Codec("int8", DIM))
        seconds = time.perf_counter() - start
        told(
            "visret, 8 bits, every page",
            by_visret(packed),
            DIM + 4,
            seconds,
            truth,
        )
        for ef in (64, 256) if count <= 100_000 else ():
            start = time.perf_counter()
            graph = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction = 100
            graph.add(pages)
            seconds = time.perf_counter() - start
            graph.hnsw.efSearch = ef
            told(f"faiss, HNSW 32, ef {ef}", by_faiss(graph), 4 * DIM + 260, seconds, truth)
            del graph


if __name__ == "__main__":
    main()
