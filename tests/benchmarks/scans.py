"""Right pages from pixels alone: nDCG@5 on the pages of quality.py, clean and as a scanner gives them.

    python tests/benchmarks/scans.py FOLDER [--model glyph] [--worn] [--documents 12] [--peers]
    python tests/benchmarks/scans.py FOLDER --skew 20

FOLDER as for quality.py. Also: how often the word under the best vector of a page is the word that was asked for, and
the seconds a page costs on one core. With --skew: the words of the text layer that `glyph` reads in the right place, on
so many pages, skewed by up to 10 degrees; and what the search for the angle costs on the pages as they are.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from quality import KINDS, fetch, questions, relevant, table_row, top
from rivals import bm25

from visret import Page, PageRef, documents, load_encoder
from visret.maxsim import page_scores
from visret.ocr import rapidocr
from visret.ocr.glyph.reading import bundled
from visret.ocr.glyph.skew import skew_of
from visret.types import Encoder, PageEmbedding, Word

COPIED_DPI = 75  # of worn pages
TEXT_MODEL = "all-minilm-l6-v2"


def worn(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    """Turned by up to 2 degrees, blurred, at 75 dpi, noisy, JPEG: of the size it had."""
    grey = image.convert("L").rotate(rng.uniform(-2, 2), Image.Resampling.BICUBIC, fillcolor=255)
    return copied(grey, rng, noise)


def copied(grey: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    """A grey picture blurred, at COPIED_DPI, noisy, JPEG."""
    scale = COPIED_DPI / documents.DPI
    grey = grey.resize((round(grey.width * scale), round(grey.height * scale)), Image.Resampling.BOX)
    grey = grey.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.5)))
    pixels = 235 - (255 - np.asarray(grey, np.float32)) * 0.8 + noise.normal(0, 6, (grey.height, grey.width))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=50)
    return Image.open(file).convert("RGB")


def pages_of(path: Path, doc: str, *, wears: bool) -> list[Page]:
    """With their images; worn ones without the words of the text layer, which are elsewhere on them."""
    rng, noise = random.Random(doc), np.random.default_rng(0)
    out = []
    with documents.open_document(path) as document:
        for number in range(1, len(document) + 1):
            page = document.page(number, doc=doc)
            if wears:
                image = worn(page.image, rng, noise)
                page = Page.from_image(image, doc=doc, page=number, size_pt=page.size_pt)
            out.append(page)
    return out


def plain(word: str) -> str:
    return re.sub(r"^\W+|\W+$", "", word.lower())


def located(encoder, page: Page, made, rng: random.Random) -> list[bool]:
    """For three words of the text layer: whether the best vector lies on one that is the same."""
    boxes: dict[str, list] = {}
    for word in page.words or ():
        if len(plain(word.text)) > 3 and not word.rest:
            boxes.setdefault(plain(word.text), []).append(word.box)
    out = []
    for word in rng.sample(sorted(boxes), min(3, len(boxes))):
        vectors = encoder.encode_queries([word])[0].vectors
        best = int(np.argmax((made.vectors @ vectors.T).max(axis=1)))
        x0, y0, x1, y1 = made.where[best]
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        out.append(any(a - 0.004 <= x <= c + 0.004 and b - 0.004 <= y <= d + 0.004 for a, b, c, d in boxes[word]))
    return out


class Reads:
    """A way from a picture to vectors, and what it has made so far. make: of a page, its vectors with their places."""

    def __init__(self, name: str, make: Callable[[Page], PageEmbedding | None]) -> None:
        self.name, self.make = name, make
        self.seconds = 0.0
        self.made: dict[PageRef, PageEmbedding] = {}

    def take(self, page: Page) -> PageEmbedding | None:
        start = time.process_time()
        embedding = self.make(page)
        self.seconds += time.process_time() - start
        if embedding is not None:
            self.made[page.ref] = embedding
        return embedding

    def texts(self) -> dict[PageRef, str]:
        return {ref: embedding.text for ref, embedding in self.made.items()}

    def rankings(self, encoder: Encoder) -> list[list[PageRef]]:
        return ranked({ref: embedding.vectors for ref, embedding in self.made.items()}, encoder)


def ranked(made: dict[PageRef, np.ndarray], encoder: Encoder) -> list[list[PageRef]]:
    """The five best pages for each question."""
    refs, rows = list(made), list(made.values())
    vectors, offsets = np.concatenate(rows), np.cumsum([0, *map(len, rows)])
    found = []
    for question in questions():
        scores = page_scores(encoder.encode_queries([question["query"]])[0].vectors, vectors, offsets)
        found.append([refs[i] for i in np.argsort(-scores, kind="stable")[:5]])
    return found


def mixed(layer: Reads, seen: Reads, text_model: Encoder, asked: list[int]) -> None:
    """A folder of which every other document has no text layer, and its pages are read; then the other ones."""
    docs = sorted({ref.doc for ref in layer.made})
    dim = text_model.spec.dim
    by_kind: dict[str, list[tuple[list[PageRef], dict]]] = {"read": [], "text layer": []}
    shown = pages = 0
    for turn in (0, 1):
        read = set(docs[turn::2])
        made = {ref: e.vectors for ref, e in layer.made.items() if ref.doc not in read}
        for ref, embedding in seen.made.items():
            if ref.doc in read:
                meaning = embedding.vectors[:, :dim]  # glyph's vectors are those of the text model, and spelling
                made[ref] = meaning / np.linalg.norm(meaning, axis=1, keepdims=True)
        found = ranked(made, text_model)
        for i in asked:
            right = next(iter(relevant(questions()[i]))).doc in read
            by_kind["read" if right else "text layer"].append((found[i], questions()[i]))
            shown += sum(ref.doc in read for ref in found[i])
        pages += sum(ref.doc in read for ref in made) / len(made) / 2
    for kind, some in by_kind.items():
        print(table_row(f"mixed folder, the right page by {kind}", [r for r, _ in some], [q for _, q in some]) + " |")
    print(f"pages that were read: {pages:.0%} of the folder, {shown / (10 * len(asked)):.0%} of the five best")


ANGLES = (0, 1, 2, 3, 5, 7, 10)  # degrees


def skewed(page: Page, degrees: float, *, wears: bool) -> tuple[Image.Image, dict[str, list[np.ndarray]]]:
    """The picture of a page turned clockwise, with all of it on it; and where the middles of its words then are."""
    grey = page.image.convert("L")
    image = grey.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    places: dict[str, list[np.ndarray]] = {}
    for word in page.words:
        x, y = ((word.box[0] + word.box[2] - 1) * grey.width / 2, (word.box[1] + word.box[3] - 1) * grey.height / 2)
        middle = np.array([(cos * x - sin * y) / image.width, (sin * x + cos * y) / image.height]) + 0.5
        if plain(word.text) and not word.rest:
            places.setdefault(plain(word.text), []).append(middle)
    if wears:
        image = copied(image, random.Random(str(page.ref)), np.random.default_rng(0))
    return image, places


def found_in_place(words: Sequence[Word], places: dict[str, list[np.ndarray]]) -> int:
    """How many words of a page are among those that were read, in a box that their middle lies in."""
    boxes: dict[str, list[tuple[float, ...]]] = {}
    for word in words:
        boxes.setdefault(plain(word.text), []).append(word.box)
    return sum(
        any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes.get(text, ()))
        for text, middles in places.items()
        for x, y in middles
    )


def print_skew(pdfs: Path, count: int) -> None:
    """The share of words that are read in their places at each angle, clean and worn; and what the search costs."""
    torch.set_num_threads(1)
    reader = bundled()
    pages = pages_with_text(pdfs, count)
    print(f"{len(pages)} pages\n| | {' | '.join(f'{angle}°' for angle in ANGLES)} |\n|---|{'---|' * len(ANGLES)}")
    for wears in (False, True):
        shares = []
        for angle in ANGLES:
            read = everything = 0
            for page in pages:
                for sign in (1, -1) if angle else (1,):
                    image, places = skewed(page, sign * angle, wears=wears)
                    read += found_in_place(reader.read(image, dpi=COPIED_DPI if wears else documents.DPI).words, places)
                    everything += sum(map(len, places.values()))
            shares.append(f"{read / everything:.1%}")
        print(f"| {'worn' if wears else 'clean'} | {' | '.join(shares)} |", flush=True)
    looking = reading = 0.0
    for page in pages:
        grey = page.image.convert("L")
        start = time.process_time()
        skew_of(grey)
        between = time.process_time()
        reader.read(grey, dpi=documents.DPI)
        looking, reading = looking + between - start, reading + time.process_time() - between
    print(f"looking for the angle: {1000 * looking / len(pages):.1f} ms a page, {looking / reading:.2%} of reading it")


def pages_with_text(pdfs: Path, count: int) -> list[Page]:
    """So many pages of 100 words or more: from as many documents, from the middle of each."""
    out = []
    for path in sorted(pdfs.rglob("*.pdf")):
        doc = path.relative_to(pdfs).as_posix()
        with documents.open_document(path) as document:
            page = document.page(len(document) // 2 + 1, doc=doc)
        if len(page.words or ()) >= 100 and not page.hidden:
            out.append(page)
        if len(out) == count:
            break
    return out


def by_rapidocr(text_model: Encoder) -> Callable[[Page], PageEmbedding | None]:
    """RapidOCR's words through the text model; None where it reads none."""

    def make(page: Page) -> PageEmbedding | None:
        image = page.image.resize(
            (round(page.size_pt[0] * rapidocr.DPI / 72), round(page.size_pt[1] * rapidocr.DPI / 72))
        )
        words = rapidocr.read(np.asarray(image), rapidocr.DPI, 1).words
        return text_model.encode_pages([replace(page, words=words)])[0] if words else None

    return make


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="glyph")
    parser.add_argument("--worn", action="store_true")
    parser.add_argument("--documents", type=int, default=0, help="only the first so many, and their questions")
    parser.add_argument("--peers", action="store_true", help="beside RapidOCR, and what the text layer itself gives")
    parser.add_argument("--skew", type=int, metavar="PAGES", help="only the table of skewed pages, of so many pages")
    arguments = parser.parse_args()
    pdfs = fetch(arguments.folder)
    if arguments.skew:
        print_skew(pdfs, arguments.skew)
        return
    encoder = load_encoder(arguments.model, threads=1)
    text_model = load_encoder(TEXT_MODEL, threads=1)
    mine = Reads(arguments.model, lambda page: encoder.encode_pages([page])[0])
    peer = Reads("RapidOCR", by_rapidocr(text_model))
    layer = Reads("text layer", lambda page: text_model.encode_pages([page])[0] if page.words else None)
    rng, located_right, pages = random.Random(0), [], 0
    for path in sorted(pdfs.rglob("*.pdf"))[: arguments.documents or None]:
        doc = path.relative_to(pdfs).as_posix()
        for page in pages_of(path, doc, wears=arguments.worn):
            pages += 1
            made = mine.take(page)
            located_right += located(encoder, page, made, rng)
            layer.take(page)
            if arguments.peers:
                peer.take(page)
    names = {ref.doc for ref in mine.made}
    asked = [i for i, question in enumerate(questions()) if {ref.doc for ref in relevant(question)} <= names]
    if located_right:
        print(f"the right word under the best vector: {np.mean(located_right):.1%} of {len(located_right)}")
    print(f"{pages} {'worn ' if arguments.worn else ''}pages, {len(asked)} questions; seconds of one core a page")
    print(f"| system | {' | '.join(KINDS)} | s a page |\n|---|---|---|---|---|---|")
    systems = [(mine.name, mine, mine.rankings(encoder)), (f"{mine.name}'s words, BM25", mine, top(bm25(mine.texts())))]
    if arguments.peers:
        systems += [
            (f"RapidOCR, {TEXT_MODEL}", peer, peer.rankings(text_model)),
            ("RapidOCR, BM25 (the seconds with the text model's)", peer, top(bm25(peer.texts()))),
        ]
    if layer.made:
        systems.append((f"the text layer itself, {TEXT_MODEL}", layer, layer.rankings(text_model)))
    for name, reads, found in systems:
        row = table_row(name, [found[i] for i in asked], [questions()[i] for i in asked])
        print(f"{row} {reads.seconds / pages:.2f} |")
    if layer.made:
        mixed(layer, mine, text_model, asked)


if __name__ == "__main__":
    main()
