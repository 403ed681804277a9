"""The points of a collection: what a page is there, and how what is stored of it is read again.

The payload is the truth. It has everything that the index stores of a page, its vectors in the bytes of the index's
codec too, so that a score that is shown is that of the index, but for the order in which float32 values are added. The
named vectors are there to find pages by: they are float16, with one component more than the index's vectors have. That
is what the page's length takes off its score (`search.late_interaction`), so that MaxSim of the engine ranks as visret
does: a question's component is 1 for that, and 0 for MaxSim as the papers have it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np

from visret import reduction
from visret.choices import DENSE
from visret.codec import Codec, Rows, decode
from visret.errors import InvalidArgument
from visret.index import Snapshot, embedded, terms
from visret.index.catalogue import Floor, IndexModel
from visret.index.fields import SUMMARIES
from visret.index.filters import And, AnyOf, Filter, Not, Or, Range
from visret.index.fitted import Fitted
from visret.index.segment import Segment
from visret.reduction import Storage
from visret.search.bm25 import K1, B
from visret.search.late_interaction import LENGTH, for_length
from visret.stores._engine import SUMMARY, TOKENS, Engine, Payload, Point
from visret.types import Grid, PageRef

FORMAT = 1
MAX_LARGE = 64
"""The number of pages that may have more vectors than a point holds.

