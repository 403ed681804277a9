"""What smaller pages cost: bytes, right pages and build time, for every codec, projection, pooling and pruning.

    python tests/benchmarks/storage.py FOLDER      # the FOLDER of quality.py, or a new one

The pages and questions of quality.py. Pages are encoded once and kept in FOLDER as float16 rows; each row of the table
then stores them as an index would (reduced, projected, encoded; what has to be learned is learned from the first
131,072 vectors) and ranks the decoded rows by exact late interaction. Bytes are those of the vectors and of what was
learned, over all pages; loss and the mean overlap of the ten best pages are against float32. The last row is one
vector a page: the mean of its vectors, asked with the mean of the question's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from quality import fetch, questions, relevant

from visret import PageEmbedding, PageRef, documents, evaluate, load_encoder
from visret.codec import CODECS, decode, encode
from visret.index import fitted
from visret.reduction import Storage

SAMPLE = 1 << 17
TOGETHER = 16  # pages scored at once
POINTS = (
    *(Storage(codec) for codec in CODECS),
    *(Storage(codec, dim=128) for codec in CODECS),
    Storage("int8", dim=64),
    *(Storage(pool=factor) for factor in (2, 3, 4)),
    *(Storage(prune=share) for share in (0.25, 0.5)),
    Storage("residual2", prune=0.25),
    *(Storage("residual2", pool=factor) for factor in (2, 3)),
    Storage("residual2", dim=128, pool=2),
)


@dataclass(frozen=True, eq=False)
class Collection:
    """Vectors of pages and questions: (N, d) float16 and (T, d) float32 with their offsets, and the names of pages."""

    vectors: np.ndarray
    offsets: np.ndarray
    asked: np.ndarray
    asked_offsets: np.ndarray
    refs: list[PageRef]

    def pages(self) -> Iterator[PageEmbedding]:
        """One after the other, all words at one place: only the vectors matter here."""
        for ref, start, stop in zip(self.refs, self.offsets, self.offsets[1:], strict=False):
            yield PageEmbedding(ref, None, self.vectors[start:stop].astype(np.float32), np.zeros((stop - start, 2)))


@dataclass(frozen=True)
class Result:
    """One row of the table. scores: (pages, questions)."""

    name: str
    bytes_a_vector: float
    bytes_a_page: float
    seconds: float
    scores: np.ndarray


def load(folder: Path, model: str) -> Collection:
    """Every page and question as vectors, encoded at the first call."""
    kept = folder / f"{model.replace('/', '_')}.vectors.npz"
    if not kept.exists():
        encoder, refs, rows = load_encoder(model), [], []
        pdfs = fetch(folder)
        for path in sorted(pdfs.rglob("*.pdf")):
            doc = path.relative_to(pdfs).as_posix()
            with documents.open_document(path) as document:
                pages = [document.page(number + 1, doc=doc, image=False) for number in range(len(document))]
            pages = [page for page in pages if encoder.can_read(page)]
            for start in range(0, len(pages), TOGETHER):
                made = encoder.encode_pages(pages[start : start + TOGETHER])
                refs += [page.ref for page in made]
                rows += [page.vectors.astype(np.float16) for page in made]
        asked = [query.vectors for query in encoder.encode_queries([q["query"] for q in questions()])]
        np.savez(
            kept,
            vectors=np.concatenate(rows),
            offsets=_offsets(rows),
            asked=np.concatenate(asked),
            asked_offsets=_offsets(asked),
            docs=np.array([ref.doc for ref in refs]),
            numbers=np.array([ref.page for ref in refs]),
        )
    with np.load(kept) as there:
        refs = [PageRef(str(doc), int(page)) for doc, page in zip(there["docs"], there["numbers"], strict=True)]
        names = "vectors", "offsets", "asked", "asked_offsets"
        return Collection(*(there[name] for name in names), refs)


def store(collection: Collection, storage: Storage) -> Result:
    """The pages as an index with this storage holds them, and how they answer."""
    dim = collection.vectors.shape[1]
    learned = fitted.unfitted(storage, dim) or fitted.fit(storage, _sample(collection, storage))
    codec = learned.codec
    asked, starts = learned.project(collection.asked), collection.asked_offsets[:-1]
    scores, vectors, seconds = [], 0, 0.0
    pages = list(collection.pages())
    for at in range(0, len(pages), TOGETHER):
        began = time.perf_counter()
        reduced = [storage.reduce(page).vectors for page in pages[at : at + TOGETHER]]
        rows = [encode(learned.project(page), codec) for page in reduced]
        seconds += time.perf_counter() - began
        vectors += sum(map(len, reduced))
        similar = np.concatenate([decode(page, codec) for page in rows]) @ asked.T
        best = np.maximum.reduceat(similar, _offsets(reduced)[:-1])
        scores.append(np.add.reduceat(best, starts, axis=1))
    extra = sum(array.nbytes for array in (learned.projection, codec.centroids) if array is not None)
    size = (vectors * codec.bytes_a_vector + extra) / len(pages)
    return Result(_name(storage, dim), codec.bytes_a_vector, size, seconds / len(pages) * 1000, np.concatenate(scores))


def dense(collection: Collection) -> Result:
    """One vector a page."""
    pages = [page.vectors.mean(axis=0) for page in collection.pages()]
    asked = np.add.reduceat(collection.asked, collection.asked_offsets[:-1])
    scores = _units(np.array(pages)) @ _units(asked).T
    size = 4 * collection.vectors.shape[1]
    return Result("one vector a page, float32", size, size, 0.0, scores)


def ranked(collection: Collection, scores: np.ndarray) -> list[list[PageRef]]:
    """The ten best pages for each question. scores: (pages, questions)."""
    return [[collection.refs[page] for page in pages] for pages in _best(scores)]


def ndcg(rankings: Sequence[Sequence[PageRef]]) -> np.ndarray:
    """nDCG@5 of each question."""
    return np.array([evaluate.ndcg(r, relevant(q), 5) for r, q in zip(rankings, questions(), strict=True)])


def table(collection: Collection, results: Iterable[Result]) -> Iterator[str]:
    """Lines of Markdown; all results are compared with the first."""
    yield "| stored as | bytes a vector | KB a page | times smaller | nDCG@5 | loss | top 10 kept | s per 1,000 pages |"
    yield "|---|---|---|---|---|---|---|---|"
    first = None
    for result in results:
        found, value = _best(result.scores), ndcg(ranked(collection, result.scores)).mean()
        first = first or (result.bytes_a_page, found, value)
        size, there, full = first
        kept = np.mean([len({*one} & {*other}) / 10 for one, other in zip(found, there, strict=True)])
        yield (
            f"| {result.name} | {result.bytes_a_vector:,} | {result.bytes_a_page / 1000:,.1f} | "
            f"{size / result.bytes_a_page:.1f} | {value:.3f} | {1 - value / full:.1%} | {kept:.3f} | "
            f"{result.seconds:.1f} |"
        )


def _sample(collection: Collection, storage: Storage) -> np.ndarray:
    parts, count = [], 0
    for page in collection.pages():
        parts.append(storage.reduce(page).vectors)
        count += len(parts[-1])
        if count >= SAMPLE:
            break
    return np.concatenate(parts)


def _name(storage: Storage, dim: int) -> str:
    more = f", pool {storage.pool}" if storage.pool > 1 else f", prune {storage.prune:.0%}" if storage.prune else ""
    return f"{storage.codec}, {storage.dim or dim} dimensions{more}"


def _best(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores.T, axis=1, kind="stable")[:, :10]


def _offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *map(len, parts)])


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages, the PDFs and the vectors are kept")
    parser.add_argument("--model", default="all-minilm-l6-v2")
    arguments = parser.parse_args()
    collection = load(arguments.folder, arguments.model)
    for line in table(collection, chain((store(collection, storage) for storage in POINTS), [dense(collection)])):
        print(line, flush=True)


if __name__ == "__main__":
    main()
