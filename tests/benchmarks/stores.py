"""A store beside the index that it was written from: what is found alike, and in what time.

    python tests/benchmarks/stores.py INDEX QUESTIONS.jsonl [--engines memory edge lancedb qdrant://localhost:6333]
    python tests/benchmarks/stores.py INDEX QUESTIONS.jsonl --passages 16000

The first prints the share of the ten best pages that are found, those of an exact search of the index, with and without
filters, by the exact and by the two-stage search of each engine. The second cuts the pages into so many passages, which
are points of their own, and compares the two searches of each engine with each other. It needs visret[qdrant,lancedb].
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID, uuid4

from visret import Retriever, reduction
from visret.retriever import pipeline_of
from visret.stores import _engine, _export, _points, _scorers, lancedb, qdrant
from visret.stores._index import StoredIndex

SAMPLE = 64  # questions whose time is measured


def engine_of(name, folder):
    """An empty collection."""
    if name == "memory":
        from qdrant_client import QdrantClient

        return qdrant.Client(QdrantClient(":memory:"), "pages", name)
    if name == "edge":
        return qdrant.Edge(folder / "collection")
    if name == "lancedb":
        return lancedb.at(f"lancedb://{folder / 'collection'}")
    module = lancedb if name.startswith("lancedb") else qdrant
    return module.at(f"{name.rstrip('/')}/visret-bench-{uuid4().hex}")


def shares(local, store, questions, where, exact):
    """The share of the ten best pages that are found, of questions with the same list, and seconds a question."""
    expected = local.search_many(questions, where=where, exact=True, explain=False, by="late")
    began = time.perf_counter()
    got = [store.search(one, where=where, exact=exact, explain=False, by="late") for one in questions]
    seconds = (time.perf_counter() - began) / len(questions)
    pairs = [([h.ref for h in one], [h.ref for h in other]) for one, other in zip(got, expected, strict=True)]
    found = sum(len({*one} & {*other}) for one, other in pairs) / sum(len(other) for _, other in pairs)
    return found, sum(one == other for one, other in pairs) / len(pairs), seconds


def pages(local, questions, names):
    """Print what each engine finds of the pages of an index."""
    docs = local.documents()
    filters = [None, {"page": {"<": 40}}, {"doc": docs[::2]}, {"not": {"doc": docs[::3]}, "page": {">=": 5}}]
    print(f"{len(local._index.snapshot)} pages, {len(questions)} questions; found of the ten best, lists alike, ms")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            engine = engine_of(name, Path(folder))
            began = time.perf_counter()
            written = _export.export(local._index, engine).written
            print(f"{name}: {written / (time.perf_counter() - began):.0f} pages/s written", flush=True)
            store = Retriever(StoredIndex(engine), local.encoder)
            for where in filters:
                for exact in (True, False):
                    found, alike, seconds = shares(local, store, questions, where, exact)
                    how = "exact" if exact else "two-stage"
                    about = "no filter" if where is None else json.dumps(where)[:40]
                    print(f"  {how:9}  {found:.4f}  {alike:.4f}  {seconds * 1e3:6.1f}  {about}", flush=True)
            engine.close()


def passages(local, questions, count, name):
    """Print what the two searches of an engine take on passages."""
    snapshot = local._index.snapshot
    asked = [one.encoded["late"] for one in pipeline_of(local).read(questions)]
    total = sum(len(segment.rows.codes) for segment in snapshot.segments)
    size = total // count
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(name, Path(folder))
        engine.create(snapshot.fitted.codec.dim + 1)
        made = 0
        about = {"doc": "", "page": 0, "text": "", "numbers": {}, "arrays": {}, "where": [], "mean_terms": 1.0}
        for segment in snapshot.segments:
            for row in snapshot.rows(segment.number).tolist():
                vectors, points = segment.page(row).vectors, []
                for at in range(0, len(vectors), size):
                    some = vectors[at : at + size]
                    summary = reduction.summarise(some, reduction.summary_size(len(some)))
                    named = {"tokens": _points.longer(some, 0), "summary": _points.longer(summary, 0)}
                    points.append(_engine.Point(UUID(int=made + len(points) + 1), named, {}, about))
                engine.upsert(points)
                made += len(points)
        began = time.perf_counter()
        engine.finish()
        print(f"{name}: {made} passages of at most {size} vectors; finishing took {time.perf_counter() - began:.0f} s")
        first, both, times = _scorers.LEAST_FIRST, 0, ([], [])
        for query in asked[:SAMPLE]:
            vectors, found = _points.longer(query.vectors, 0), []
            for stages, spent in zip((0, first), times, strict=True):
                began = time.perf_counter()
                found.append({one for one, _ in engine.query("tokens", vectors, 10, None, first=stages)})
                spent.append(time.perf_counter() - began)
            both += len(found[0] & found[1])
        one, two = (statistics.median(spent) * 1e3 for spent in times)
        print(f"exact {one:.1f} ms, two-stage {two:.1f} ms, {one / two:.1f} times as fast; ", end="")
        print(f"it finds {both / 10 / len(times[0]):.4f} of the ten best")
        engine.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--engines", nargs="+", default=["memory", "edge"])
    parser.add_argument("--passages", type=int)
    parser.add_argument("--every", type=int, default=1, help="ask every so-many-th question alone")
    parser.add_argument("--first", type=int, nargs=2, help="FIRST and LEAST_FIRST of visret.stores._scorers")
    arguments = parser.parse_args()
    if arguments.first:
        _scorers.FIRST, _scorers.LEAST_FIRST = arguments.first
    lines = arguments.questions.read_text("utf8").splitlines()
    questions = [json.loads(line)["query"] for line in lines if line.strip()][:: arguments.every]
    with Retriever.open(arguments.index) as local:
        if arguments.passages:
            for name in arguments.engines:
                passages(local, questions, arguments.passages, name)
        else:
            pages(local, questions, arguments.engines)


if __name__ == "__main__":
    sys.exit(main())