They are found by fewer vectors, and each question scores all of them.
"""

MAX_WHOLE = 1 << 53  # above it, not every whole number is a float

_PAGES = uuid5(NAMESPACE_URL, "visret:page")
MANIFEST = uuid5(_PAGES, "manifest")
"""The id of the one point that says how the others are to be read."""

Term = TypeVar("Term", str, int)
Added = tuple[int, IndexModel]  # an added model of an index, with its number

ADDED = "added"
"""The key of the manifest for the model whose single vectors the pages have beside their own."""

WHERE, NUMBERS, KIND = "where", "numbers", "kind"
"""The keys of the payload that filters use: a word for each value, numbers by a name of their key, page or manifest."""


def id_of(doc: str, page: int) -> UUID:
    """Return the id of a page, by its name: catalogue numbers of two indexes are the same."""
    return uuid5(_PAGES, json.dumps([doc, page]))


def packed(arrays: Mapping[str, np.ndarray | None]) -> Payload:
    """Return arrays as JSON: dtype, shape, and the bytes in base64."""
    return {
        name: [array.dtype.str, list(array.shape), b64encode(np.ascontiguousarray(array).tobytes()).decode()]
        for name, array in arrays.items()
        if array is not None
    }


def unpacked(given: Payload) -> dict[str, np.ndarray]:
    """Return the arrays that `packed` packed."""
    return {
        name: np.frombuffer(b64decode(data), np.dtype(dtype)).reshape(shape)
        for name, (dtype, shape, data) in given.items()
    }


def manifest(
    snapshot: Snapshot, storage: Storage, mean: float | None, sample: list[str], added: Added | None
) -> Payload:
    """Return the payload of the manifest.

    mean: of the terms of a page; None if the engine counts it. sample: ids of pages spread over the index. added: the
    added model whose single vectors are exported too.
    """
    fitted, floor = snapshot.fitted, snapshot.floor
    assert fitted is not None  # there are pages
    codec = fitted.codec
    learned = {"projection": fitted.projection, "centroids": codec.centroids, "weights": codec.weights}
    return {
        KIND: "manifest",
        "format": FORMAT,
        "terms": terms.VERSION,
        "model": asdict(snapshot.model) | {"preprocessing": dict(snapshot.model.preprocessing)},
        "storage": asdict(storage),
        "codec": {"name": codec.name, "dim": codec.dim, "step": codec.step, "vectors": fitted.vectors},
        "fitted": packed(learned),
        "floor": None if floor is None else list(floor),
        "length": LENGTH,
        "mean_terms": mean,
        "sample": sample,
        "keys": sorted(snapshot.metadata_keys),
        ADDED: None if added is None else _added(snapshot, *added),
    }


def _added(snapshot: Snapshot, number: int, model: IndexModel) -> Payload:
    """Return what a manifest says of the added model whose single vectors are exported.

    "lacking" is the number of pages that it has not been over, "longest" the length of its longest vector.
    """
    made = [one for one in snapshot.made_by(number).values() if isinstance(one, embedded.DenseVectors)]
    lengths = [float(np.linalg.norm(decode(one.rows, one.codec), axis=1).max(initial=0)) for one in made]
    return {
        "model": asdict(model) | {"preprocessing": dict(model.preprocessing)},
        "lacking": snapshot.count_lacking(number),
        "longest": max(lengths, default=0.0),
    }


def model_of(manifest: Payload) -> tuple[IndexModel, Storage, Fitted, Floor | None]:
    """Return how the pages of a collection were made."""
    learned, said = unpacked(manifest["fitted"]), manifest["codec"]
    codec = Codec(said["name"], said["dim"], learned.get("centroids"), learned.get("weights"), said["step"])
    floor = None if manifest["floor"] is None else Floor(*manifest["floor"])
    fitted = Fitted(codec, learned.get("projection"), said["vectors"])
    return IndexModel(**manifest["model"]), Storage(**manifest["storage"]), fitted, floor


def added_in(manifest: Payload) -> IndexModel | None:
    """Return the added model whose single vectors a collection has; None if it has none."""
    found = manifest.get(ADDED)  # collections of earlier versions have no such key
    return None if found is None else IndexModel(**found["model"])


def too_large(snapshot: Snapshot, engine: Engine) -> list[PageRef]:
    """Return the pages with more floats than a point holds. Raises InvalidArgument for more than MAX_LARGE of them."""
    assert snapshot.fitted is not None  # there are pages
    found, most = list[PageRef](), engine.most_floats // (snapshot.fitted.codec.dim + 1)
    for segment in snapshot.segments:
        rows = snapshot.rows(segment.number)
        counts = np.diff(segment.offsets)[rows]
        found += [snapshot.ref(segment.number, row) for row in rows[counts > most].tolist()]
    if len(found) > MAX_LARGE:
        raise InvalidArgument(
            f"{len(found)} pages, such as page {found[0].page} of {found[0].doc}, have more than {most:,} vectors: a "
            f"point of {engine.product} holds {engine.most_floats:,} floats; merge similar vectors first, with visret "
            "reindex --pool 2"
        )
    return found


def payload(snapshot: Snapshot, segment: int, row: int, mean: float | None, added: Added | None) -> Payload:
    """Return what a collection keeps of a page; its "hash" is that of all the rest, and of how summaries are made.

    added: as in `manifest`.
    """
    stored, ref = snapshot.segment(segment), snapshot.ref(segment, row)
    document, metadata = snapshot.document(ref.doc), snapshot.metadata(segment, row)
    placed = stored.placed_text(row)
    where = placed.where
    grid = [where.rows, where.cols] if isinstance(where, Grid) else None
    arrays = {
        "where": where.cells if isinstance(where, Grid) else where,
        "rows": placed.rows,
        "word_boxes": placed.word_boxes,
        "edges": placed.edges,
        **stored.rows.part(slice(stored.offsets[row], stored.offsets[row + 1]))._asdict(),
    }
    arrays |= _single(stored, row, added)
    numbers: dict[str, list[float]] = {}
    words = []
    for key, value in values({"doc": ref.doc, "page": ref.page, "source": document.source, **metadata}):
        words.append(word(key, value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers.setdefault(name_of(key), []).append(float(value))
    made: Payload = {
        KIND: "page",
        "doc": ref.doc,
        "page": ref.page,
        "text": placed.text,
        "metadata": metadata,
        "own_metadata": snapshot.page_metadata(segment, row),
        "size_pt": snapshot.size_pt(segment, row),
        "source": document.source,
        "member": document.member,
        "file": [document.hash, document.size, document.mtime_ns],
        "made": int(stored.made[row]),
        "number": document.number,
        "mean_terms": mean,
        "terms": terms.VERSION,
        "grid": grid,
        "arrays": packed(arrays),
        WHERE: sorted(set(words)),
        NUMBERS: numbers,
    }
    # The files of summaries get another name where they are made in another way.
    said = json.dumps([made, SUMMARIES.parts], sort_keys=True)
    made["hash"] = hashlib.sha256(said.encode()).hexdigest()
    return made


def point(snapshot: Snapshot, segment: int, row: int, made: Payload, most_floats: int, added: Added | None) -> Point:
    """Return the point of a page with this payload, with at most so many floats in a vector. added: as in `payload`."""
    words = Counter(map(number_of, terms.of_page(made["text"])))
    vectors = named_vectors(snapshot, segment, row, most_floats)
    single = single_vectors(_single(snapshot.segment(segment), row, added))
    if len(single):
        vectors[DENSE] = single
    return Point(id_of(made["doc"], made["page"]), vectors, words, made)


def _single(stored: Segment, row: int, added: Added | None) -> dict[str, np.ndarray]:
    """Return the arrays of what an added model made of a page; none if it has not been over the page."""
    if added is None or added[0] not in stored.added:
        return {}
    return {f"{DENSE}_{name}": array for name, array in stored.embedded(*added).page(row).items()}


def single_vectors(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the vectors that an added model made of a page with these arrays, (n, d) float32; there may be none."""
    codes = arrays.get(f"{DENSE}_codes")
    if codes is None:
        return np.empty((0, 0), np.float32)
    return decode(Rows(codes, arrays[f"{DENSE}_scales"]), Codec(embedded.CODEC, codes.shape[1]))


