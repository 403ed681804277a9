"""LanceDB: a table of pages in a folder or on object storage, which this process reads and writes itself.

A row is a point. What filters and listings use are columns of their own; `arrays` is read of the best pages alone, and
`rest` is everything else of the payload, as JSON. `terms` are the numbers of a page's terms in hexadecimal, each as
often as the page has it: Lance's BM25 has the formula and the constants of `search.bm25`, times k1 + 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import numpy as np

from visret.errors import InvalidArgument, MissingExtra, PageIndexError
from visret.products import product
from visret.search.bm25 import K1
from visret.stores._engine import SUMMARY, Filter, Payload, Point, Sparse
from visret.stores._points import KIND, NUMBERS, WHERE

TABLE = "pages"
BATCH = 64 << 20  # bytes of vectors in a commit
MAX_NUMBERS = 64  # of one key of a page: each is a column
TOGETHER = 1000  # ids in a condition
TRIES = 8  # to commit a change
SCANNED = 64  # pages in memory
MANY, STALE = 1000, 0.2
"""The number of pages from which their summaries are indexed, and the share without index from which again."""

TERMS, LENGTH, REST, ARRAYS = "terms", "length", "rest", "arrays"
_TEXTS = (KIND, "doc", "text", "hash")
_COLUMNS = (*_TEXTS, "page", WHERE)  # keys of the payload that are columns


class Table:
    """A table of pages. address: of the folder, as LanceDB has it. name: as visret has it."""

    product = "LanceDB"
    batch = BATCH
    most_floats = 1 << 30  # the values of a list are counted with 31 bits
    weighs_words = True

    def __init__(self, address: str, name: str) -> None:
        try:
            import lancedb
            import pyarrow
        except ImportError:
            raise MissingExtra("LanceDB needs its package: pip install 'visret[lancedb]'") from None
        self._lancedb = lancedb
        self._arrow = pyarrow
        self._address = address
        self._table: Any = None
        self.name = name

    def exists(self) -> bool:
        """Return whether the table is there, and see what was written since. Raises PageIndexError for another's."""
        if "://" not in self._address and not self._is_folder(Path(self._address)):
            return False
        with self._asking():
            try:
                self._table = self._lancedb.connect(self._address).open_table(TABLE)
            except ValueError as error:
                if "not found" not in str(error):
                    raise
                return False
        if not {"id", KIND, REST, ARRAYS} <= set(self._table.schema.names):
            raise PageIndexError(self.name, f"has a table {TABLE!r} that visret did not write; name another folder")
        return True

    def create(self, dims: Mapping[str, int]) -> None:
        """Make the table."""
        arrow = self._arrow
        fields = [
            arrow.field("id", arrow.string(), nullable=False),
            *(arrow.field(name, arrow.string()) for name in (*_TEXTS, REST, ARRAYS, TERMS)),
            *(arrow.field(name, arrow.int32()) for name in ("page", LENGTH)),
            arrow.field(WHERE, arrow.list_(arrow.string())),
            *(arrow.field(name, arrow.list_(arrow.list_(arrow.float16(), dim))) for name, dim in dims.items()),
        ]
        with self._asking():
            self._table = self._lancedb.connect(self._address).create_table(TABLE, schema=arrow.schema(fields))

    def index(self, keys: Mapping[str, str]) -> None:
        """Do nothing: `upsert` makes the columns of numbers, and `finish` the indexes."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, in one commit."""
        rows = [self._row(point) for point in points]
        new = sorted({name for row in rows for name in row} - set(self._table.schema.names))
        with self._asking():
            if new:
                made = [self._arrow.field(name, self._arrow.float64()) for name in new]
                self._commit(lambda: self._table.add_columns(made))
            merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(self._arrow.Table.from_pylist(rows, schema=self._table.schema))

    def delete(self, ids: Sequence[UUID]) -> None:
        """Delete points."""
        with self._asking():
            for at in range(0, len(ids), TOGETHER):
                self._table.delete(_only(ids[at : at + TOGETHER]))

    def scroll(self, fields: Sequence[str], where: Filter | None = None) -> Iterator[tuple[UUID, Payload]]:
        """Yield the points that pass."""
        columns = [name for name in fields if name in _COLUMNS]
        rest = [name for name in fields if name not in _COLUMNS]
        for row in self._read([*columns, *([REST] if rest else [])], self._sql(where)):
            held = json.loads(row[REST]) if rest else {}
            yield UUID(row["id"]), {name: row[name] if name in _COLUMNS else held.get(name) for name in fields}

    def retrieve(self, ids: Sequence[UUID]) -> dict[UUID, Payload]:
        """Return payloads."""
        found = self._read([*_COLUMNS, REST, ARRAYS], _only(ids)) if ids else iter(())
        return {
            UUID(row["id"]): {
                **{name: row[name] for name in _COLUMNS if row[name] is not None},
                **json.loads(row[REST]),
                **({ARRAYS: json.loads(row[ARRAYS])} if row[ARRAYS] else {}),
            }
            for row in found
        }

    def count(self, where: Filter) -> int:
        """Count points."""
        with self._asking():
            return int(self._table.count_rows(self._sql(where)))

    def query(
        self, using: str, query: np.ndarray | Sparse, limit: int, where: Filter | None, *, first: int = 0
    ) -> list[tuple[UUID, float]]:
        """Return the best points."""
        if isinstance(query, Sparse):
            return self._words(query, limit, self._sql(where))
        if not first:
            return self._scan(using, query, limit, self._sql(where))
        found = self._look_up(query, first, self._sql(where)) if self._unindexed(SUMMARY) < 1 else []
        if len(found) < first:  # an index looks near the question alone, and few pages there may pass a filter
            found = [one for one, _ in self._scan(SUMMARY, query, first, self._sql(where))]
        return self._scan(using, query, limit, _only(found))

    def mean_terms(self) -> float:
        """Return the mean number of terms of a page."""
        lengths = [row[LENGTH] for row in self._read([LENGTH], f"{KIND} = 'page'")]
        return float(sum(lengths) / len(lengths))

    def finish(self) -> None:
        """Index ids, words and terms anew, and the summaries of many pages if a fifth of them is not indexed yet."""
        from lancedb.index import FTS, BTree, IvfSq, LabelList

        exact = FTS(
            base_tokenizer="whitespace",
            lower_case=False,
            stem=False,
            remove_stop_words=False,
            ascii_folding=False,
            max_token_length=None,
        )
        with self._asking():
            made = {"id": BTree(), WHERE: LabelList(), TERMS: exact}
            if self._table.count_rows() >= MANY and self._unindexed(SUMMARY) > STALE:
                made[SUMMARY] = IvfSq(distance_type="cosine")
            for column, config in made.items():
                self._commit(partial(self._table.create_index, column, config=config))

    def close(self) -> None:
        """Let go of the table."""
        self._table = None

    # ---- inside

    def _is_folder(self, folder: Path) -> bool:
        """Return whether a folder may be a database. Raises PageIndexError if it holds something else."""
        if folder.exists() and not (folder.is_dir() and all(one.suffix == ".lance" for one in folder.iterdir())):
            raise PageIndexError(self.name, "is not a folder of LanceDB; name a new or empty one")
        return folder.exists()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Raise PageIndexError for what LanceDB says."""
        try:
            yield
        except (RuntimeError, OSError, ValueError) as error:  # of no class of its own
            raise PageIndexError(self.name, f"LanceDB cannot read or write it: {error}") from error

    def _commit(self, change: Callable[[], Any]) -> None:
        """Make a change, and make it again if another writer was faster. LanceDB does that by itself for rows alone."""
        for left in reversed(range(TRIES)):
            try:
                change()
                return
            except RuntimeError as error:
                if not left or "Retryable commit conflict" not in str(error):
                    raise
                self._table.checkout_latest()

    def _row(self, point: Point) -> dict[str, Any]:
        """Return a point as a row: vectors of float16, and a column for each number of each key."""
        payload = point.payload
        row: dict[str, Any] = {"id": str(point.id), **{name: payload[name] for name in _COLUMNS if name in payload}}
        rest = {key: value for key, value in payload.items() if key not in (*_COLUMNS, ARRAYS)}
        row[REST] = json.dumps(rest)
        if not point.vectors:
            return row
        for name, values in payload[NUMBERS].items():
            if len(values) > MAX_NUMBERS:
                raise InvalidArgument(
                    f"page {payload['page']} of {payload['doc']} has {len(values)} numbers under one key of its "
                    f"metadata; LanceDB filters by {MAX_NUMBERS} at most"
                )
            row |= {_column(name, at): value for at, value in enumerate(values)}
        row[ARRAYS] = json.dumps(payload[ARRAYS])
        row[TERMS] = " ".join(f"{number:08x}" for number, often in point.terms.items() for _ in range(often))
        row[LENGTH] = sum(point.terms.values())
        return row | {name: list(vectors.astype(np.float16)) for name, vectors in point.vectors.items()}

    def _read(self, columns: Sequence[str], where: str | None) -> Iterator[dict[str, Any]]:
        """Yield rows, with these columns and the id."""
        with self._asking():
            asked = self._table.search().select(["id", *columns])
            for batch in (asked.where(where) if where else asked).to_batches():
                yield from batch.to_pylist()

    def _scan(self, using: str, query: np.ndarray, limit: int, where: str | None) -> list[tuple[UUID, float]]:
        """Return the points with the largest MaxSim, of all that pass.

        LanceDB's own flat search finds the same, and takes three times as long on vectors of float16.
        """
        ids, scores = list[str](), [np.empty(0, np.float32)]
        with self._asking():
            asked = self._table.search().select(["id", using])
            for batch in (asked.where(where) if where else asked).to_batches(batch_size=SCANNED):
                batch = batch.filter(batch.column(using).is_valid())
                pages = batch.column(using)
                vectors = pages.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, query.shape[1])
                starts = pages.offsets.to_numpy()[:-1] - pages.offsets.to_numpy()[:1]
                if len(starts):
                    similar = product(vectors.astype(np.float32), query.T)
                    scores.append(np.maximum.reduceat(similar, starts, axis=0).sum(axis=1))
                    ids += batch.column("id").to_pylist()
        every = np.concatenate(scores)
        return [(UUID(ids[at]), float(every[at])) for at in np.argsort(-every, kind="stable")[:limit].tolist()]

    def _look_up(self, query: np.ndarray, limit: int, where: str | None) -> list[UUID]:
        """Return most of the points whose summaries have the largest MaxSim.

        It is of cosines: LanceDB has no other index of several vectors.
        """
        with self._asking():
            asked = self._table.search(query, vector_column_name=SUMMARY, query_type="vector").distance_type("cosine")
            asked = asked.limit(limit).select(["id", "_distance"])
            found = (asked.where(where, prefilter=True) if where else asked).to_list()
        return [UUID(row["id"]) for row in found]

    def _unindexed(self, column: str) -> float:
        """Return the share of the rows that an index lacks: 1 without the index."""
        stats = self._table.index_stats(f"{column}_idx")
        return 1.0 if stats is None else stats.num_unindexed_rows / max(1, self._table.count_rows())

    def _words(self, query: Sparse, limit: int, where: str | None) -> list[tuple[UUID, float]]:
        """Return the points with the highest BM25. Raises PageIndexError while an export is not finished."""
        from lancedb.query import BooleanQuery, MatchQuery, Occur

        with self._asking():
            if self._unindexed(TERMS):
                raise PageIndexError(
                    self.name, "has words that are not indexed, of an export that was stopped; run visret export again"
                )
            terms = zip(query.indices, query.values, strict=True)
            parts = [(Occur.SHOULD, MatchQuery(f"{term:08x}", TERMS, boost=float(often))) for term, often in terms]
            asked = self._table.search(BooleanQuery(parts), query_type="fts").limit(limit).select(["id", "_score"])
            found = (asked.where(where, prefilter=True) if where else asked).to_list()
        return [(UUID(row["id"]), row["_score"] / (K1 + 1)) for row in found]

    def _sql(self, where: Filter | None) -> str | None:
        """Return a condition as SQL that is never null."""
        return None if where is None else _condition(where, set(self._table.schema.names))


def _condition(one: Filter, columns: set[str]) -> str:
    """Return a condition as SQL. columns: those that the table has."""
    if "has_id" in one:
        return _only(one["has_id"])
    if "match" in one:
        quoted = ", ".join(map(_quoted, one["match"]["any"]))
        if one["key"] == WHERE:
            return f"(`{WHERE}` IS NOT NULL AND array_has_any(`{WHERE}`, [{quoted}]))" if quoted else "false"
        return f"{one['key']} IN ({quoted})"
    if "range" in one:
        name = one["key"].removeprefix(f"{NUMBERS}.")
        signs = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
        parts = []
        for at in range(MAX_NUMBERS):
            if (column := _column(name, at)) not in columns:
                break
            bounds = [f"{column} {signs[how]} {bound!r}" for how, bound in one["range"].items()]
            parts.append(f"({' AND '.join([f'{column} IS NOT NULL', *bounds])})")
        return f"({' OR '.join(parts)})" if parts else "false"
    parts = [f"({' AND '.join(_condition(part, columns) for part in one['must'])})"] if "must" in one else []
    parts += [f"NOT {_condition(part, columns)}" for part in one.get("must_not", ())]
    if "should" in one:
        parts.append(f"({' OR '.join(_condition(part, columns) for part in one['should'])})")
    return f"({' AND '.join(parts)})"


def _only(ids: Sequence[UUID | str]) -> str:
    """Return the condition that a point is one of these."""
    return f"id IN ({', '.join(_quoted(str(one)) for one in ids)})" if ids else "false"


def _quoted(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def _column(name: str, at: int) -> str:
    """Return the name of the column of a number, by the name of its key and its place."""
    return f"{name}_{at}"


def at(url: str) -> Table:
    """Return the table at an address; nothing is asked of it yet.

    Keys for object storage are read from the environment, as AWS_ACCESS_KEY_ID. Raises InvalidArgument for an address
    without a folder or bucket, and MissingExtra without the package.
    """
    parts = urlsplit(url)
    place = unquote(parts.netloc + parts.path)
    if not place.strip("/") or parts.query or parts.fragment:
        form = "lancedb+s3://bucket/pages" if parts.scheme == "lancedb+s3" else "lancedb:///data/pages"
        raise InvalidArgument(f"a folder is named as in {form}, got {url!r}")
    return Table(f"s3://{place}" if parts.scheme == "lancedb+s3" else str(Path(place)), url)
