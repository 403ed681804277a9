"""Is the encoder ever idle? Pages a second from files to a committed index, beside the encoder alone.

    python tests/benchmarks/ingest.py FOLDER                          # the default model, and a small ColQwen2
    python tests/benchmarks/ingest.py FOLDER --model NAME --pages 300

The first documents of FOLDER with so many pages in all. The encoder alone has these pages in memory, and gets them in
batches of the same size; the two are measured in turns, and the ratio is the median of the rounds' ratios. On two
cores it is below 100 % where the encoder keeps both busy, because reading and writing need some of them too: "of the
cores" is the share of all processes' CPU seconds that the encoder needs alone, which other programs on the machine
disturb less than times. "busy" is the share of the time in which a batch was being encoded. The ColQwen2 has random
weights and a hundredth of the real one's: reading its pages costs more beside encoding them than with any real model.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from visret import Page, PageEmbedding, Retriever, documents, load_encoder
from visret.encoders import _torch
from visret.errors import DocumentError
from visret.ingest import encoding
from visret.models import registry
from visret.types import Encoder


def choose(folder: Path, pages: int) -> list[Path]:
    """The first PDFs with at least so many pages in all; none has more than a quarter of them."""
    chosen, total = [], 0
    for path in sorted(folder.rglob("*.pdf")):
        try:
            count = documents.count(path)
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
        with documents.open_document(path) as document:
            for number in range(1, len(document) + 1):
                page = document.page(number, doc=str(path), image=encoder.spec.modality == "image")
                if encoder.can_read(page):
                    yield page


def cores() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def encode(encoder: Encoder, pages: list[Page]) -> tuple[float, float]:
    """Pages a second, in batches as large as those of `Retriever.add`; CPU seconds a page."""
    size, started, before = encoding.BATCH_PAGES[encoder.spec.modality], time.perf_counter(), cores()
    for start in range(0, len(pages), size):
        encoder.encode_pages(pages[start : start + size])
    return len(pages) / (time.perf_counter() - started), (cores() - before) / len(pages)


class Watched:
    """An encoder, and the seconds in which it encoded pages."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.seconds = encoder, 0.0
        self.spec, self.preprocessing = encoder.spec, encoder.preprocessing
        self.can_read, self.encode_queries = encoder.can_read, encoder.encode_queries

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        started = time.perf_counter()
        made = self.encoder.encode_pages(pages)
        self.seconds += time.perf_counter() - started
        return made


def add(encoder: Encoder, paths: list[Path]) -> tuple[float, float, float]:
    """Pages a second of `Retriever.add`, from files to the commit; CPU seconds a page; the share of time encoding."""
    encoder = Watched(encoder)
    with tempfile.TemporaryDirectory() as folder, Retriever.create(Path(folder, "index"), model=encoder) as retriever:
        started, before = time.perf_counter(), cores()
        report = retriever.add(paths, ocr="never")  # OCR is slower than any encoder
        seconds = time.perf_counter() - started
        return report.pages / seconds, (cores() - before) / report.pages, encoder.seconds / seconds


def measure(name: str, encoder: Encoder, folder: Path, pages: int, rounds: int) -> float:
    """The ratio, and a line about it."""
    paths = choose(folder, pages)
    in_memory = list(read(paths, encoder))
    encoder.encode_pages(in_memory[:8])
    measured = [(*encode(encoder, in_memory), *add(encoder, paths)) for _ in range(rounds)]
    alone, _, ended, _, busy = (statistics.median(column) for column in zip(*measured, strict=True))
    ratio = statistics.median(ended / alone for alone, _, ended, _, _ in measured)
    share = statistics.median(needed / used for _, needed, _, used, _ in measured)
    rates = f"encoder {alone:5.1f} pages/s   end to end {ended:5.1f} pages/s, busy {busy:.0%}   ratio {ratio:.0%}"
    print(f"{name:20} {len(in_memory):4} pages of {len(paths):3} files   {rates}, of the cores {share:.0%}", flush=True)
    return ratio


def main() -> None:
    """Print a line a model; exit status 1 where a ratio is below 90 %."""
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
            from support import tiny_vision

            with _torch.quiet():
                tiny_vision.colqwen(Path(scratch, "colqwen2"), "ColQwen2", dim=256, layers=6)
            models = {registry.DEFAULT_MODEL: registry.DEFAULT_MODEL, "small ColQwen2": Path(scratch, "colqwen2")}
        ratios = [
            measure(name, load_encoder(model), given.folder, given.pages, given.rounds)
            for name, model in models.items()
        ]
    raise SystemExit(min(ratios) < 0.9)


if __name__ == "__main__":
    main()
