"""Qdrant: a collection of a server or of qdrant-client's local mode, or the same engine in this process.

The two clients have different classes for everything, and no other module knows them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import numpy as np

from visret.errors import InvalidArgument, MissingExtra, PageIndexError
from visret.stores import PORT
from visret.stores._engine import BM25, SUMMARY, TOKENS, Engine, Filter, Payload, Point, Sparse
from visret.stores._points import shares

BATCH = 4_500_000
"""The bytes of float32 vectors in one request, at most; a page has fewer.

They are five times as many in JSON, and a server takes 32 MB of that.
"""

MAX_FLOATS = 1 << 20
"""The number of floats that a point of Qdrant holds at most, in one of its vectors."""

TOGETHER = 1000  # points in a scroll


class _Qdrant:
    """The part that is the same for both clients."""

    product = "Qdrant"
    batch = BATCH
    most_floats = MAX_FLOATS
    weighs_words = False

    def mean_terms(self) -> float:
        """Refuse: Qdrant takes the weights of words that it is given."""
        raise NotImplementedError

    def _vectors(self, point: Point) -> dict[str, Any]:
        """Return the named vectors of a point; its words are what BM25 gives the page for each, before their idf."""
        if not point.vectors:
            return {}
        weights = shares(point.terms, point.payload["mean_terms"])
        named = {name: self._vector(one) for name, one in point.vectors.items()}
        return {**named, BM25: self._vector(Sparse(list(weights), list(weights.values())))}

    def _vector(self, vector: np.ndarray | Sparse) -> Any:
        """Return a vector as the client takes it."""
        raise NotImplementedError


class Client(_Qdrant):
    """A collection of a server, or of qdrant-client's local mode. client: a QdrantClient."""

    def __init__(self, client: Any, collection: str, name: str) -> None:
        from qdrant_client import models

        self._m = models
        self._client = client
        self._collection = collection
        self._is_local = type(getattr(client, "_client", None)).__name__ == "QdrantLocal"
        self.name = name

    def exists(self) -> bool:
        """Return whether the collection is there."""
        return bool(self._call("collection_exists"))

    def create(self, dims: Mapping[str, int]) -> None:
        """Make the collection."""
        m = self._m
        several = m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM)
        self._call(
            "create_collection",
            vectors_config={
                name: m.VectorParams(
                    size=dim,
                    distance=m.Distance.DOT,
                    multivector_config=several,
                    datatype=m.Datatype.FLOAT16,
                    on_disk=name == TOKENS or None,
                    hnsw_config=None if name == SUMMARY else m.HnswConfigDiff(m=0),  # others are searched exactly
                )
                for name, dim in dims.items()
            },
            sparse_vectors_config={BM25: m.SparseVectorParams(modifier=m.Modifier.IDF)},
        )

    def index(self, keys: Mapping[str, str]) -> None:
        """Index payload keys; local mode has no indexes."""
        for key, kind in {} if self._is_local else keys.items():
            self._call("create_payload_index", key, field_schema=kind)

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points."""
        m = self._m
        made = [m.PointStruct(id=str(point.id), vector=self._vectors(point), payload=point.payload) for point in points]
        self._call("upsert", made, wait=True)

    def delete(self, ids: Sequence[UUID]) -> None:
        """Delete points."""
        self._call("delete", self._m.PointIdsList(points=list(map(str, ids))), wait=True)

    def scroll(self, fields: Sequence[str], where: Filter | None = None) -> Iterator[tuple[UUID, Payload]]:
        """Yield the points that pass."""
        after = None
        while True:
            found, after = self._call(
                "scroll", self._filter(where), limit=TOGETHER, offset=after, with_payload=list(fields)
            )
            yield from ((UUID(str(one.id)), one.payload or {}) for one in found)
            if after is None:
                return

    def retrieve(self, ids: Sequence[UUID]) -> dict[UUID, Payload]:
        """Return payloads."""
        found = self._call("retrieve", list(map(str, ids)), with_payload=True)
        return {UUID(str(one.id)): one.payload for one in found}

    def count(self, where: Filter) -> int:
        """Count points."""
        return int(self._call("count", self._filter(where), exact=True).count)

    def query(
        self, using: str, query: np.ndarray | Sparse, limit: int, where: Filter | None, *, first: int = 0
    ) -> list[tuple[UUID, float]]:
        """Return the best points."""
        made, passing = self._vector(query), self._filter(where)
        prefetch = self._m.Prefetch(query=made, using=SUMMARY, limit=first, filter=passing) if first else None
        exact = None if self._is_local or first or using == BM25 else self._m.SearchParams(exact=True)
        found = self._call(
            "query_points",
            query=made,
            using=using,
            limit=limit,
            query_filter=passing,
            prefetch=prefetch,
            search_params=exact,
            with_payload=False,
        )
        return [(UUID(str(one.id)), one.score) for one in found.points]

    def finish(self) -> None:
        """Do nothing: every write was waited for, and a server builds its indexes by itself."""

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _call(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Ask something of the collection. Raises PageIndexError if the server does not answer, or refuses."""
        from qdrant_client.http.exceptions import ApiException

        try:
            return getattr(self._client, name)(self._collection, *arguments, **named)
        except ApiException as error:
            raise PageIndexError(self.name, f"Qdrant does not answer, or refuses: {error}") from error

    def _vector(self, vector: np.ndarray | Sparse) -> Any:
        if isinstance(vector, Sparse):
            return self._m.SparseVector(indices=vector.indices, values=vector.values)
        return vector.tolist()

    def _filter(self, where: Filter | None) -> Any:
        return None if where is None else self._m.Filter.model_validate(where)


