"""LanceDB: a multivector column, searched flat or through its indexes (XTR candidates, then refined exactly)."""

from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat, IvfPq
from worker import Data, Search, Settings, build, serve

INDEXES = {
    "IVF_PQ": IvfPq(distance_type="cosine", num_sub_vectors=32),
    "IVF_FLAT": IvfFlat(distance_type="cosine"),
}
PROBES_AND_REFINES = ((4, 20), (8, 15), (20, 20), (20, 100))


def prepare(data: Data, folder: Path) -> Settings:
    def batches(kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        for first in range(0, data.count, 256):
            pages = data.pages(first, first + 256)
            rows = pa.array(np.concatenate(pages).astype(kind.to_pandas_dtype()).ravel(), kind)
            ends = pa.array(np.cumsum([0, *map(len, pages)]), pa.int32())
            lists = pa.ListArray.from_arrays(ends, pa.FixedSizeListArray.from_arrays(rows, data.dim))
            yield pa.RecordBatch.from_arrays([pa.array(np.arange(first, first + len(pages))), lists], ["id", "vector"])

    @cache
    def table(kind: pa.DataType, index: str) -> lancedb.table.Table:
        def make(at: Path) -> None:
            schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.list_(kind, data.dim)))])
            made = lancedb.connect(at).create_table("pages", batches(kind), schema=schema, mode="overwrite")
            if index:
                made.create_index("vector", config=INDEXES[index])

        return lancedb.connect(build(folder / f"{kind}{index}", make)).open_table("pages")

    def search(kind: pa.DataType, index: str, probes: int = 0, refine: int = 0) -> Search:
        pages = table(kind, index)

        def one(query: np.ndarray, k: int) -> list[int]:
            asked = pages.search(query.astype(kind.to_pandas_dtype()), vector_column_name="vector")
            asked = asked.distance_type("cosine").limit(k).select(["id", "_distance"])
            if index:
                asked = asked.nprobes(probes).refine_factor(refine)
            found: list[int] = asked.to_arrow()["id"].to_pylist()
            return found

        return lambda queries, k: [one(query, k) for query in queries]

    settings = {f"flat, {kind}": lambda kind=kind: search(kind, "") for kind in (pa.float32(), pa.float16())}
    for index, (probes, refine) in product(INDEXES, PROBES_AND_REFINES):
        settings[f"{index}, {probes} probes, refine {refine}"] = lambda index=index, probes=probes, refine=refine: (
            search(pa.float32(), index, probes, refine)
        )
    return settings


serve(prepare)
