"""Pages a second of the default model: torch and onnxruntime in visret, beside sentence-transformers.

    pip install -e ".[onnx]"
    python tests/benchmarks/encoders.py FOLDER         # any folder with *.pdf or *.pdf.gz

All engines read the same pages: pages with words of PDFs drawn from FOLDER, in the same windows, in float32, from text
to vectors of every word piece. SentenceTransformer gives the token embeddings of the windows' texts in its own batches.
In each round every engine reads all pages once, so that what else the machine does falls on all of them; the table has
medians of the rounds, with the fastest and the slowest, and the median of the ratios within a round to
SentenceTransformer on as many threads. Vectors are compared first: an engine that differs by more than 1e-4 is an
error.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from visret import Page, documents, load_encoder
from visret.encoders import _reading, _torch
from visret.errors import DocumentError
from visret.models import registry, weights

MODEL = "all-minilm-l6-v2"
THREADS = (1, 2)
PEER = "SentenceTransformer"

Engine = Callable[[list[Page]], list[np.ndarray]]


def pages_of(folder: Path, count: int) -> list[Page]:
    """At most three of a document, so that no document decides."""
    files = sorted([*folder.rglob("*.pdf"), *folder.rglob("*.pdf.gz")])
    random.Random(0).shuffle(files)
    found: list[Page] = []
    for file in files:
        try:
            found += some_pages(file)
        except DocumentError as error:
            print(f"left out: {error}")
        if len(found) >= count:
            return found[:count]
    raise SystemExit(f"{folder}: {len(found)} pages with words, {count} are asked for; --pages takes fewer")


def some_pages(file: Path) -> list[Page]:
    """The first three pages with words."""
    found: list[Page] = []
    with tempfile.TemporaryDirectory() as scratch:
        path = file
        if file.suffix == ".gz":
            path = Path(scratch) / file.stem
            path.write_bytes(gzip.decompress(file.read_bytes()))
        with documents.open_document(path) as document:
            for number in range(1, len(document) + 1):
                page = document.page(number, doc=file.name, image=False)
                found += [page] * bool(page.text.strip())
                if len(found) == 3:
                    break
    return found


def visret(backend: str, threads: int) -> Engine:
    spec = registry.get(MODEL)
    spec = dataclasses.replace(spec, options={**spec.options, "backend": backend})
    encoder = load_encoder(spec, dtype="float32", device="cpu", threads=threads)
    return lambda pages: [embedding.vectors for embedding in encoder.encode_pages(pages)]


def peer(threads: int) -> Engine:
    """Each page's windows as texts, and their token embeddings without [CLS] and [SEP] as unit rows."""
    folder = weights.location(registry.get(MODEL)).path
    assert folder is not None
    with _torch.quiet():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = 512
    windows = windows_of(folder)

    def encode(pages: list[Page]) -> list[np.ndarray]:
        texts = [windows(page.text) for page in pages]
        with _torch.on_threads(threads):
            encoded = model.encode(
                [text for own in texts for text in own], output_value="token_embeddings", show_progress_bar=False
            )
        rows = iter(encoded)
        return [np.concatenate([_torch.to_numpy(next(rows)[1:-1]) for _ in own]) for own in texts]

    return encode


def windows_of(folder: Path) -> Callable[[str], list[str]]:
    """From a text to the texts of the windows that visret reads it in."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    limits = load_encoder(MODEL).preprocessing

    def cut(text: str) -> list[str]:
        reading = _reading.read(tokenizer, text, prompt="", unknown=100)
        cuts = _reading.windows(reading, most_words=limits["window_words"], most_pieces=limits["window_pieces"])
        return [text[reading.starts[some][0] : reading.ends[some][-1]] for some in cuts]

    return cut


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest, of pages where both have as many vectors: a word that the tokenizer drops has one in visret only."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if len(a) == len(b)]
    if len(pairs) < 0.8 * len(found):
        raise SystemExit(f"only {len(pairs)} of {len(found)} pages have as many vectors as in {PEER}")
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where PDFs are")
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pages = pages_of(arguments.folder, arguments.pages)
    engines: dict[tuple[str, int], Engine] = {}
    for threads in THREADS:
        engines[PEER, threads] = peer(threads)
        engines["visret, torch", threads] = visret("torch", threads)
        engines["visret, onnx", threads] = visret("onnx", threads)

    expected = engines[PEER, 1](pages)
    pieces = sum(map(len, expected))
    print(f"{len(pages)} pages, {pieces / len(pages):.0f} word pieces a page; {arguments.rounds} rounds\n")
    apart = {key: difference(engine(pages), expected) for key, engine in engines.items()}  # and warms up
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in engines}
    for turn in range(arguments.rounds):
        order = list(engines)
        random.Random(turn).shuffle(order)
        for key in order:
            start = time.perf_counter()
            engines[key](pages)
            seconds[key].append(time.perf_counter() - start)

    print("| engine | threads | pages/s | slowest and fastest round | times SentenceTransformer | largest difference |")
    print("|---|---|---|---|---|---|")
    for (name, threads), times in seconds.items():
        rates = [len(pages) / time for time in times]
        ratios = [theirs / ours for theirs, ours in zip(seconds[PEER, threads], times, strict=True)]
        print(
            f"| {name} | {threads} | {statistics.median(rates):.1f} | {min(rates):.1f} to {max(rates):.1f} "
            f"| {statistics.median(ratios):.2f} | {apart[name, threads]:.0e} |"
        )
    wrong = [key for key, value in apart.items() if value > 1e-4]
    if wrong:
        raise SystemExit(f"other vectors than {PEER}: {wrong}")


if __name__ == "__main__":
    main()