def named_vectors(snapshot: Snapshot, segment: int, row: int, most_floats: int) -> dict[str, np.ndarray]:
    """Return the vectors that a page is found by, (n, d + 1) float32 each, by TOKENS and SUMMARY."""
    stored = snapshot.segment(segment)
    vectors = decode(stored.rows.part(slice(stored.offsets[row], stored.offsets[row + 1])), stored.codec)
    if SUMMARIES in stored.lacks:
        summary = reduction.summarise(vectors, reduction.summary_size(len(vectors)))
    else:
        first, end = stored.offsets_of(SUMMARIES)[row : row + 2]
        summary = decode(stored.stored(SUMMARIES).part(slice(first, end)), SUMMARIES.codec(stored.codec))
    length = float(for_length(np.array(int(stored.made[row]))))
    most = most_floats // (vectors.shape[1] + 1)
    return {TOKENS: longer(reduction.summarise(vectors, most), length), SUMMARY: longer(summary, length)}


def longer(vectors: np.ndarray, last: float) -> np.ndarray:
    """Return vectors (n, d) with one component more, (n, d + 1) float32."""
    return np.concatenate([vectors, np.full((len(vectors), 1), last, np.float32)], axis=1)


def shares(found: Mapping[Term, int], mean: float) -> dict[Term, float]:
    """Return what a page with these terms gets of the idf of each, as `search.bm25` counts it."""
    norm = K1 * (1 - B + B * sum(found.values()) / (mean or 1))
    return {term: often / (often + norm) for term, often in found.items()}


def number_of(term: str) -> int:
    """Return the number of a term in an engine, below 2**32. Of a million terms, some hundred share theirs."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf8", "replace"), digest_size=4).digest(), "big")


# ---- filters


def values(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what filters compare: each key with its value, or with each item of a list."""
    for key, value in metadata.items():
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, list | dict):
                yield key, item


def word(key: str, value: Any) -> str:
    """Return the word that stands for a value of a key; equal only if both are, and of one type: 1 is 1.0, not "1"."""
    if isinstance(value, str):
        typed = f"text {value}" if len(value) <= 200 else f"long {hashlib.sha256(value.encode()).hexdigest()}"
    elif isinstance(value, bool) or value is None:
        typed = str(value)
    else:
        typed = f"number {int(value) if value == int(value) else value!r}"
    return f"{json.dumps(key)} {typed}"


def name_of(key: str) -> str:
    """Return the name of a key in NUMBERS, which any engine's path can hold."""
    return f"k{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}"


_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def condition(tree: Filter) -> Payload:
    """Return a filter as JSON for an engine (`_engine`). Raises InvalidArgument for a range of text."""
    if isinstance(tree, Not):
        return {"must_not": [condition(tree.part)]}
    if isinstance(tree, And):
        return {"must": [_kind(), *map(condition, tree.parts)]}
    if isinstance(tree, Or):
        return {"should": list(map(condition, tree.parts))} if tree.parts else {"must_not": [_kind()]}
    if isinstance(tree, AnyOf):
        return {"key": WHERE, "match": {"any": [word(tree.key, value) for value in tree.values]}}
    if not isinstance(tree, Range):
        raise InvalidArgument(f"a filter of {type(tree).__name__} cannot be put to a store")
    bounds: dict[str, float] = {}
    for operator, bound in tree.bounds:
        if operator not in _RANGES:
            raise InvalidArgument(f"filter {tree.key!r}: stores have no {operator!r}")
        if isinstance(bound, str):
            raise InvalidArgument(
                f"filter {tree.key!r}: stores compare numbers only, not text such as {bound!r}; "
                "write a number into the metadata, such as 20240131 for a date"
            )
        if abs(bound) > MAX_WHOLE:
            raise InvalidArgument(f"filter {tree.key!r}: stores compare numbers up to 2**53, got {bound!r}")
        bounds[_RANGES[operator]] = float(bound)
    return {"key": f"{NUMBERS}.{name_of(tree.key)}", "range": bounds}


def only(ids: list[UUID]) -> Payload:
    """Return the condition that a point is one of these."""
    return {"must": [{"has_id": list(map(str, ids))}]}


def _kind() -> Payload:
    """Return the condition that a point is a page."""
    return {"key": KIND, "match": {"any": ["page"]}}


def is_page() -> Payload:
    """Return the filter for all pages."""
    return {"must": [_kind()]}


def rows_of(payload: Payload) -> tuple[Rows, dict[str, np.ndarray]]:
    """Return the stored vectors of a page, and its other arrays."""
    arrays = unpacked(payload["arrays"])
    return Rows(arrays["codes"], arrays.get("scales"), arrays.get("centroids")), arrays
