"""1,000,000 pages on compressed rows: the time of a question, the memory it takes, and how much of the best it finds.

    python tests/benchmarks/engines.py FOLDER --only large      # makes the pages, and our index of 100,000 of them
    python tests/benchmarks/million.py FOLDER

The 100,000 pages (real ones, repeated with noise) are stored again as residual2, 36 bytes a vector, and ten times over,
each time with another twentieth of the codes changed; their summaries likewise. All lies in files (8 GB) that are
mapped, as an index does it. Recall is of the exact ten best of the real pages alone, by the same codec.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from engines import CORES, PAGES, Work, make_short, work

from visret.codec import Codec, Rows, encode, fit
from visret.index import PageIndex
from visret.index.fields import SUMMARIES
from visret.maxsim import PackedPages
from visret.reduction import summarise, summary_size
from visret.search.late_interaction import Staged, best_pages

TIMES = 10
CHANGED = 0.05
SUMMARY_NOISE = 4  # of 127
CODEC = "residual2"
BLOCK = 1 << 18
sys.path.append(str(Path(__file__).parent / "peers"))
from worker import read  # noqa: E402


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that of engines.py")
    folder = parser.parse_args().folder
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    real = work("large", folder, make_short(folder))
    index = PageIndex.open(real.folder / f"with_visret_index {PAGES['with_visret_index']}" / "int8")
    queries = read(real.folder).queries
    codec = fitted(real)
    part = million(folder / "engines" / "million", index, codec)
    print(f"{len(part.pages):,} pages, {len(part.pages.rows.codes):,} vectors, {bytes_of(part) / 1e9:.1f} GB mapped")
    own, times = anonymous(), []
    for turn in range(3):
        for number in real.some():
            start = time.perf_counter()
            best_pages([part], [queries[number]], 10)
            times.append(time.perf_counter() - start)
        if not turn:
            cold, times = times, []
    print(f"{np.median(times) * 1000:.0f} ms a question ({np.median(cold) * 1000:.0f} the first time)")
    print(f"{anonymous() - own:.0f} MiB more after the searches than before")
    print(f"recall of the real pages alone, {real.pages:,}: {recall(real, queries, codec):.3f}")


def fitted(real: Work) -> Codec:
    """The codec, learned from a sample of all real pages."""
    vectors = np.load(real.folder / "vectors.npy", mmap_mode="r")
    return fit(CODEC, np.asarray(vectors[:: len(vectors) // (1 << 17)], np.float32))


def recall(real: Work, queries: list[np.ndarray], codec: Codec) -> float:
    """Of the ten best real pages by float32, with summaries and rows as in the million."""
    vectors = np.load(real.folder / "vectors.npy", mmap_mode="r")
    offsets = np.load(real.folder / "offsets.npy")
    blocks = [encode(np.asarray(vectors[i : i + BLOCK], np.float32), codec) for i in range(0, len(vectors), BLOCK)]
    rows = Rows(*(None if parts[0] is None else np.concatenate(parts) for parts in zip(*blocks, strict=True)))
    short = [summarise(np.asarray(vectors[a:b], np.float32), summary_size(int(b - a))) for a, b in pairwise(offsets)]
    summaries = encode(np.concatenate(short), Codec("int8", codec.dim))
    part = Staged(
        PackedPages(rows, offsets, codec),
        PackedPages(summaries, np.cumsum([0, *map(len, short)]), Codec("int8", codec.dim)),
    )
    asked = real.some()
    found = best_pages([part], [queries[number] for number in asked], 10)
    return real.recall(asked, [rows.tolist() for _, rows, _ in found])


def million(at: Path, index: PageIndex, codec: Codec) -> Staged:
    """The pages, made where they are not there."""
    at.mkdir(parents=True, exist_ok=True)
    if not (at / "done").exists():
        make(at, index, codec)
        (at / "done").touch()
    arrays = {file.stem: np.load(file, mmap_mode="r") for file in at.glob("*.npy")}
    rows = Rows(codes=arrays["codes"], scales=arrays["scales"], centroids=arrays["centroids"])
    summaries = Rows(codes=arrays["summaries"], scales=arrays["summary_scales"])
    pages = PackedPages(rows, np.asarray(arrays["offsets"]), codec)
    return Staged(pages, PackedPages(summaries, np.asarray(arrays["summary_offsets"]), Codec("int8", codec.dim)))


def make(at: Path, index: PageIndex, codec: Codec) -> None:
    """Write the arrays, one copy of the pages after the other."""
    segments = index.snapshot.segments
    lengths = np.concatenate([np.diff(segment.offsets) for segment in segments])
    shorts = np.concatenate([np.diff(segment.offsets_of(SUMMARIES)) for segment in segments])
    np.save(at / "offsets.npy", np.cumsum([0, *np.tile(lengths, TIMES)]))
    np.save(at / "summary_offsets.npy", np.cumsum([0, *np.tile(shorts, TIMES)]))
    empty = {
        **codec.empty(0)._asdict(),
        **{f"summary_{k}": v for k, v in Codec("int8", codec.dim).empty(0)._asdict().items()},
    }
    names = {"codes": "codes", "scales": "scales", "centroids": "centroids"}
    names |= {"summary_codes": "summaries", "summary_scales": "summary_scales"}
    counts = {name: int((shorts if name.startswith("summar") else lengths).sum()) for name in names.values()}
    files = {
        name: np.lib.format.open_memmap(
            at / f"{name}.npy", "w+", empty[field].dtype, (TIMES * counts[name], *empty[field].shape[1:])
        )
        for field, name in names.items()
    }
    rng = np.random.default_rng(0)
    done = 0
    for segment in segments:
        for start in range(0, len(segment.rows.codes), BLOCK):
            some = segment.rows.part(slice(start, start + BLOCK))
            vectors = (some.codes.astype(np.float32) - 128) * some.scales[:, None]
            stored = encode(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), codec)
            for copy in range(TIMES):
                place = slice(copy * counts["codes"] + done, copy * counts["codes"] + done + len(vectors))
                changed = rng.random(stored.codes.shape, np.float32) < CHANGED * bool(copy)
                noise = rng.integers(0, 256, stored.codes.shape, np.uint8)
                files["codes"][place] = np.where(changed, noise, stored.codes)
                files["scales"][place], files["centroids"][place] = stored.scales, stored.centroids
            done += len(vectors)
    summaries = np.concatenate([segment.stored(SUMMARIES).codes for segment in segments])
    scales = np.concatenate([segment.stored(SUMMARIES).scales for segment in segments])
    for copy in range(TIMES):
        place = slice(copy * len(summaries), (copy + 1) * len(summaries))
        noise = rng.integers(-SUMMARY_NOISE, SUMMARY_NOISE + 1, summaries.shape, np.int16) * bool(copy)
        files["summaries"][place] = np.clip(summaries + noise, 1, 255)
        files["summary_scales"][place] = scales
    for file in files.values():
        file.flush()


def bytes_of(part: Staged) -> int:
    """Of all mapped arrays."""

    def size(pages: PackedPages) -> int:
        return sum(array.nbytes for array in pages.rows if array is not None)

    return size(part.pages) + size(part.summaries)


def anonymous() -> float:
    """MiB of this process that are not mapped from files."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
