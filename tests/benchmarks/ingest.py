"""Is the encoder ever idle? Pages a second from files to a committed index, beside the encoder alone.

    python tests/benchmarks/ingest.py FOLDER                          # the default model, and a tiny ColQwen2
    python tests/benchmarks/ingest.py FOLDER --model NAME --pages 300

The first documents of FOLDER with so many pages in all. The encoder alone has these pages in memory, and gets them in
batches of the same size; the two are measured in turns, and the ratio is the median of the rounds' ratios. The tiny
ColQwen2 has random weights: its pages cost about as much to read as to encode, which no real model's do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from visret import Page, Retriever, ingest, load_encoder, pdf, registry
from visret.encoders import _torch
from visret.errors import DocumentError
from visret.types import Encoder


def choose(folder: Path, pages: int) -> list[Path]:
    """The first PDFs with at least so many pages in all; none has more than a quarter of them."""
    chosen, total = [], 0
    for path in sorted(folder.rglob("*.pdf")):
        try:
            count = pdf.count(path)
        except DocumentError:
            continue
        if count <= max(1, pages // 4):
            chosen.append(path)
            total += count
        if total >= pages:
            break
    return chosen


def read(paths: list[Path], encoder: Encoder) -> Iterator[Page]:
    """All their pages that the encoder can read."""
    for path in paths:
        with pdf.open_document(path) as document:
            for number in range(1, len(document) + 1):
                page = document.page(number, doc=str(path), image=encoder.spec.modality == "image")
                if encoder.can_read(page):
                    yield page


def encode(encoder: Encoder, pages: list[Page]) -> float:
    """Pages a second, in batches as large as those of `Retriever.add`."""
    size, started = ingest.BATCH_PAGES[encoder.spec.modality], time.perf_counter()
    for start in range(0, len(pages), size):
        encoder.encode_pages(pages[start : start + size])
    return len(pages) / (time.perf_counter() - started)


def add(encoder: Encoder, paths: list[Path]) -> float:
    """Pages a second of `Retriever.add`, from files to the commit."""
    with tempfile.TemporaryDirectory() as folder, Retriever.create(Path(folder, "index"), model=encoder) as retriever:
        started = time.perf_counter()
        report = retriever.add(paths)
        return report.pages / (time.perf_counter() - started)


def measure(name: str, encoder: Encoder, folder: Path, pages: int, rounds: int) -> float:
    """The ratio, and a line about it."""
    paths = choose(folder, pages)
    in_memory = list(read(paths, encoder))
    encode(encoder, in_memory[:8])
    alone, ended = [], []
    for _ in range(rounds):
        alone.append(encode(encoder, in_memory))
        ended.append(add(encoder, paths))
    ratio = statistics.median(e / a for e, a in zip(ended, alone, strict=True))
    rates = f"encoder {statistics.median(alone):6.1f} pages/s   end to end {statistics.median(ended):6.1f} pages/s"
    print(f"{name:20} {len(in_memory):5} pages of {len(paths):3} files   {rates}   {ratio:.0%}", flush=True)
    return ratio


def main() -> None:
    """Print a line a model; exit status 1 where the encoder was idle for more than a tenth of the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="a name or folder, instead of the two")
    parser.add_argument("--pages", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.model:
            models = {given.model: given.model}
        else:
            sys.path.insert(0, str(Path(__file__).parent.parent))
            import tiny

            with _torch.quiet():
                tiny.colqwen2(Path(scratch, "colqwen2"))
            models = {registry.DEFAULT_MODEL: registry.DEFAULT_MODEL, "tiny ColQwen2": Path(scratch, "colqwen2")}
        ratios = [
            measure(name, load_encoder(model), given.folder, given.pages, given.rounds)
            for name, model in models.items()
        ]
    raise SystemExit(min(ratios) < 0.9)


if __name__ == "__main__":
    main()