class Edge(_Qdrant):
    """The engine in this process, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        try:
            import qdrant_edge
        except ImportError:
            raise missing() from None
        self._m = qdrant_edge
        self._folder = folder
        self._shard: Any = None
        self.name = f"qdrant+edge://{folder}"

    def exists(self) -> bool:
        """Return whether the folder is one of the engine. Raises PageIndexError if it holds something else."""
        if (self._folder / "edge_config.json").is_file():
            return True
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            return False
        if self._folder.exists():
            raise PageIndexError(self.name, "is not a folder of Qdrant; name a new or empty one")
        return False

    def create(self, dims: Mapping[str, int]) -> None:
        """Make the folder."""
        m = self._m
        several, half = m.MultiVectorConfig(m.MultiVectorComparator.MaxSim), m.VectorStorageDatatype.Float16
        none, graph = m.HnswIndexConfig(0, 100, 10_000), m.HnswIndexConfig(16, 100, 10_000)
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._shard = m.EdgeShard.create(
            str(self._folder),
            m.EdgeConfig(
                vectors={
                    name: m.EdgeVectorParams(
                        dim,
                        m.Distance.Dot,
                        multivector_config=several,
                        datatype=half,
                        hnsw_config=graph if name == SUMMARY else none,
                    )
                    for name, dim in dims.items()
                },
                sparse_vectors={BM25: m.EdgeSparseVectorParams(modifier=m.Modifier.Idf)},
            ),
        )

    def index(self, keys: Mapping[str, str]) -> None:
        """Index payload keys."""
        kinds = {"keyword": self._m.PayloadSchemaType.Keyword, "float": self._m.PayloadSchemaType.Float}
        for key, kind in keys.items():
            self._open().update(self._m.UpdateOperation.create_field_index(key, kinds[kind]))

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points."""
        made = [self._m.Point(point.id, self._vectors(point), point.payload) for point in points]
        self._open().update(self._m.UpdateOperation.upsert_points(made))

    def delete(self, ids: Sequence[UUID]) -> None:
        """Delete points."""
        self._open().update(self._m.UpdateOperation.delete_points(list(ids)))

    def scroll(self, fields: Sequence[str], where: Filter | None = None) -> Iterator[tuple[UUID, Payload]]:
        """Yield the points that pass."""
        after = None
        while True:
            found, after = self._open().scroll(
                self._m.ScrollRequest(
                    offset=after, limit=TOGETHER, filter=self._filter(where), with_payload=list(fields)
                )
            )
            yield from ((UUID(str(one.id)), one.payload or {}) for one in found)
            if after is None:
                return

    def retrieve(self, ids: Sequence[UUID]) -> dict[UUID, Payload]:
        """Return payloads."""
        found = self._open().retrieve(list(ids), with_payload=True, with_vector=False)
        return {UUID(str(one.id)): one.payload for one in found}

    def count(self, where: Filter) -> int:
        """Count points."""
        return int(self._open().count(self._m.CountRequest(exact=True, filter=self._filter(where))))

    def query(
        self, using: str, query: np.ndarray | Sparse, limit: int, where: Filter | None, *, first: int = 0
    ) -> list[tuple[UUID, float]]:
        """Return the best points."""
        m, made, passing = self._m, self._vector(query), self._filter(where)
        prefetches = []
        if first:
            prefetches = [m.Prefetch(first, query=m.Query.Nearest(made, using=SUMMARY), filter=passing)]
        request = m.QueryRequest(
            limit,
            query=m.Query.Nearest(made, using=using),
            prefetches=prefetches,
            filter=passing,
            params=None if first or using == BM25 else m.SearchParams(exact=True),
        )
        return [(UUID(str(one.id)), one.score) for one in self._open().query(request)]

    def finish(self) -> None:
        """Build the graph of the summaries, and write everything to disk."""
        self._open().optimize()
        self._open().flush()

    def close(self) -> None:
        """Close the folder."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def _open(self) -> Any:
        if self._shard is None:
            try:
                self._shard = self._m.EdgeShard.load(str(self._folder))
            except Exception as error:  # of no class of its own
                raise PageIndexError(self.name, f"cannot be opened, or another process has it open: {error}") from error
        return self._shard

    def _vector(self, vector: np.ndarray | Sparse) -> Any:
        if isinstance(vector, Sparse):
            return self._m.SparseVector(vector.indices, vector.values)
        return vector.tolist()

    def _filter(self, where: Filter | None) -> Any:
        if where is None:
            return None
        return self._m.Filter(**{how: [self._condition(one) for one in some] for how, some in where.items()})

    def _condition(self, one: Mapping[str, Any]) -> Any:
        m = self._m
        if "has_id" in one:
            return m.HasIdCondition({UUID(name) for name in one["has_id"]})
        if "match" in one:
            return m.FieldCondition(one["key"], match=m.MatchAny(one["match"]["any"]))
        if "range" in one:
            return m.FieldCondition(one["key"], range=m.RangeFloat(**one["range"]))
        return self._filter(one)


def at(url: str) -> Engine:
    """Return the collection at an address; nothing is asked of it yet.

    A key for the server is read from the environment variable QDRANT_API_KEY. Raises InvalidArgument for an address
    without a collection, and MissingExtra without the packages.
    """
    parts = urlsplit(url)
    if parts.scheme == "qdrant+edge":
        if parts.netloc or len(parts.path) < 2:
            raise InvalidArgument(f"a folder is named by its whole path, as in qdrant+edge:///data/pages, got {url!r}")
        return Edge(Path(unquote(parts.path)))
    collection = unquote(parts.path.strip("/"))
    if not parts.hostname or not collection or "/" in collection:
        raise InvalidArgument(f"a collection is named as in qdrant://localhost:6333/pages, got {url!r}")
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise missing() from None
    client = QdrantClient(
        url=f"{'https' if parts.scheme.endswith('https') else 'http'}://{parts.hostname}:{parts.port or PORT}",
        api_key=os.environ.get("QDRANT_API_KEY"),
        timeout=60,
        check_compatibility=False,
    )
    return Client(client, collection, url)


def missing() -> MissingExtra:
    """Return the error that says what to install."""
    return MissingExtra("Qdrant needs its client: pip install 'visret[qdrant]'")
