"""Top 10 pages on a GPU: every codec, beside colpali-engine's scores on the same device.

    python tests/benchmarks/gpu.py [--device cuda:0] [--large]

The work is 1,000 pages of 1,030 vectors (a ColPali page) for a query of 32 tokens, and 100,000 pages of 200 vectors for
one of 12, 128 dimensions each. Without a GPU it says so and measures the CPU, which gets the second work only when told
(--large: 11 GB of memory). Pages are noise around the query's tokens, 50,000 distinct vectors copied until there are
enough, since no step takes longer or shorter for what the numbers are. Before anything is timed the scores are compared
with the definition. colpali-engine gets its pages as tensors that already lie on the device, and the better of two
batch sizes.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from visret import codec as codecs
from visret.codec import Rows
from visret.encoders._torch import import_torchvision
from visret.maxsim import reference
from visret.maxsim.device import DevicePages, on_device

DIM, K, DISTINCT = 128, 10, 50_000  # vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="any device torch knows (default: a GPU if there is one)")
    parser.add_argument("--large", action="store_true", help="the 100,000 pages on a CPU too")
    arguments = parser.parse_args()
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "mps" if mps() else "cpu")
    print(f"device: {described(device)}; torch {torch.__version__}")
    if device == "cpu":
        print("No GPU was used" + ("" if arguments.device else ": torch finds none here") + ". These are CPU times.")
    work(1_000, 1_030, 32, device)
    if device != "cpu" or arguments.large:
        work(100_000, 200, 12, device)
    else:
        print("\n100,000 pages x 200 x 128: left out on a CPU (--large measures it)")


def work(pages: int, length: int, tokens: int, device: str) -> None:
    """Measure one collection and print a line for every codec and the peer."""
    print(f"\n{pages:,} pages x {length:,} x {DIM}, {tokens} query tokens, top {K}")
    rng = np.random.default_rng(0)
    copies = pages * length // DISTINCT
    distinct = pages // copies
    query = unit(rng, tokens)
    vectors = unit(rng, distinct * length) + 0.3 * query[rng.integers(0, tokens, distinct * length)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    offsets = np.arange(0, len(vectors) + 1, length)
    for name in codecs.CODECS:
        codec = codecs.fit(name, vectors)
        rows = codecs.encode(vectors, codec)
        some = on_device(rows, offsets, codec, device)
        check(some, query, reference.page_scores(query, codecs.decode(rows, codec), offsets))
        many = repeated(some, copies)
        note = f"{codec.bytes_a_vector} bytes a vector" + (
            f", {len(codec.centroids)} centroids" if codec.centroids is not None else ""
        )
        print(f"  visret {name:<22}{milliseconds(lambda many=many: many.top_k(query, K)):10.2f} ms   {note}")
        del some, many
    peer(query, vectors.reshape(distinct, length, DIM), copies, device)


def peer(query: np.ndarray, pages: np.ndarray, copies: int, device: str) -> None:
    import_torchvision()
    try:
        from colpali_engine.utils.processing_utils import BaseVisualRetrieverProcessor
    except ImportError as error:
        raise SystemExit(f"  colpali-engine did not run: {error}") from error

    expected = reference.page_scores(query, pages.reshape(-1, DIM), np.arange(0, pages.size // DIM + 1, pages.shape[1]))
    for kind, tolerance in ((torch.float32, 1e-3), (torch.float16, 0.1)):
        if kind == torch.float16 and device == "cpu":
            continue  # slower there than float32
        queries = [torch.from_numpy(query).to(device, kind)]
        stored = [torch.from_numpy(page).to(device, kind) for page in pages]

        def top(stored: list[torch.Tensor], batch: int, queries: list[torch.Tensor] = queries) -> torch.Tensor:
            scores = BaseVisualRetrieverProcessor.score_multi_vector(queries, stored, batch_size=batch, device=device)
            return scores[0].topk(K).values

        found = BaseVisualRetrieverProcessor.score_multi_vector(queries, stored, device=device)[0].numpy()
        assert np.abs(found - expected).max() < tolerance, f"colpali-engine differs by {np.abs(found - expected).max()}"
        many = [page.clone() for _ in range(copies) for page in stored]
        best = min(milliseconds(lambda batch=batch, many=many: top(many, batch)) for batch in (128, 1024))
        dtype = str(kind).removeprefix("torch.")
        print(f"  colpali-engine {dtype:<14}{best:10.2f} ms   {DIM * kind.itemsize} bytes a vector")


def check(pages: DevicePages, query: np.ndarray, expected: np.ndarray) -> None:
    """The scan, the exact scores and the ten best pages are those of the definition."""
    tokens = len(query)
    assert np.abs(pages.exact_scores(query) - expected).max() < 1e-5 * tokens
    assert np.abs(pages.scores(query) - expected).max() < tokens / 300
    rows, scores = pages.top_k(query, K)
    best = np.sort(expected)[::-1][:K]
    assert np.abs(scores - best).max() < 1e-5 * tokens
    assert np.abs(expected[rows] - best).max() < 1e-5 * tokens


def repeated(pages: DevicePages, copies: int) -> DevicePages:
    """The same pages many times over, each in memory of its own."""
    rows = Rows(*(None if t is None else t.repeat(copies, *[1] * (t.dim() - 1)) for t in pages.rows))
    lengths = np.tile(np.diff(pages.offsets), copies)
    return dataclasses.replace(pages, rows=rows, offsets=np.concatenate([[0], np.cumsum(lengths)]))


def milliseconds(call: Callable[[], object]) -> float:
    """The median of a second's calls, at least five; the answer lies on the host, so nothing is still running."""
    call(), call()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < 1 and len(times) < 200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.standard_normal((count, DIM), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def mps() -> bool:
    return torch.backends.mps.is_available()


def described(device: str) -> str:
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)} ({device})"
    return f"{device} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"


if __name__ == "__main__":
    main()
