"""qdrant-edge: a shard of multivectors with MaxSim, scanned exactly, on float or on quantised rows with rescoring."""

from functools import cache
from pathlib import Path

import qdrant_edge as qdrant
from worker import Data, Search, Settings, build, serve

RAM = qdrant.Memory.Pinned
QUANTISED = {
    "int8": qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8, memory=RAM),
    "1 bit": qdrant.BinaryQuantizationConfig(memory=RAM),
}
NEVER = 10**9  # MaxSim is no metric, and what HNSW finds by it is worse than a scan; the scan takes no longer here


def prepare(data: Data, folder: Path) -> Settings:
    def config(kind: str) -> qdrant.EdgeConfig:
        vectors = qdrant.EdgeVectorParams(
            size=data.dim,
            distance=qdrant.Distance.Dot,
            multivector_config=qdrant.MultiVectorConfig(qdrant.MultiVectorComparator.MaxSim),
            hnsw_config=qdrant.HnswIndexConfig(m=0, ef_construct=16, full_scan_threshold=NEVER),
            datatype=getattr(qdrant.VectorStorageDatatype, kind.title(), None),
            quantization_config=QUANTISED.get(kind),
        )
        return qdrant.EdgeConfig(vectors={"": vectors})

    @cache
    def shard(kind: str) -> qdrant.EdgeShard:
        def make(at: Path) -> None:
            at.mkdir()
            made = qdrant.EdgeShard.create(str(at), config(kind))
            for first in range(0, data.count, 64):
                points = [qdrant.Point(first + i, {"": page}) for i, page in enumerate(data.pages(first, first + 64))]
                made.update(qdrant.UpdateOperation.upsert_points(points))
            made.flush()
            made.optimize()
            made.close()

        return qdrant.EdgeShard.load(str(build(folder / kind, make)))

    def search(kind: str, oversampling: float) -> Search:
        pages = shard(kind)
        quantised = qdrant.QuantizationSearchParams(rescore=True, oversampling=oversampling)
        params = qdrant.SearchParams(quantization=quantised if oversampling else None)

        def found(queries: list, k: int) -> list[list[int]]:
            requests = [
                qdrant.QueryRequest(limit=k, query=qdrant.Query.Nearest(query.tolist()), params=params)
                for query in queries
            ]
            return [[point.id for point in one] for one in pages.query_batch(qdrant.QueryBatchRequest(requests))]

        return found

    kinds = (("float32", 0), ("int8", 2), ("1 bit", 10))
    return {
        f"{kind}, rescored {times} k" if times else kind: lambda kind=kind, times=times: search(kind, times)
        for kind, times in kinds
    }


serve(prepare)
